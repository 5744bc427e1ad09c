//! From the numbers in a file to sRGB, on the few pixels that are left.
//!
//! An embedded ICC profile says what the numbers mean. One that cannot be read is passed over, as browsers do: the
//! numbers are then taken for sRGB. Inks without a profile are taken for offset print on coated paper, which is what
//! most of them were made for; simply inverting them would give colours that no press prints.
//!
//! A press' black is not as dark as a screen's. Both ends of the scale are matched (black point compensation), as
//! littlecms does for sharp and as Adobe's programs do; moxcms leaves it out for inks, so it is done here.

use std::sync::Arc;

use fast_image_resize::pixels::{InnerPixel, U8x3, U8x4, U16x4};
use moxcms::{
    ColorProfile, DataColorSpace, Layout, ProfileVersion, RenderingIntent, Transform16BitExecutor, TransformOptions,
};

use super::Refusal;
use super::geometry::{Orientation, Size};
use super::raster::{FULL, Pixels, Raster, Scaled};
use crate::variant::{Output, Variant};

/// A picture in sRGB: three bytes for each pixel, or four with alpha.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    pub(super) size: Size,
    pub(super) alpha: bool,
    pub(super) bytes: Vec<u8>,
}

/// How the numbers of one file become sRGB.
pub(super) enum Converter {
    /// They are sRGB, or nobody says otherwise.
    Srgb,
    /// By a profile of its kind: of gray, or of red, green and blue.
    Profile(Arc<Transform16BitExecutor>, Layout),
    /// Inks, by a profile of theirs.
    Inks(Inks),
    /// Inks, without a profile.
    Coated,
}

impl Converter {
    /// The converter for `raster`.
    pub(super) fn new(raster: &Raster) -> Self {
        let (without, space) = match raster.pixels {
            Pixels::Light(_) | Pixels::Alpha(_) => (Self::Srgb, DataColorSpace::Rgb),
            Pixels::Ink(_) => (Self::Coated, DataColorSpace::Cmyk),
        };
        let Some(profile) = raster.profile.as_deref().and_then(|bytes| ColorProfile::new_from_slice(bytes).ok()) else {
            return without;
        };
        let (from, to) = match (&raster.pixels, profile.color_space) {
            (Pixels::Light(_) | Pixels::Alpha(_), DataColorSpace::Gray) => (Layout::Gray, Layout::Rgb),
            (Pixels::Light(_), found) if found == space => (Layout::Rgb, Layout::Rgb),
            (Pixels::Alpha(_), found) if found == space => (Layout::Rgba, Layout::Rgba),
            (Pixels::Ink(_), found) if found == space => return Inks::new(&profile).map_or(without, Self::Inks),
            _ => return without,
        };
        let options = TransformOptions { rendering_intent: RenderingIntent::Perceptual, ..TransformOptions::default() };
        match profile.create_transform_12bit(from, &ColorProfile::new_srgb(), to, options) {
            Ok(transform) => Self::Profile(transform, from),
            Err(_) => without,
        }
    }

    /// The picture in sRGB.
    pub(super) fn srgb(&self, scaled: Scaled) -> Result<Picture, Refusal> {
        let Scaled { size, pixels } = scaled;
        let (alpha, bytes) = match pixels {
            Pixels::Light(pixels) => (false, self.light(U8x3::components(&pixels))?),
            Pixels::Ink(pixels) => (false, self.ink(&pixels)?),
            Pixels::Alpha(pixels) => (true, self.alpha(&pixels)?),
        };
        Ok(Picture { size, alpha, bytes })
    }

    fn light(&self, bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
        match self {
            Self::Profile(transform, Layout::Gray) => {
                let gray: Vec<u8> = bytes.iter().step_by(3).copied().collect();
                converted(&**transform, &gray, bytes.len())
            }
            Self::Profile(transform, _) => converted(&**transform, bytes, bytes.len()),
            Self::Srgb | Self::Coated | Self::Inks(_) => Ok(bytes.to_vec()),
        }
    }

    fn ink(&self, pixels: &[U8x4]) -> Result<Vec<u8>, Refusal> {
        match self {
            Self::Inks(inks) => inks.srgb(U8x4::components(pixels)),
            Self::Srgb | Self::Profile(..) | Self::Coated => {
                let press = Press::new();
                Ok(pixels.iter().flat_map(|pixel| press.srgb(pixel.0)).collect())
            }
        }
    }

