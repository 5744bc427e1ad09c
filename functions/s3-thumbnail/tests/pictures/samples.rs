//! One scene, written as every kind of file that is read: red and green above, blue and white below.

#![expect(clippy::expect_used, reason = "a sample that cannot be made is a failed test")]

use std::borrow::Cow;

use moxcms::ColorProfile;
use s3_thumbnail::picture::{Limits, Refusal, Thumbnail, thumbnails};
use s3_thumbnail::variant::Variant;
use turbojpeg::{Colorspace, Compressor, Image, PixelFormat, Subsamp};
use webpx::{Encoder, Unstoppable};

#[path = "profile.rs"]
mod profile;

pub const WIDTH: u32 = 96;
pub const HEIGHT: u32 = 64;

/// The colours of the quarters, in reading order.
pub const QUARTERS: [[u8; 3]; 4] = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]];

pub const LIMITS: Limits =
    Limits { bytes: 32 << 20, pixels: 100_000_000, frames: 1_000, scans: 100, memory: 256 << 20 };

/// Thumbnails by the words of the variable.
pub fn made(bytes: &[u8], variants: &str) -> Result<Vec<Thumbnail>, Refusal> {
    let variants = Variant::parse_list(variants).expect("variants");
    thumbnails(bytes, &variants, None, &LIMITS)
}

/// A thumbnail as pixels.
#[derive(Debug)]
pub struct Pixels {
    pub width: u32,
    pub channels: usize,
    pub bytes: Vec<u8>,
}

impl Pixels {
    pub fn at(&self, x: u32, y: u32) -> &[u8] {
        let at = (y as usize * self.width as usize + x as usize) * self.channels;
        &self.bytes[at..at + self.channels]
    }

    /// Compares the middle of each quarter with `expected`.
    pub fn show(&self, expected: [[u8; 3]; 4], tolerance: u8, what: &str) {
        let height =
            u32::try_from(self.bytes.len()).expect("small") / self.width / u32::try_from(self.channels).expect("few");
        let (left, right, upper, lower) = (self.width / 4, self.width * 3 / 4, height / 4, height * 3 / 4);
        for ((x, y), colour) in [(left, upper), (right, upper), (left, lower), (right, lower)].into_iter().zip(expected)
        {
            close(&self.at(x, y)[..3], &colour, tolerance, &format!("{what} at {x}, {y}"));
        }
    }
}

/// Compares colours.
pub fn close(found: &[u8], expected: &[u8], tolerance: u8, what: &str) {
    let far = found.iter().zip(expected).any(|(found, expected)| found.abs_diff(*expected) > tolerance);
    assert!(!far && found.len() == expected.len(), "{what}: {found:?}, expected {expected:?}");
}

/// The only thumbnail of `bytes`, a PNG, as pixels. `words` come after the format.
pub fn rendered(bytes: &[u8], size: &str, words: &str) -> Pixels {
    let thumbnail = made(bytes, &format!("v={size},png{words}")).expect("a thumbnail").remove(0);
    let mut reader = png::Decoder::new(std::io::Cursor::new(thumbnail.bytes)).read_info().expect("a PNG");
    let mut bytes = vec![0; reader.output_buffer_size().expect("small")];
    let frame = reader.next_frame(&mut bytes).expect("pixels");
    assert_eq!((frame.width, frame.height), (thumbnail.size.width, thumbnail.size.height));
    Pixels { width: frame.width, channels: frame.color_type.samples(), bytes }
}

/// The scene with `width` pixels in each row, three bytes each.
pub fn scene(width: u32, height: u32) -> Vec<u8> {
    let quarter = |x: u32, y: u32| usize::from(x >= width / 2) + 2 * usize::from(y >= height / 2);
    (0..height).flat_map(|y| (0..width).flat_map(move |x| QUARTERS[quarter(x, y)])).collect()
}

fn scene_with_alpha() -> Vec<u8> {
    scene(WIDTH, HEIGHT).as_chunks().0.iter().flat_map(|[red, green, blue]| [*red, *green, *blue, 255]).collect()
}

pub fn jpeg_of(pixels: &[u8], width: u32, format: PixelFormat, set: impl FnOnce(&mut Compressor)) -> Vec<u8> {
    let pitch = width as usize * format.size();
    let mut compressor = Compressor::new().expect("a compressor");
    compressor.set_quality(95).expect("a quality");
    compressor.set_subsamp(Subsamp::Sub2x2).expect("a sampling");
    set(&mut compressor);
    let image = Image { pixels, width: width as usize, pitch, height: pixels.len() / pitch, format };
    compressor.compress_to_vec(image).expect("a JPEG")
}

/// The scene as a baseline JPEG.
pub fn jpeg() -> Vec<u8> {
    jpeg_of(&scene(WIDTH, HEIGHT), WIDTH, PixelFormat::RGB, |_| {})
}

pub fn progressive_jpeg() -> Vec<u8> {
    jpeg_of(&scene(WIDTH, HEIGHT), WIDTH, PixelFormat::RGB, |compressor| {
        compressor.set_progressive(true).expect("progressive");
    })
}

