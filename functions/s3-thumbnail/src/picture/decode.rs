//! From a file to pixels, no more of them than the largest thumbnail needs.

mod gif;
mod jpeg;
mod png;
mod webp;

use fast_image_resize::pixels::U8x3;

use super::geometry::Size;
use super::planes::Form;
use super::probe::{Format, Header};
use super::raster::{AlphaBoxes, Boxes, FULL, Pixels, Raster};
use super::{Limits, Refusal};

/// Decodes `bytes` in `form`, for thumbnails of which the largest is `shrink` times smaller than the picture.
pub(super) fn decode(
    bytes: &[u8],
    header: &Header,
    form: Form,
    shrink: f64,
    limits: &Limits,
) -> Result<Raster, Refusal> {
    match header.format {
        Format::Jpeg(colour) => jpeg::decode(bytes, header, colour, form, shrink, limits),
        Format::Png => png::decode(bytes, header, shrink, limits),
        Format::Webp => webp::decode(bytes, header, form, shrink),
        Format::Gif => gif::decode(bytes, header, shrink, limits),
    }
}

/// A picture of `size` whose rows went through `boxes` of `side`.
fn without_alpha(size: Size, side: u32, boxes: Boxes<U8x3>, profile: Option<Vec<u8>>) -> Raster {
    let (boxed, pixels) = boxes.finish();
    Raster { size: boxed, extent: extent(size, side), pixels: Pixels::Light(pixels), profile }
}

/// The same for one with alpha.
fn with_alpha(size: Size, side: u32, boxes: AlphaBoxes, profile: Option<Vec<u8>>) -> Raster {
    let (boxed, pixels) = boxes.finish();
    let pixels = Pixels::Alpha(pixels).without_needless_alpha();
    Raster { size: boxed, extent: extent(size, side), pixels, profile }
}

/// How much of a picture shrunken by boxes of `side` is real.
fn extent(size: Size, side: u32) -> (f64, f64) {
    (f64::from(size.width) / f64::from(side), f64::from(size.height) / f64::from(side))
}

/// A row of pixels of sixteen bits, colours multiplied by alpha and rounded to the scale of [`FULL`].
fn multiplied_16(row: &[[u16; 4]], into: &mut Vec<[u16; 4]>) {
    const MAX: u64 = u16::MAX as u64;
    into.clear();
    for [red, green, blue, alpha] in row {
        let times = |sample: &u16| {
            let product = u64::from(*sample) * u64::from(*alpha) * u64::from(FULL);
            u16::try_from((product + MAX * MAX / 2) / (MAX * MAX)).unwrap_or(FULL)
        };
        into.push([times(red), times(green), times(blue), times(&u16::MAX)]);
    }
}