    fn alpha(&self, pixels: &[U16x4]) -> Result<Vec<u8>, Refusal> {
        let straight: Vec<u8> = pixels.iter().flat_map(|pixel| divided(pixel.0)).collect();
        match self {
            Self::Profile(transform, Layout::Gray) => {
                let gray: Vec<u8> = straight.iter().step_by(4).copied().collect();
                let colours = converted(&**transform, &gray, gray.len() * 3)?;
                let pixels = colours.as_chunks::<3>().0.iter().zip(straight.as_chunks::<4>().0);
                Ok(pixels.flat_map(|([red, green, blue], [_, _, _, alpha])| [*red, *green, *blue, *alpha]).collect())
            }
            Self::Profile(transform, _) => converted(&**transform, &straight, straight.len()),
            Self::Srgb | Self::Coated | Self::Inks(_) => Ok(straight),
        }
    }
}

/// How many samples are converted at once: whole pixels of one, three and four channels.
const AT_ONCE: usize = 12_288;

/// `from` by `transform` of twelve bits: that of eight rounds down, and all colours would be half a step too dark.
fn converted(transform: &Transform16BitExecutor, from: &[u8], length: usize) -> Result<Vec<u8>, Refusal> {
    let mut bytes = vec![0; length];
    let to_at_once = AT_ONCE * length / from.len().max(1);
    for (from, to) in from.chunks(AT_ONCE).zip(bytes.chunks_mut(to_at_once.max(1))) {
        let wide: Vec<u16> = from.iter().map(|byte| low((u32::from(*byte) * 4_095 + 127) / 255)).collect();
        let mut converted = vec![0; to.len()];
        transform.transform(&wide, &mut converted).map_err(Refusal::broken)?;
        to.iter_mut().zip(converted).for_each(|(to, sample)| *to = low((u32::from(sample) * 255 + 2_047) / 4_095));
    }
    Ok(bytes)
}

/// A number that is known to fit.
fn low<T: TryFrom<u32> + Default>(number: u32) -> T {
    T::try_from(number).unwrap_or_default()
}

/// From inks to sRGB by an ICC profile, by way of ProPhoto RGB: there is no ink outside of it, while the colours between
/// two of a table that were cut to fit into sRGB would be wrong.
pub(super) struct Inks {
    transform: Arc<Transform16BitExecutor>,
    /// Light for the upper twelve of the transform's sixteen bits.
    lights: Vec<f32>,
    /// From that light to sRGB's, with full ink as black.
    to_srgb: [[f32; 3]; 3],
    offset: [f32; 3],
    /// Bytes of sRGB for roots of light.
    bytes: Vec<u8>,
}

/// The black of every perceptual table since version 4 of ICC profiles, relative to paper. ICC.1:2022, 6.3.4.3.
const PERCEPTUAL_BLACK: f32 = 0.003_48;

/// Nothing that is called black is brighter than this: half of the lightness scale.
const BRIGHTEST_BLACK: f32 = 0.184;

/// ISO 22028-2 without the straight part at the beginning of its curve, as moxcms has it.
const PRO_PHOTO_GAMMA: f32 = 1.8;

/// From its light to XYZ relative to paper, D50.
const PRO_PHOTO_TO_XYZ: [[f32; 3]; 3] = [[0.8273, 0.1402, 0.0325], [0.288, 0.7119, 0.0001], [0.0, 0.0, 1.0]];

/// Steps of the tables of [`Inks`].
const STEPS: u16 = 4_095;

