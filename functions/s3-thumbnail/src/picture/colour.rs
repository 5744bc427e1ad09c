//! From the numbers in a file to sRGB, on the few pixels that are left.
//!
//! An embedded ICC profile says what the numbers mean. One that cannot be read is passed over, as browsers do: the
//! numbers are then taken for sRGB. Inks without a profile are taken for offset print on coated paper, which is what
//! most of them were made for; simply inverting them would give colours that no press prints. Inks with one: [`inks`].

mod inks;
mod lattice;
#[cfg(test)]
mod profiles;
mod table;

use std::sync::Arc;

use fast_image_resize::pixels::{InnerPixel, U8x3, U8x4, U16x4};
use inks::Inks;
use moxcms::{ColorProfile, DataColorSpace, Layout, RenderingIntent, Transform16BitExecutor, TransformOptions};

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
            Pixels::Light(_) | Pixels::Alpha(_) | Pixels::Planes(_) => (Self::Srgb, DataColorSpace::Rgb),
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

    /// The picture in sRGB; of planes as many pixels as have a colour of their own.
    pub(super) fn srgb(&mut self, scaled: &Scaled) -> Result<Picture, Refusal> {
        let size = scaled.size;
        let (alpha, bytes) = match &scaled.pixels {
            Pixels::Light(pixels) => (false, self.light(U8x3::components(pixels))?),
            Pixels::Ink(pixels) => (false, self.ink(pixels)?),
            Pixels::Alpha(pixels) => (true, self.alpha(pixels)?),
            Pixels::Planes(planes) => return Ok(planes.colours(size)),
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

    fn ink(&mut self, pixels: &[U8x4]) -> Result<Vec<u8>, Refusal> {
        match self {
            Self::Inks(inks) => inks.srgb(U8x4::components(pixels).as_chunks().0),
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
        let channels = self.channels();
        let bytes = upright(self.bytes, channels, self.size, orientation);
        Self { size: orientation.seen(self.size), alpha: self.alpha, bytes }
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

/// The pixels of a picture stored with `size`, of `channels` bytes each, in the order in which they are seen.
pub(super) fn upright(bytes: Vec<u8>, channels: usize, size: Size, orientation: Orientation) -> Vec<u8> {
    if orientation == Orientation::UPRIGHT {
        return bytes;
    }
    let seen = orientation.seen(size);
    let mut turned = Vec::with_capacity(bytes.len());
    for y in 0..seen.height {
        for x in 0..seen.width {
            let (column, row) = orientation.stored_at(size, x, y);
            let at = (row as usize * size.width as usize + column as usize) * channels;
            turned.extend_from_slice(bytes.get(at..at + channels).unwrap_or_default());
        }
    }
    turned
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
const TO_SRGB: [[f32; 3]; 3] =
    [[3.021_98, -1.617_21, -0.404_77], [-0.943_71, 1.916_13, 0.027_58], [0.069_39, -0.228_99, 1.159_60]];

impl Press {
    fn new() -> Self {
        Self { roots: OVERPRINTS.map(|xyz| xyz.map(f32::sqrt)) }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
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
        TO_SRGB.map(|row| (encoded(dot(row, relative)) * 255.0 + 0.5) as u8)
    }
}

/// Light (0 to 1, cut to that) as sRGB encodes it, 0 to 1. IEC 61966-2-1.
fn encoded(light: f32) -> f32 {
    let light = light.clamp(0.0, 1.0);
    if light <= 0.003_130_8 { 12.92 * light } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 }
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
