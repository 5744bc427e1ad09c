//! From pixels to a file that holds nothing else.

use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};
use webpx::{Encoder, Unstoppable, YuvPlanesRef};

use super::Refusal;
use super::colour::Picture;
use super::geometry::Size;
use super::planes::{Planes, halved};
use crate::variant::{Output, Variant};

/// How hard libwebp tries, 0 to 6; its own default and sharp's.
const METHOD: u8 = 4;

/// `picture` as `variant` wants it written.
pub(super) fn encode(mut picture: Picture, variant: &Variant) -> Result<Vec<u8>, Refusal> {
    let (width, height) = (picture.size.width, picture.size.height);
    match variant.output {
        Output::Webp => {
            if picture.alpha {
                spread(picture.bytes.as_chunks_mut().0, width as usize);
            }
            let encoder = if picture.alpha {
                Encoder::new_rgba(&picture.bytes, width, height)
            } else {
                Encoder::new_rgb(&picture.bytes, width, height)
            };
            webp(encoder, variant)
        }
        Output::Jpeg => jpeg(&picture, variant.quality.into()).map_err(Refusal::broken),
        Output::Png => png(&picture).map_err(Refusal::broken),
    }
}

/// A picture of `size`, in WebP's own planes, as a WebP.
pub(super) fn planes(planes: &Planes, size: Size, variant: &Variant) -> Result<Vec<u8>, Refusal> {
    let [u, v] = &planes.chroma;
    let half = halved(size).width as usize;
    let encoder = Encoder::new_yuv(YuvPlanesRef {
        y: &planes.luma,
        y_stride: size.width as usize,
        u,
        u_stride: half,
        v,
        v_stride: half,
        a: None,
        a_stride: 0,
        width: size.width,
        height: size.height,
    });
    webp(encoder, variant)
}

fn webp(encoder: Encoder<'_>, variant: &Variant) -> Result<Vec<u8>, Refusal> {
    encoder.quality(variant.quality.into()).method(METHOD).encode(Unstoppable).map_err(Refusal::broken)
}

/// Gives what cannot be seen the colour of what can be seen beside it: an edge there would cost the encoder bytes, and
/// what is beside it would suffer.
fn spread(pixels: &mut [[u8; 4]], width: usize) {
    let Some(first) = pixels.iter().find(|pixel| pixel[3] > 0) else { return };
    let mut above = vec![*first; width];
    for row in pixels.chunks_exact_mut(width) {
        let mut beside = row.iter().find(|pixel| pixel[3] > 0).copied();
        for (pixel, above) in row.iter_mut().zip(&mut above) {
            if pixel[3] > 0 {
                beside = Some(*pixel);
            } else {
                let [red, green, blue, _] = beside.unwrap_or(*above);
                *pixel = [red, green, blue, 0];
            }
            *above = *pixel;
        }
    }
}

fn jpeg(picture: &Picture, quality: i32) -> turbojpeg::Result<Vec<u8>> {
    let (width, height) = (picture.size.width as usize, picture.size.height as usize);
    let mut compressor = Compressor::new()?;
    compressor.set_quality(quality)?;
    compressor.set_subsamp(Subsamp::Sub2x2)?;
    compressor.set_optimize(true)?;
    let pixels = picture.bytes.as_slice();
    compressor.compress_to_vec(Image { pixels, width, pitch: width * 3, height, format: PixelFormat::RGB })
}

fn png(picture: &Picture) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, picture.size.width, picture.size.height);
    encoder.set_color(if picture.alpha { png::ColorType::Rgba } else { png::ColorType::Rgb });
    encoder.set_source_srgb(png::SrgbRenderingIntent::Perceptual);
    encoder.write_header()?.write_image_data(&picture.bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_takes_the_colour_beside_it() {
        let (red, blue, hidden) = ([255, 0, 0, 9], [0, 0, 255, 255], [0; 4]);
        let mut pixels = [hidden, hidden, hidden, hidden, red, hidden, hidden, blue, hidden, hidden, hidden, hidden];
        spread(&mut pixels, 3);
        let [_, _, _, a, _, b, c, _, d, ..] = pixels;
        assert_eq!(pixels[..3], [[255, 0, 0, 0]; 3]);
        assert_eq!([a, b, c, d], [[255, 0, 0, 0], [255, 0, 0, 0], [0, 0, 255, 0], [0, 0, 255, 0]]);
        assert_eq!(pixels[9..], [[0, 0, 255, 0]; 3]);
        assert_eq!([pixels[4], pixels[7]], [red, blue]);
    }
}