/// `jpeg` with a segment after its first marker.
pub fn with_segment(jpeg: &[u8], marker: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 2).expect("a short segment").to_be_bytes();
    [&jpeg[..2], &[0xff, marker], &length, body, &jpeg[2..]].concat()
}

/// Exif with an orientation and a place on earth.
pub fn exif(orientation: u8) -> Vec<u8> {
    let mut tiff = b"MM\0*\0\0\0\x08\0\x02".to_vec();
    tiff.extend(b"\x01\x12\0\x03\0\0\0\x01\0");
    tiff.extend([orientation, 0, 0]);
    tiff.extend(b"\x88\x25\0\x04\0\0\0\x01\0\0\0\x26\0\0\0\0");
    tiff.extend(b"\0\x01\0\x01\0\x02\0\0\0\x0237.5665N126.9780E\0\0\0\0");
    tiff
}

/// The ICC profile in one segment of a JPEG.
pub fn with_profile(jpeg: &[u8], profile: &[u8]) -> Vec<u8> {
    with_segment(jpeg, 0xe2, &[b"ICC_PROFILE\0\x01\x01", profile].concat())
}

pub fn png_of(
    pixels: &[u8],
    size: (u32, u32),
    colour: png::ColorType,
    depth: png::BitDepth,
    set: impl FnOnce(&mut png::Info<'_>),
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut info = png::Info::with_size(size.0, size.1);
    info.color_type = colour;
    info.bit_depth = depth;
    set(&mut info);
    let encoder = png::Encoder::with_info(&mut bytes, info).expect("an encoder");
    encoder.write_header().expect("a header").write_image_data(pixels).expect("pixels");
    bytes
}

pub fn png() -> Vec<u8> {
    png_of(&scene(WIDTH, HEIGHT), (WIDTH, HEIGHT), png::ColorType::Rgb, png::BitDepth::Eight, |_| {})
}

/// The number of the quarter of each pixel.
fn quarters() -> Vec<u8> {
    let colours = scene(WIDTH, HEIGHT);
    let number = |colour: &[u8; 3]| QUARTERS.iter().position(|quarter| quarter == colour);
    colours
        .as_chunks::<3>()
        .0
        .iter()
        .map(|colour| u8::try_from(number(colour).expect("one of four")).expect("small"))
        .collect()
}

pub fn webp(lossless: bool) -> Vec<u8> {
    let pixels = scene(WIDTH, HEIGHT);
    Encoder::new_rgb(&pixels, WIDTH, HEIGHT).quality(95.0).lossless(lossless).encode(Unstoppable).expect("a WebP")
}

pub fn webp_with_alpha(pixels: &[u8], width: u32, height: u32) -> Vec<u8> {
    Encoder::new_rgba(pixels, width, height).quality(95.0).exact(true).encode(Unstoppable).expect("a WebP")
}

pub fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let padding: &[u8] = if body.len() % 2 == 1 { &[0] } else { &[] };
    [kind, &u32::try_from(body.len()).expect("short").to_le_bytes(), body, padding].concat()
}

/// Two pictures in one WebP: `first`, a still one without an extended header, at (`left`, `top`) of a canvas.
pub fn animation(first: &[u8], size: (u32, u32), (left, top): (u32, u32), canvas: (u32, u32)) -> Vec<u8> {
    let less_one = |number: u32| number.to_le_bytes()[..3].to_vec();
    let place = [less_one(left / 2), less_one(top / 2), less_one(size.0 - 1), less_one(size.1 - 1)].concat();
    let frame = chunk(b"ANMF", &[place.as_slice(), &[100, 0, 0, 0], &first[12..]].concat());
    let header = chunk(b"VP8X", &[vec![0x02_u8, 0, 0, 0], less_one(canvas.0 - 1), less_one(canvas.1 - 1)].concat());
    let body = [b"WEBP".to_vec(), header, chunk(b"ANIM", &[0; 6]), frame.clone(), frame].concat();
    [b"RIFF".to_vec(), u32::try_from(body.len()).expect("short").to_le_bytes().to_vec(), body].concat()
}

/// A GIF of two pictures; the second one is black.
pub fn gif() -> Vec<u8> {
    let mut bytes = Vec::new();
    let (width, height) = (u16::try_from(WIDTH).expect("short"), u16::try_from(HEIGHT).expect("short"));
    let palette: Vec<u8> = QUARTERS.concat();
    let mut encoder = gif::Encoder::new(&mut bytes, width, height, &palette).expect("an encoder");
    let frame = |buffer: Vec<u8>| gif::Frame { width, height, buffer: Cow::Owned(buffer), ..gif::Frame::default() };
    encoder.write_frame(&frame(quarters())).expect("a picture");
    encoder.write_frame(&frame(vec![0; quarters().len()])).expect("a picture");
    drop(encoder);
    bytes
}

