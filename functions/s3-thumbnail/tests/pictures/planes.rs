//! Pictures that stay planes from file to file must look as if they had been pixels in between.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use s3_thumbnail::picture::Thumbnail;
use turbojpeg::{PixelFormat, Subsamp};

use super::samples::{QUARTERS, close, every_kind, exif, jpeg_of, made, with_segment};

/// Colours that change all over the picture, luma and both chromas in a direction of their own.
fn hills(width: u32, height: u32) -> Vec<u8> {
    let wave = |at: u32, length: f64| (f64::from(at) / length).sin() * 55.0;
    let pixel = |x: u32, y: u32| {
        let (luma, blue, red) = (128.0 + wave(x + 2 * y, 17.0), wave(x, 13.0), wave(y + 40, 11.0));
        [luma + 1.402 * red, luma - 0.344 * blue - 0.714 * red, luma + 1.772 * blue]
            .map(|colour| colour.clamp(0.0, 255.0) as u8)
    };
    (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect()
}

fn hilly_jpeg(width: u32, height: u32, set: impl FnOnce(&mut turbojpeg::Compressor)) -> Vec<u8> {
    jpeg_of(&hills(width, height), width, PixelFormat::RGB, set)
}

fn hilly_webp(width: u32, height: u32) -> Vec<u8> {
    let pixels = hills(width, height);
    webpx::Encoder::new_rgb(&pixels, width, height).quality(95.0).encode(webpx::Unstoppable).expect("a WebP")
}

/// The first thumbnail by `variants`, and its pixels.
fn shown(bytes: &[u8], variants: &str) -> (Thumbnail, Vec<u8>) {
    let thumbnail = made(bytes, variants).expect("a thumbnail").remove(0);
    let (pixels, width, height) = webpx::decode_rgb(&thumbnail.bytes).expect("a WebP");
    assert_eq!((width, height), (thumbnail.size.width, thumbnail.size.height));
    (thumbnail, pixels)
}

/// Compares a thumbnail of `bytes` made of planes with the same one made of pixels: a variant of odd width has no planes,
/// and all variants are made from one picture.
fn same(bytes: &[u8], variant: &str, what: &str) {
    same_beside(bytes, variant, "", what);
}

/// The same of a thumbnail that is made beside others.
fn same_beside(bytes: &[u8], variant: &str, others: &str, what: &str) {
    let (_, planes) = shown(bytes, &format!("v={variant},q95{others}"));
    let (_, pixels) = shown(bytes, &format!("v={variant},q95{others};odd=1x1"));
    assert!(planes != pixels, "{what}: both were made in the same way");
    let apart = planes.iter().zip(&pixels).map(|(one, other)| u64::from(one.abs_diff(*other)));
    let (sum, most) = apart.fold((0, 0), |(sum, most), apart| (sum + apart, apart.max(most)));
    let mean = sum as f64 / planes.len() as f64;
    assert!(mean < 3.5 && most <= 20, "{what}: {mean:.2} apart, {most} at most");
}

#[test]
fn planes_show_the_same_part_of_the_picture() {
    // Sides of every remainder by sixteen, the width of a block with its chroma.
    for (width, height) in [(240, 160), (241, 161), (233, 175), (247, 150)] {
        let (jpeg, webp) = (hilly_jpeg(width, height, |_| {}), hilly_webp(width, height));
        // The last of them by the library's smallest scale.
        for variant in ["48x32", "32x60,focus@100@20", "100x18,focus@0@90", "200x120", "120x80", "40x40", "24x16"] {
            same(&jpeg, variant, &format!("JPEG of {width} x {height}, {variant}"));
        }
        // Of a WebP that becomes much smaller no planes are taken.
        for variant in ["68x46", "64x120,focus@100@20", "100x18,focus@0@90", "200x120", "120x80"] {
            same(&webp, variant, &format!("WebP of {width} x {height}, {variant}"));
        }
    }
}

/// What was decoded for a large thumbnail is averaged in boxes before a small one is made of it.
#[test]
fn planes_in_boxes_show_what_pixels_in_boxes_show() {
    for (width, height) in [(240, 160), (241, 161), (233, 175)] {
        let (jpeg, webp) = (hilly_jpeg(width, height, |_| {}), hilly_webp(width, height));
        for variant in ["24x16", "16x30,focus@100@20", "30x10,focus@0@90"] {
            same_beside(&jpeg, variant, ";large=200x120", &format!("JPEG of {width} x {height}, {variant}"));
            same_beside(&webp, variant, ";large=200x120", &format!("WebP of {width} x {height}, {variant}"));
        }
    }
}

#[test]
fn planes_of_the_smallest_pictures_are_made_larger() {
    for (width, height) in [(1, 1), (1, 3), (2, 2), (3, 1), (3, 3)] {
        for file in [hilly_jpeg(width, height, |_| {}), hilly_webp(width, height)] {
            let (thumbnail, _) = shown(&file, "v=24x16,enlarge");
            assert_eq!((thumbnail.size.width, thumbnail.size.height), (24, 16), "{width} x {height}");
        }
    }
}

#[test]
fn planes_are_seen_as_the_picture_was_taken() {
    for orientation in 1..=8 {
        let exif = [b"Exif\0\0", exif(orientation).as_slice()].concat();
        let jpeg = with_segment(&hilly_jpeg(233, 161, |_| {}), 0xe1, &exif);
        for variant in ["48x32", "32x60,focus@100@20"] {
            same(&jpeg, variant, &format!("orientation {orientation}, {variant}"));
        }
    }
}

#[test]
fn planes_of_every_jpeg_that_has_them_are_read() {
    let progressive = hilly_jpeg(200, 120, |compressor| compressor.set_progressive(true).expect("progressive"));
    same(&progressive, "48x32", "progressive");
    let arithmetic = hilly_jpeg(200, 120, |compressor| compressor.set_arithmetic(true).expect("arithmetic coding"));
    same(&arithmetic, "48x32", "arithmetic");
}

#[test]
fn what_has_no_such_planes_is_made_of_pixels() {
    for subsamp in [Subsamp::None, Subsamp::Sub2x1, Subsamp::Sub1x2, Subsamp::Sub4x1, Subsamp::Gray] {
        let jpeg = hilly_jpeg(200, 120, |compressor| compressor.set_subsamp(subsamp).expect("a sampling"));
        let (_, alone) = shown(&jpeg, "v=48x32");
        let (_, beside) = shown(&jpeg, "v=48x32;odd=1x1");
        assert_eq!(alone, beside, "{subsamp:?}");
    }
}

#[test]
fn a_webp_of_every_kind_of_file_shows_its_colours() {
    for (what, bytes, tolerance) in every_kind() {
        let (thumbnail, pixels) = shown(&bytes, "v=48x32,q100");
        for ((x, y), colour) in [(12, 8), (36, 8), (12, 24), (36, 24)].into_iter().zip(QUARTERS) {
            let at = (y * thumbnail.size.width as usize + x) * 3;
            close(&pixels[at..at + 3], &colour, tolerance.saturating_add(8), what);
        }
    }
}

#[test]
fn white_stays_white_and_black_stays_black() {
    for (light, luma) in [(255, 235), (0, 16), (128, 126)] {
        let pixels = vec![light; 64 * 64 * 3];
        let jpeg = jpeg_of(&pixels, 64, PixelFormat::RGB, |_| {});
        let webp = webpx::Encoder::new_rgb(&pixels, 64, 64).encode(webpx::Unstoppable).expect("a WebP");
        for (what, bytes) in [("JPEG", jpeg), ("WebP", webp)] {
            let (thumbnail, shown) = shown(&bytes, "v=20x20");
            close(&shown, &[light; 20 * 20 * 3], 0, what);
            let planes = webpx::decode_yuv(&thumbnail.bytes).expect("a WebP");
            close(&planes.y[..16], &[luma; 16], 0, what);
            close(&planes.u[..8], &[128; 8], 0, what);
            close(&planes.v[..8], &[128; 8], 0, what);
            assert_eq!(thumbnail.colour, format!("#{light:02x}{light:02x}{light:02x}"), "{what}");
        }
    }
}

#[test]
fn planes_have_the_colour_and_the_blur_of_pixels() {
    let flat = jpeg_of(&[0x20, 0x80, 0xc0].repeat(64 * 64), 64, PixelFormat::RGB, |_| {});
    let (planes, _) = shown(&flat, "v=32x32");
    let (pixels, _) = shown(&flat, "v=32x32;odd=1x1");
    let colour = |thumbnail: &Thumbnail| {
        let number = u32::from_str_radix(&thumbnail.colour[1..], 16).expect("a colour");
        number.to_be_bytes()
    };
    close(&colour(&planes), &colour(&pixels), 2, "the colour");
    let jpeg = hilly_jpeg(240, 160, |_| {});
    let blur = |variants: &str| {
        let (thumbnail, _) = shown(&jpeg, variants);
        let hash = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, &thumbnail.placeholder);
        thumbhash::thumb_hash_to_rgba(&hash.expect("base64")).expect("a hash").2
    };
    close(&blur("v=48x32"), &blur("v=48x32;odd=1x1"), 24, "the blur");
}

#[test]
fn planes_that_were_cut_off_have_no_thumbnail() {
    for bytes in [hilly_jpeg(240, 160, |_| {}), hilly_webp(240, 160)] {
        for part in 1..20 {
            let cut = &bytes[..bytes.len() * part / 20];
            let refusal = made(cut, "v=120x80").expect_err("a part of a picture");
            assert_eq!(refusal.reason(), "broken", "{part} parts of 20");
        }
    }
}
