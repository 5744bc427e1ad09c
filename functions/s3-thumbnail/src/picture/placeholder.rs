//! What can be shown before a thumbnail has come: one colour, or a blur in thirty letters.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{InnerPixel, U8x4};
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use thumbhash::rgba_to_thumb_hash;

use super::Refusal;
use super::colour::Picture;

/// A hash knows seven waves at most along a side; more pixels would tell it nothing.
const SIDE: u32 = 32;

/// Colours that differ in the lowest four bits of a channel count as one.
const SHIFT: u8 = 4;

/// The most frequent colour of `picture`, as `#rrggbb`, and its ThumbHash in base64.
pub(super) fn of(picture: &Picture) -> Result<(String, String), Refusal> {
    Ok((dominant(picture), hash(picture)?))
}

/// The mean of the pixels that fall into the fullest of 4,096 bins, as sharp's `dominant`, which gives the bin's middle.
fn dominant(picture: &Picture) -> String {
    let mut bins = vec![[0_u32; 4]; 1 << 12];
    for pixel in picture.bytes.chunks_exact(picture.channels()) {
        if let [red, green, blue, rest @ ..] = pixel
            && rest.first().is_none_or(|alpha| *alpha >= 128)
        {
            let bin = [red, green, blue].iter().fold(0, |bin, sample| bin << 4 | usize::from(*sample >> SHIFT));
            for (sum, sample) in bins[bin].iter_mut().zip([1, (*red).into(), (*green).into(), (*blue).into()]) {
                *sum += sample;
            }
        }
    }
    let fullest = bins.into_iter().max_by_key(|[count, ..]| *count).unwrap_or_default();
    let [count, sums @ ..] = fullest;
    let [red, green, blue] = sums.map(|sum| sum.checked_div(count).unwrap_or(0));
    format!("#{red:02x}{green:02x}{blue:02x}")
}

fn hash(picture: &Picture) -> Result<String, Refusal> {
    let pixels: Vec<U8x4> = match picture.bytes.as_chunks::<4>().0 {
        pixels if picture.alpha => pixels.iter().map(|pixel| U8x4::new(*pixel)).collect(),
        _ => {
            let pixels = picture.bytes.as_chunks::<3>().0.iter();
            pixels.map(|[red, green, blue]| U8x4::new([*red, *green, *blue, u8::MAX])).collect()
        }
    };
    let longest = picture.size.width.max(picture.size.height);
    let side = |side: u32| if longest > SIDE { (side * SIDE / longest).max(1) } else { side };
    let (width, height) = (side(picture.size.width), side(picture.size.height));
    let source = TypedImageRef::new(picture.size.width, picture.size.height, &pixels).map_err(Refusal::broken)?;
    let mut small = vec![U8x4::empty(); width as usize * height as usize];
    let mut target = TypedImage::from_pixels_slice(width, height, &mut small).map_err(Refusal::broken)?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Box));
    Resizer::new().resize_typed(&source, &mut target, &options).map_err(Refusal::broken)?;
    Ok(STANDARD.encode(rgba_to_thumb_hash(width as usize, height as usize, U8x4::components(&small))))
}