impl Inks {
    /// `None` when the profile has no table for it.
    fn new(profile: &ColorProfile) -> Option<Self> {
        let options = TransformOptions { rendering_intent: RenderingIntent::Perceptual, ..TransformOptions::default() };
        // Layout has no name for four inks: they go by the name of four channels.
        let wide = ColorProfile::new_pro_photo_rgb();
        let transform = profile.create_transform_16bit(Layout::Rgba, &wide, Layout::Rgb, options).ok()?;
        let mut full = [0; 3];
        transform.transform(&[u16::MAX; 4], &mut full).ok()?;
        let full = full.map(|sample| (f32::from(sample) / f32::from(u16::MAX)).powf(PRO_PHOTO_GAMMA));
        let by_table = profile.version() < ProfileVersion::V4_0;
        let black =
            PRO_PHOTO_TO_XYZ.map(|row| if by_table { dot(row, full).min(BRIGHTEST_BLACK) } else { PERCEPTUAL_BLACK });
        let (mut to_srgb, mut offset) = ([[0.0; 3]; 3], [0.0; 3]);
        for ((row, offset), factors) in to_srgb.iter_mut().zip(&mut offset).zip(TO_SRGB) {
            for ((factor, black), to_xyz) in factors.into_iter().zip(black).zip(PRO_PHOTO_TO_XYZ) {
                let factor = factor / (1.0 - black);
                row.iter_mut().zip(to_xyz).for_each(|(sum, part)| *sum += factor * part);
                *offset -= factor * black;
            }
        }
        let part = |step: u16| f32::from(step) / f32::from(STEPS);
        let lights = (0..=STEPS).map(|step| part(step).powf(PRO_PHOTO_GAMMA)).collect();
        let bytes = (0..=STEPS).map(|step| gamma(part(step) * part(step))).collect();
        Some(Self { transform, lights, to_srgb, offset, bytes })
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the table")]
    fn srgb(&self, inks: &[u8]) -> Result<Vec<u8>, Refusal> {
        let from: Vec<u16> = inks.iter().map(|ink| u16::from(*ink) * 257).collect();
        let mut wide = vec![0_u16; inks.len() / 4 * 3];
        self.transform.transform(&from, &mut wide).map_err(Refusal::broken)?;
        let mut bytes = Vec::with_capacity(wide.len());
        for pixel in wide.as_chunks::<3>().0 {
            let light = pixel.map(|sample| self.lights[usize::from(sample >> 4)]);
            for (row, offset) in self.to_srgb.into_iter().zip(self.offset) {
                let root = (dot(row, light) + offset).clamp(0.0, 1.0).sqrt();
                bytes.push(self.bytes[(root * f32::from(STEPS) + 0.5) as usize]);
            }
        }
        Ok(bytes)
    }
}

fn dot(row: [f32; 3], column: [f32; 3]) -> f32 {
    row.into_iter().zip(column).map(|(factor, part)| factor * part).sum()
}

/// Colours that were multiplied by alpha, as bytes. Lanczos may have gone a little beyond what alpha allows.
fn divided([red, green, blue, alpha]: [u16; 4]) -> [u8; 4] {
    if alpha == 0 {
        return [0; 4];
    }
    let alpha = u32::from(alpha.min(FULL));
    let byte = |number: u32| u8::try_from(number.min(255)).unwrap_or(u8::MAX);
    let colour = |sample: u16| byte((u32::from(sample) * 255 + alpha / 2) / alpha);
    [colour(red), colour(green), colour(blue), byte((alpha + 127) / 255)]
}

impl Picture {
    /// How many bytes a pixel has.
    pub(super) fn channels(&self) -> usize {
        if self.alpha { 4 } else { 3 }
    }

    /// The same picture as it is seen.
    pub(super) fn upright(self, orientation: Orientation) -> Self {
        if orientation == Orientation::UPRIGHT {
            return self;
        }
        let channels = self.channels();
        let size = orientation.seen(self.size);
        let mut bytes = Vec::with_capacity(self.bytes.len());
        for y in 0..size.height {
            for x in 0..size.width {
                let (column, row) = orientation.stored_at(self.size, x, y);
                let at = (row as usize * self.size.width as usize + column as usize) * channels;
                bytes.extend_from_slice(self.bytes.get(at..at + channels).unwrap_or_default());
            }
        }
        Self { size, bytes, ..self }
    }

