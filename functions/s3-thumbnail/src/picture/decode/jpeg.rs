//! JPEG by libjpeg-turbo, which can leave out what a smaller picture does not need.

use fast_image_resize::pixels::{InnerPixel, U8x3, U8x4};
use turbojpeg::{Colorspace, Decompressor, Image, PixelFormat, ScalingFactor, Subsamp, YuvImage};

use super::super::geometry::Size;
use super::super::planes::{Form, Planes, Range};
use super::super::probe::{Header, JpegColour};
use super::super::raster::{Pixels, Raster};
use super::super::{Limits, Refusal};

pub(super) fn decode(
    bytes: &[u8],
    header: &Header,
    colour: JpegColour,
    form: Form,
    shrink: f64,
    limits: &Limits,
) -> Result<Raster, Refusal> {
    let eighths = eighths(shrink);
    let factor = ScalingFactor::new(eighths, 8);
    let mut decompressor = Decompressor::new().map_err(Refusal::broken)?;
    decompressor.set_scaling_factor(factor).map_err(Refusal::broken)?;
    decompressor.set_scan_limit(limits.scans).map_err(Refusal::broken)?;
    let scaled = |side: u32| u32::try_from(factor.scale(side as usize)).unwrap_or(side);
    let size = Size { width: scaled(header.size.width), height: scaled(header.size.height) };
    let pixels = match colour {
        JpegColour::Light if form == Form::Planes && halves_chroma(&mut decompressor, bytes)? => {
            Pixels::Planes(planes(&mut decompressor, bytes, size, limits)?)
        }
        JpegColour::Light => Pixels::Light(pixels::<U8x3>(&mut decompressor, bytes, size, PixelFormat::RGB, limits)?),
        JpegColour::Ink { inverted } => {
            let mut pixels = pixels::<U8x4>(&mut decompressor, bytes, size, PixelFormat::CMYK, limits)?;
            if inverted {
                U8x4::components_mut(&mut pixels).iter_mut().for_each(|sample| *sample = !*sample);
            }
            Pixels::Ink(pixels)
        }
    };
    #[expect(clippy::cast_precision_loss, reason = "1 to 8")]
    let part = eighths as f64 / 8.0;
    let extent = (f64::from(header.size.width) * part, f64::from(header.size.height) * part);
    Ok(Raster { size, extent, pixels, profile: header.profile.clone() })
}

/// Which part of a picture's sides is decoded. Just above a power of two the next larger one is taken, as sharp does:
/// there Lanczos3 would have nothing left to do. Below two it is what leaves Lanczos3 a shrink of one and a half, which
/// is as good as the whole, and smaller.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 5 to 8")]
fn eighths(shrink: f64) -> usize {
    let least = |power: f64| shrink >= power + 1.0;
    if least(8.0) {
        1
    } else if least(4.0) {
        2
    } else if least(2.0) {
        4
    } else {
        (12.0 / shrink).ceil().clamp(5.0, 8.0) as usize
    }
}

fn pixels<P: InnerPixel<Component = u8>>(
    decompressor: &mut Decompressor,
    bytes: &[u8],
    size: Size,
    format: PixelFormat,
    limits: &Limits,
) -> Result<Vec<P>, Refusal> {
    let (width, height) = (size.width as usize, size.height as usize);
    let mut pixels = vec![P::empty(); width * height];
    let samples = P::components_mut(&mut pixels);
    let image = Image { pixels: samples, width, pitch: width * P::size(), height, format };
    decompressor.decompress(bytes, image).map_err(|error| refusal(&error, limits))?;
    Ok(pixels)
}

/// Whether chroma is stored at half the width and height of luma.
fn halves_chroma(decompressor: &mut Decompressor, bytes: &[u8]) -> Result<bool, Refusal> {
    let found = decompressor.read_header(bytes).map_err(Refusal::broken)?;
    Ok((found.colorspace, found.subsamp) == (Colorspace::YCbCr, Subsamp::Sub2x2))
}

fn planes(decompressor: &mut Decompressor, bytes: &[u8], size: Size, limits: &Limits) -> Result<Planes, Refusal> {
    let (width, height) = (size.width as usize, size.height as usize);
    // The library rounds luma up to whole pairs.
    let (wide, high) = (width.next_multiple_of(2), height.next_multiple_of(2));
    let (of_luma, of_chroma) = (wide * high, wide * high / 4);
    let mut all = vec![0; of_luma + 2 * of_chroma];
    let image = YuvImage { pixels: all.as_mut_slice(), width, align: 1, height, subsamp: Subsamp::Sub2x2 };
    decompressor.decompress_to_yuv(bytes, image).map_err(|error| refusal(&error, limits))?;
    let red = all.split_off(of_luma + of_chroma);
    let blue = all.split_off(of_luma);
    let mut luma = all;
    for row in 1..if wide > width { height } else { 0 } {
        luma.copy_within(row * wide..row * wide + width, row * width);
    }
    luma.truncate(width * height);
    Ok(Planes { range: Range::Full, luma, chroma: [blue, red] })
}

/// The library counts scans while it reads them and says so in words only.
fn refusal(error: &turbojpeg::Error, limits: &Limits) -> Refusal {
    let error = error.to_string();
    if error.contains("scans") {
        let limit = limits.scans.into();
        Refusal::TooLarge { what: "scans", found: limit + 1, limit }
    } else {
        Refusal::Broken(error)
    }
}
