//! Luma and chroma apart, as JPEG and lossy WebP store them: chroma half as wide and half as high.
//!
//! Most uploads are such a JPEG, and a WebP is what most thumbnails become. Between the two nobody needs red, green and
//! blue: planes are decoded, made smaller and encoded as they are, which leaves out two conversions, and half of what is
//! made smaller. Each step is the one that pixels take, once for each plane.
//!
//! Planes are refused where they would be worse, or where colours are needed after all: for a thumbnail of odd width or
//! height (its chroma would lie half a pixel beside its luma), with padding, in another format, and with a profile. Of a
//! WebP also where they would cost more: when it is large, or becomes much smaller.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{InnerPixel, U8};

use super::colour::{Picture, upright};
use super::geometry::{Orientation, Plan, Rect, Size};
use super::probe::{Format, Header, JpegColour};
use super::raster::{self, Boxes};
use super::{Limits, Refusal};
use crate::variant::{Output, Variant};

/// A WebP's planes come in their full size. Where more is left out than this many times along a side, having its decoder
/// average them on the way to pixels costs less: by measurement, the two are equal a little above.
const MAX_SHRINK_WEBP: f64 = 4.0;

/// What is held of them: one and a half bytes for each pixel, and twice for a moment.
const BYTES_WEBP: u64 = 3;

/// More is not held for planes, in bytes: pixels need less, because the decoder of WebP averages them.
const MAX_HELD: u64 = 18 << 20;

/// In which form a picture is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As pixels, whose samples lie together.
    Pixels,
    /// As planes, if it is stored in such; else as pixels.
    Planes,
}

impl Form {
    /// The form in which the picture of `header` becomes `variants` by `plans` with the least work, the largest of them
    /// `shrink` times smaller.
    pub(super) fn of(header: &Header, shrink: f64, plans: &[Plan], variants: &[Variant], limits: &Limits) -> Self {
        let stored = match header.format {
            Format::Jpeg(JpegColour::Light) => true,
            Format::Webp => {
                shrink < MAX_SHRINK_WEBP && header.size.pixels() * BYTES_WEBP <= MAX_HELD.min(limits.memory)
            }
            Format::Jpeg(JpegColour::Ink { .. }) | Format::Png | Format::Gif => false,
        };
        let suits = |(plan, variant): (&Plan, &Variant)| {
            let Size { width, height } = plan.kept.size;
            variant.output == Output::Webp && plan.canvas == plan.kept.size && width % 2 == 0 && height % 2 == 0
        };
        if stored && header.profile.is_none() && plans.iter().zip(variants).all(suits) {
            Self::Planes
        } else {
            Self::Pixels
        }
    }
}

/// Which bytes stand for no light and for full light.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Range {
    /// 0 and 255, as in JPEG.
    Full,
    /// 16 and 235, and chroma up to 112 from its middle, as in WebP.
    Limited,
}

/// The planes of a picture, row by row. Its colours are those of ITU-R BT.601 in both formats.
#[derive(Clone, Debug)]
pub(super) struct Planes {
    pub(super) range: Range,
    /// As large as the picture.
    pub(super) luma: Vec<u8>,
    /// Blue's difference and red's, each of [`halved`] size.
    pub(super) chroma: [Vec<u8>; 2],
}

/// The size of the chroma of a picture of `size`.
pub(super) fn halved(size: Size) -> Size {
    Size { width: size.width.div_ceil(2), height: size.height.div_ceil(2) }
}

impl Planes {
    /// The same in boxes of `side` by `side`, and its size, which was `size`.
    pub(super) fn boxed(&self, size: Size, side: u32) -> (Size, Self) {
        let (boxed, luma) = boxes(&self.luma, size, side);
        let chroma = self.chroma.each_ref().map(|plane| boxes(plane, halved(size), side).1);
        (boxed, Self { range: self.range, luma, chroma })
    }

