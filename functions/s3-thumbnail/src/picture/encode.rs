//! From pixels to a file that holds nothing else.

use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};
use webpx::{Encoder, Unstoppable};

use super::Refusal;
use super::colour::Picture;
use crate::variant::{Output, Variant};

/// How hard libwebp tries, 0 to 6; its own default and sharp's.
const METHOD: u8 = 4;

/// `picture` as `variant` wants it written.
pub(super) fn encode(picture: &Picture, variant: &Variant) -> Result<Vec<u8>, Refusal> {
    let (width, height) = (picture.size.width, picture.size.height);
    match variant.output {
        Output::Webp => {
            let encoder = if picture.alpha {
                Encoder::new_rgba(&picture.bytes, width, height)
            } else {
                Encoder::new_rgb(&picture.bytes, width, height)
            };
            encoder.quality(variant.quality.into()).method(METHOD).encode(Unstoppable).map_err(Refusal::broken)
        }
        Output::Jpeg => jpeg(picture, variant.quality.into()).map_err(Refusal::broken),
        Output::Png => png(picture).map_err(Refusal::broken),
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