/// An ICC profile of a press whose colours are all gray: white paper, and full ink as dark as `darkest` of L*.
pub fn press(darkest: u8) -> Vec<u8> {
    let lightness =
        |corner: u8| if corner == 15 { darkest } else { (100 - 20 * corner.count_ones().min(4) as u8).max(darkest) };
    let byte = |lightness: u8| u8::try_from(u32::from(lightness) * 255 / 100).expect("a byte");
    let mut table = b"mft1\0\0\0\0\x04\x03\x02\0".to_vec();
    for place in 0..9 {
        table.extend(u32::to_be_bytes(if place % 4 == 0 { 1 << 16 } else { 0 }));
    }
    let same: Vec<u8> = (0..=255).collect();
    table.extend(same.repeat(4));
    table.extend((0..16).flat_map(|corner| [byte(lightness(corner)), 128, 128]));
    table.extend(same.repeat(3));
    profile::profile(2, &table)
}

/// What damage is done to: every kind, and those whose profiles and transparency are read, too.
pub fn corpus() -> Vec<Vec<u8>> {
    let display = ColorProfile::new_display_p3().encode().expect("a profile");
    let inks = jpeg_of(&[40; 4 * 32 * 32], 32, PixelFormat::CMYK, |_| {});
    let alpha = [1, 2, 3, 100].repeat(40 * 40);
    let wide = png_of(&[7; 8 * 9 * 9], (9, 9), png::ColorType::Rgba, png::BitDepth::Sixteen, |_| {});
    let profiled = png_of(&scene(WIDTH, HEIGHT), (WIDTH, HEIGHT), png::ColorType::Rgb, png::BitDepth::Eight, |info| {
        info.icc_profile = Some(display.clone().into());
    });
    let mut files: Vec<Vec<u8>> = every_kind().into_iter().map(|(_, bytes, _)| bytes).collect();
    files.extend([
        include_bytes!("interlaced.png").to_vec(),
        with_profile(&jpeg(), &display),
        with_profile(&inks, &press(10)),
        with_segment(&jpeg(), 0xe1, &[b"Exif\0\0", exif(6).as_slice()].concat()),
        webp_with_alpha(&alpha, 40, 40),
        animation(&webp(false), (WIDTH, HEIGHT), (10, 20), (200, 100)),
        wide,
        profiled,
    ]);
    files
}

/// Every kind of file that is read, and how far its colours may be off.
pub fn every_kind() -> Vec<(&'static str, Vec<u8>, u8)> {
    let rgb = scene(WIDTH, HEIGHT);
    let size = (WIDTH, HEIGHT);
    let wide: Vec<u8> = rgb.iter().flat_map(|sample| [*sample, *sample]).collect();
    let inks: Vec<u8> =
        rgb.as_chunks().0.iter().flat_map(|[c, m, y]| [!c, !m, !y, 0].map(|ink: u8| 255 - ink)).collect();
    let quarters = quarters();
    let packed: Vec<u8> = quarters.as_chunks().0.iter().map(|[a, b, c, d]| a << 6 | b << 4 | c << 2 | d).collect();
    let palette = |info: &mut png::Info<'_>| info.palette = Some(QUARTERS.concat().into());
    let whole = |compressor: &mut Compressor| compressor.set_subsamp(Subsamp::None).expect("a sampling");
    let plain = |compressor: &mut Compressor| {
        compressor.set_colorspace(Colorspace::RGB).expect("a colour space");
        compressor.set_subsamp(Subsamp::None).expect("a sampling");
    };
    let arithmetic = |compressor: &mut Compressor| compressor.set_arithmetic(true).expect("arithmetic coding");
    let (eight, sixteen) = (png::BitDepth::Eight, png::BitDepth::Sixteen);
    vec![
        ("JPEG 4:2:0", jpeg(), 6),
        ("JPEG 4:4:4", jpeg_of(&rgb, WIDTH, PixelFormat::RGB, whole), 6),
        ("JPEG of RGB", jpeg_of(&rgb, WIDTH, PixelFormat::RGB, plain), 6),
        ("JPEG, arithmetic", jpeg_of(&rgb, WIDTH, PixelFormat::RGB, arithmetic), 6),
        ("JPEG, progressive", progressive_jpeg(), 6),
        // Inks print duller than a screen shines.
        ("JPEG of inks", jpeg_of(&inks, WIDTH, PixelFormat::CMYK, whole), 180),
        ("PNG", png(), 1),
        ("PNG with alpha", png_of(&scene_with_alpha(), size, png::ColorType::Rgba, eight, |_| {}), 1),
        ("PNG of 16 bit", png_of(&wide, size, png::ColorType::Rgb, sixteen, |_| {}), 1),
        ("PNG of a palette", png_of(&quarters, size, png::ColorType::Indexed, eight, palette), 1),
        ("PNG of two bit", png_of(&packed, size, png::ColorType::Indexed, png::BitDepth::Two, palette), 1),
        ("WebP, lossy", webp(false), 10),
        ("WebP, lossless", webp(true), 1),
        ("WebP, animated", animation(&webp(true), size, (0, 0), size), 1),
        ("GIF", gif(), 1),
    ]
}