    /// The picture in the middle of a canvas of `size`, with what `variant` wants behind and beside it.
    pub(super) fn on_canvas(self, size: Size, variant: &Variant) -> Self {
        let behind = match (variant.background, variant.output) {
            (None, Output::Jpeg) => Some([255; 3]),
            (background, _) => background,
        };
        let padded = size != self.size;
        if !padded && (!self.alpha || behind.is_none()) {
            return self;
        }
        let alpha = behind.is_none();
        let empty = behind.map_or(vec![0; 4], |behind| behind.to_vec());
        let mut bytes = empty.repeat(size.width as usize * size.height as usize);
        let (left, top) = ((size.width - self.size.width) / 2, (size.height - self.size.height) / 2);
        let channels = self.channels();
        let rows = self.bytes.chunks_exact(self.size.width as usize * channels);
        let lines = bytes.chunks_exact_mut(size.width as usize * empty.len()).skip(top as usize);
        for (row, line) in rows.zip(lines) {
            let places = line.chunks_exact_mut(empty.len()).skip(left as usize);
            for (pixel, place) in row.chunks_exact(channels).zip(places) {
                match (pixel, behind) {
                    ([colours @ .., alpha], Some(behind)) if channels == 4 => {
                        for ((to, colour), behind) in place.iter_mut().zip(colours).zip(behind) {
                            *to = over(*colour, *alpha, behind);
                        }
                    }
                    (pixel, _) => {
                        place.fill(u8::MAX);
                        place.iter_mut().zip(pixel).for_each(|(to, from)| *to = *from);
                    }
                }
            }
        }
        Self { size, alpha, bytes }
    }
}

/// A colour over another.
fn over(colour: u8, alpha: u8, behind: u8) -> u8 {
    let sum = u32::from(colour) * u32::from(alpha) + u32::from(behind) * u32::from(u8::MAX - alpha);
    u8::try_from((sum + 127) / 255).unwrap_or(u8::MAX)
}

/// Offset print on coated paper, as the Fogra institute measured it (FOGRA39L, December 2006; 1,617 patches; the file as
/// published with Argyll CMS, zlib licence). The model is that of Neugebauer with the factor of Yule and Nielsen at 2:
/// the roots of the sixteen overprints' XYZ, weighted by how much of the paper each covers. The gains were fitted to
/// those patches: mean difference 2.4 CIE76, 95 % below 4.9, largest 7.4.
#[derive(Debug)]
struct Press {
    /// Roots of the overprints.
    roots: [[f32; 3]; 16],
}

/// XYZ (D50) of the overprints: cyan is 1, magenta 2, yellow 4, black 8; 0 is the paper.
const OVERPRINTS: [[f32; 3]; 16] = [
    [0.8448, 0.8762, 0.7457],
    [0.1502, 0.2293, 0.5285],
    [0.3303, 0.1679, 0.1501],
    [0.0567, 0.0410, 0.1567],
    [0.6917, 0.7416, 0.0704],
    [0.0816, 0.1842, 0.0674],
    [0.3020, 0.1602, 0.0230],
    [0.0366, 0.0380, 0.0313],
    [0.0202, 0.0210, 0.0173],
    [0.0091, 0.0118, 0.0179],
    [0.0161, 0.0118, 0.0089],
    [0.0099, 0.0087, 0.0108],
    [0.0184, 0.0204, 0.0082],
    [0.0089, 0.0131, 0.0085],
    [0.0156, 0.0131, 0.0065],
    [0.0093, 0.0097, 0.0069],
];

/// How much wider dots of cyan, magenta, yellow and black print at one half, beyond what the factor explains.
const GAINS: [f32; 4] = [0.044, 0.019, 0.0, -0.014];

/// From XYZ relative to paper (1) and full ink (0), D50, to linear sRGB; Bradford adaptation.
const TO_SRGB: [[f32; 3]; 3] = [[3.0217, -1.6169, -0.4049], [-0.9437, 1.9161, 0.0276], [0.0694, -0.229, 1.1596]];

impl Press {
    fn new() -> Self {
        Self { roots: OVERPRINTS.map(|xyz| xyz.map(f32::sqrt)) }
    }

    fn srgb(&self, inks: [u8; 4]) -> [u8; 3] {
        let mut covers = [0.0; 4];
        for ((cover, ink), gain) in covers.iter_mut().zip(inks).zip(GAINS) {
            let dot = f32::from(ink) / 255.0;
            *cover = dot + 4.0 * gain * dot * (1.0 - dot);
        }
        let mut sums = [0.0; 3];
        for (overprint, root) in self.roots.iter().enumerate() {
            let share = covers
                .iter()
                .enumerate()
                .fold(1.0, |share, (ink, cover)| share * if overprint >> ink & 1 == 1 { *cover } else { 1.0 - cover });
            sums.iter_mut().zip(root).for_each(|(sum, root)| *sum += share * root);
        }
        let [paper, .., full] = OVERPRINTS;
        let mut relative = [0.0; 3];
        for (place, relative) in relative.iter_mut().enumerate() {
            *relative = (sums[place] * sums[place] - full[place]) / (paper[place] - full[place]);
        }
        TO_SRGB.map(|row| gamma(dot(row, relative)))
    }
}

/// IEC 61966-2-1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 to 255")]
fn gamma(linear: f32) -> u8 {
    let linear = linear.clamp(0.0, 1.0);
    let encoded = if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 };
    (encoded * 255.0 + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inks_without_a_profile_look_as_printed() {
        let press = Press::new();
        // sRGB of the solid inks as Fogra measured them, relative to the paper, by a calculation of its own.
        for (inks, srgb) in [
            ([0, 0, 0, 0], [255, 255, 255]),
            ([255, 0, 0, 0], [0, 158, 224]),
            ([0, 255, 0, 0], [230, 0, 126]),
            ([0, 0, 255, 0], [255, 237, 0]),
            ([255, 255, 255, 255], [0, 0, 0]),
        ] {
            let found = press.srgb(inks);
            for (found, srgb) in found.into_iter().zip(srgb) {
                assert!(i32::abs(i32::from(found) - srgb) <= 12, "{inks:?}: {:?}", press.srgb(inks));
            }
        }
    }
}