    /// The `part`, of even width and height, of what would fill `scaled`; in WebP's range. `size` and `extent` are those
    /// of the picture.
    pub(super) fn scaled(&self, size: Size, extent: (f64, f64), scaled: Size, part: Rect) -> Result<Self, Refusal> {
        let mut luma = lanczos(&self.luma, size, extent, scaled, part, part.size)?;
        // The same part of half as much, in half as many pixels.
        let (size, extent) = (halved(size), (extent.0 / 2.0, extent.1 / 2.0));
        let [blue, red] = &self.chroma;
        let chroma = |plane| lanczos(plane, size, extent, scaled, part, halved(part.size));
        let mut chroma = [chroma(blue)?, chroma(red)?];
        match self.range {
            Range::Full => {
                limit(&mut luma, 219, 16 * 255);
                chroma.iter_mut().for_each(|plane| limit(plane, 224, 128 * (255 - 224)));
            }
            Range::Limited => {}
        }
        Ok(Self { range: Range::Limited, luma, chroma })
    }

    /// The same picture, of even width and height and stored with `size`, as it is seen.
    pub(super) fn upright(self, size: Size, orientation: Orientation) -> Self {
        let turned = |plane, size| upright(plane, 1, size, orientation);
        Self {
            range: self.range,
            luma: turned(self.luma, size),
            chroma: self.chroma.map(|plane| turned(plane, halved(size))),
        }
    }

    /// Its colours, a pixel for each pair of chroma: enough to see what the picture is about. Of a picture of `size` in
    /// WebP's range, of even width and height.
    pub(super) fn colours(&self, size: Size) -> Picture {
        let half = halved(size);
        let (width, half_width) = (size.width as usize, half.width as usize);
        let mut bytes = vec![0; half_width * half.height as usize * 3];
        let [blue, red] = self.chroma.each_ref().map(|plane| plane.chunks_exact(half_width));
        let rows = self.luma.chunks_exact(width * 2).zip(blue).zip(red);
        for (((luma, blue), red), row) in rows.zip(bytes.chunks_exact_mut(half_width * 3)) {
            let (above, below) = luma.split_at(width);
            let luma = above.as_chunks().0.iter().zip(below.as_chunks().0);
            for ((((above, below), blue), red), pixel) in luma.zip(blue).zip(red).zip(row.as_chunks_mut().0) {
                *pixel = rgb([*above, *below], *blue, *red);
            }
        }
        Picture { size: half, alpha: false, bytes }
    }
}

/// A plane in boxes of `side` by `side`.
fn boxes(plane: &[u8], size: Size, side: u32) -> (Size, Vec<u8>) {
    let mut boxes = Boxes::<U8>::new(size.width, side);
    plane.chunks_exact(size.width as usize).for_each(|row| boxes.row(row));
    let (size, samples) = boxes.finish();
    (size, U8::components(&samples).to_vec())
}

/// The `part` of what would fill `scaled`, in `to` pixels.
fn lanczos(
    plane: &[u8],
    size: Size,
    extent: (f64, f64),
    scaled: Size,
    part: Rect,
    to: Size,
) -> Result<Vec<u8>, Refusal> {
    let source = TypedImageRef::<U8>::from_buffer(size.width, size.height, plane).map_err(Refusal::broken)?;
    let mut target = vec![0; to.width as usize * to.height as usize];
    let image = TypedImage::<U8>::from_buffer(to.width, to.height, &mut target).map_err(Refusal::broken)?;
    raster::lanczos(&source, extent, scaled, part, image)?;
    Ok(target)
}

/// JPEG's range as WebP's: `steps` instead of 255, and what that adds, in parts of 255.
fn limit(plane: &mut [u8], steps: u32, added: u32) {
    let mut limited = [0; 256];
    for (full, limited) in (0..).zip(&mut limited) {
        *limited = u8::try_from((full * steps + added + 127) / 255).unwrap_or(u8::MAX);
    }
    plane.iter_mut().for_each(|sample| *sample = limited[usize::from(*sample)]);
}

/// Red, green and blue of four pixels that share their chroma: BT.601 from WebP's range, in parts of 65,536.
fn rgb(luma: [[u8; 2]; 2], blue: u8, red: u8) -> [u8; 3] {
    let luma: i32 = luma.as_flattened().iter().map(|luma| i32::from(*luma) - 16).sum();
    let (blue, red) = (i32::from(blue) - 128, i32::from(red) - 128);
    let light = luma * 19_077 + 32_768;
    [light + red * 104_597, light - blue * 25_675 - red * 53_279, light + blue * 132_201]
        .map(|colour| u8::try_from((colour >> 16).clamp(0, 255)).unwrap_or_default())
}
