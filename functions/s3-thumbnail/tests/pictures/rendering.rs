//! Pictures that are in order.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use moxcms::ColorProfile;
use s3_thumbnail::picture::Refusal;
use turbojpeg::{PixelFormat, Subsamp};

use super::samples::{
    self, HEIGHT, Pixels, QUARTERS, WIDTH, animation, close, every_kind, exif, jpeg, jpeg_of, made, png_of, rendered,
    scene, webp_with_alpha, with_profile, with_segment,
};

/// The same file as `sharp().png({progressive: true})` writes it: seven passes.
const INTERLACED: &[u8] = include_bytes!("interlaced.png");

#[test]
fn every_kind_of_file_gives_the_same_thumbnail() {
    for (what, bytes, tolerance) in every_kind() {
        let pixels = rendered(&bytes, "24x16", "");
        assert_eq!((pixels.width, pixels.channels), (24, 3), "{what}");
        pixels.show(QUARTERS, tolerance, what);
    }
    rendered(INTERLACED, "24x16", "").show(QUARTERS, 1, "PNG, interlaced");
}

#[test]
fn many_thumbnails_come_of_one_picture_in_the_order_they_were_asked_for() {
    let variants = "large=90x60;small=9x6,jpeg;middle=30x20,png,inside";
    let thumbnails = made(&jpeg(), variants).expect("thumbnails");
    let sizes: Vec<_> = thumbnails.iter().map(|thumbnail| (thumbnail.size.width, thumbnail.size.height)).collect();
    assert_eq!(sizes, [(90, 60), (9, 6), (30, 20)]);
    assert!(thumbnails[0].bytes.starts_with(b"RIFF"));
    assert!(thumbnails[1].bytes.starts_with(&[0xff, 0xd8, 0xff]));
    assert!(thumbnails[2].bytes.starts_with(b"\x89PNG"));
    let header = turbojpeg::read_header(&thumbnails[1].bytes).expect("a JPEG");
    assert_eq!((header.width, header.height, header.subsamp), (9, 6, Subsamp::Sub2x2));
    let (_, width, height) = webpx::decode_rgb(&thumbnails[0].bytes).expect("a WebP");
    assert_eq!((width, height), (90, 60));
}

#[test]
fn the_darkest_ink_is_black_and_paper_is_white() {
    for (ink, colour) in [(255, [0; 3]), (0, [255; 3])] {
        // As Adobe's programs store inks: the other way round.
        let inks = jpeg_of(&[255 - ink; 4 * 32 * 32], 32, PixelFormat::CMYK, |_| {});
        let pixels = rendered(&with_profile(&inks, &samples::press(10)), "8x8", "");
        close(pixels.at(4, 4), &colour, 2, &format!("ink {ink}"));
    }
}

#[test]
fn a_picture_is_seen_as_it_was_taken() {
    let [red, green, blue, white] = QUARTERS;
    let seen = [
        (1, [red, green, blue, white]),
        (2, [green, red, white, blue]),
        (3, [white, blue, green, red]),
        (4, [blue, white, red, green]),
        (5, [red, blue, green, white]),
        (6, [blue, red, white, green]),
        (7, [white, green, blue, red]),
        (8, [green, white, red, blue]),
    ];
    for (orientation, quarters) in seen {
        let exif = exif(orientation);
        let jpeg = with_segment(&jpeg(), 0xe1, &[b"Exif\0\0", exif.as_slice()].concat());
        let size = if orientation < 5 { "24x16" } else { "16x24" };
        rendered(&jpeg, size, "").show(quarters, 6, &format!("JPEG, orientation {orientation}"));
        let extended = extended(&samples::webp(true), b"EXIF", &exif, 0x08);
        rendered(&extended, size, "").show(quarters, 1, &format!("WebP, orientation {orientation}"));
        let png = with_chunk(&samples::png(), b"eXIf", &exif);
        rendered(&png, size, "").show(quarters, 1, &format!("PNG, orientation {orientation}"));
    }
}

/// A still WebP with one chunk more, and the flag that says so.
fn extended(webp: &[u8], kind: &[u8; 4], body: &[u8], flag: u8) -> Vec<u8> {
    let less_one = |number: u32| number.to_le_bytes()[..3].to_vec();
    let header = [vec![flag, 0, 0, 0], less_one(WIDTH - 1), less_one(HEIGHT - 1)].concat();
    let body = [b"WEBP", &*samples::chunk(b"VP8X", &header), &webp[12..], &samples::chunk(kind, body)].concat();
    [b"RIFF".to_vec(), u32::try_from(body.len()).expect("short").to_le_bytes().to_vec(), body].concat()
}

/// A PNG with one chunk more, after its header.
fn with_chunk(png: &[u8], kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(kind);
    checksum.update(body);
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    [&png[..33], &length, kind, body, &checksum.finalize().to_be_bytes(), &png[33..]].concat()
}

#[test]
fn nothing_of_a_pictures_metadata_survives() {
    let exif = exif(1);
    let jpeg = with_segment(&jpeg(), 0xe1, &[b"Exif\0\0", exif.as_slice()].concat());
    let jpeg = with_segment(&jpeg, 0xe1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>37.5665N</x:xmpmeta>");
    let jpeg = with_segment(&jpeg, 0xed, b"Photoshop 3.0\x0037.5665N");
    let jpeg = with_segment(&jpeg, 0xfe, b"37.5665N");
    let profile = ColorProfile::new_display_p3().encode().expect("a profile");
    let jpeg = with_profile(&jpeg, &profile);
    let png = with_chunk(&samples::png(), b"eXIf", &exif);
    let png = with_chunk(&png, b"tEXt", b"Comment\x0037.5665N");
    let webp = extended(&samples::webp(false), b"EXIF", &exif, 0x08);
    for bytes in [jpeg, png, webp] {
        for thumbnail in made(&bytes, "a=24x16,webp;b=24x16,jpeg;c=24x16,png").expect("thumbnails") {
            let holds = |what: &[u8]| thumbnail.bytes.windows(what.len()).any(|window| window == what);
            for what in
                [b"37.5665".as_slice(), b"Exif", b"EXIF", b"eXIf", b"xmp", b"ICC", b"iCCP", b"tEXt", b"Photoshop"]
            {
                assert!(!holds(what), "{}", String::from_utf8_lossy(what));
            }
        }
    }
}

#[test]
fn colours_of_a_wide_gamut_are_brought_into_srgb() {
    // Display P3 (234, 51, 35) is the red of sRGB, to within a unit; its own red lies outside and is cut.
    for (p3, srgb) in [([234, 51, 35], [255, 0, 0]), ([255, 0, 0], [255, 0, 0]), ([128, 128, 128], [128, 128, 128])] {
        let pixels: Vec<u8> = p3.repeat(64 * 64);
        let jpeg = jpeg_of(&pixels, 64, PixelFormat::RGB, |compressor| {
            compressor.set_subsamp(Subsamp::None).expect("a sampling");
        });
        let profile = ColorProfile::new_display_p3().encode().expect("a profile");
        let thumbnail = rendered(&with_profile(&jpeg, &profile), "8x8", "");
        close(thumbnail.at(4, 4), &srgb, 4, &format!("{p3:?}"));
        let (eight, rgb) = (png::BitDepth::Eight, png::ColorType::Rgb);
        let png = png_of(&pixels, (64, 64), rgb, eight, |info| info.icc_profile = Some(profile.clone().into()));
        close(rendered(&png, "8x8", "").at(4, 4), &srgb, 3, &format!("{p3:?}, PNG"));
    }
    // What cannot be read as a profile is passed over.
    let jpeg = with_profile(&jpeg(), b"not a profile at all");
    rendered(&jpeg, "24x16", "").show(QUARTERS, 6, "no profile");
}

#[test]
fn inks_are_turned_into_light_the_way_they_print() {
    let inks = |ink: [u8; 4]| ink.map(|ink| 255 - ink).repeat(64 * 64);
    for (ink, light) in
        [([0, 0, 0, 0], [255, 255, 255]), ([0, 255, 255, 0], [227, 6, 19]), ([0, 0, 0, 255], [29, 29, 27])]
    {
        let jpeg = jpeg_of(&inks(ink), 64, PixelFormat::CMYK, |compressor| {
            compressor.set_subsamp(Subsamp::None).expect("a sampling");
        });
        close(rendered(&jpeg, "8x8", "").at(4, 4), &light, 40, &format!("{ink:?}"));
    }
}

#[test]
fn the_colour_of_what_cannot_be_seen_does_not_bleed() {
    // Columns of opaque green and of red that nobody sees.
    let columns = |x: u32| if x.is_multiple_of(2) { [0, 255, 0, 255] } else { [255, 0, 0, 0] };
    let pixels: Vec<u8> = (0..64).flat_map(|_| (0..64).flat_map(columns)).collect();
    let png = png_of(&pixels, (64, 64), png::ColorType::Rgba, png::BitDepth::Eight, |_| {});
    for (what, bytes, tolerance) in [("PNG", png, 1), ("WebP", webp_with_alpha(&pixels, 64, 64), 40)] {
        let thumbnail = rendered(&bytes, "8x8", "");
        assert_eq!(thumbnail.channels, 4, "{what}");
        close(&thumbnail.at(4, 4)[..3], &[0, 255, 0], tolerance, what);
        close(&thumbnail.at(4, 4)[3..], &[128], 6, what);
    }
}

#[test]
fn a_faint_picture_keeps_its_colours() {
    // Alpha of 3 leaves two bits of colour in eight-bit products; here they must stay exact.
    for colour in [[200, 100, 50, 3], [10, 250, 127, 1]] {
        let pixels = colour.repeat(64 * 64);
        let png = png_of(&pixels, (64, 64), png::ColorType::Rgba, png::BitDepth::Eight, |_| {});
        close(rendered(&png, "8x8", "").at(4, 4), &colour, 1, "faint");
    }
}

#[test]
fn gray_stays_gray_in_every_form() {
    let gray = vec![77; 64 * 64];
    let with_alpha: Vec<u8> = gray.iter().flat_map(|gray| [*gray, 128]).collect();
    let wide: Vec<u8> = gray.iter().flat_map(|gray| [*gray, *gray]).collect();
    let (eight, sixteen) = (png::BitDepth::Eight, png::BitDepth::Sixteen);
    let (plain, alpha) = (png::ColorType::Grayscale, png::ColorType::GrayscaleAlpha);
    let jpeg = jpeg_of(&gray, 64, PixelFormat::GRAY, |compressor| {
        compressor.set_subsamp(Subsamp::Gray).expect("a sampling");
    });
    close(rendered(&jpeg, "8x8", "").at(4, 4), &[77; 3], 1, "JPEG");
    close(rendered(&png_of(&gray, (64, 64), plain, eight, |_| {}), "8x8", "").at(4, 4), &[77; 3], 0, "PNG");
    close(rendered(&png_of(&wide, (64, 64), plain, sixteen, |_| {}), "8x8", "").at(4, 4), &[77; 3], 0, "16 bit");
    let png = png_of(&with_alpha, (64, 64), alpha, eight, |_| {});
    close(rendered(&png, "8x8", "").at(4, 4), &[77, 77, 77, 128], 1, "alpha");
}

#[test]
fn the_box_is_filled_or_fitted_into() {
    let pixels = rendered(&jpeg(), "24x24", "");
    assert_eq!((pixels.width, pixels.bytes.len()), (24, 24 * 24 * 3));
    pixels.show(QUARTERS, 6, "cover");
    let pixels = rendered(&jpeg(), "24x24", ",inside");
    assert_eq!((pixels.width, pixels.bytes.len()), (24, 24 * 16 * 3));
    let pixels = rendered(&jpeg(), "24x24", ",contain");
    assert_eq!((pixels.width, pixels.channels), (24, 4));
    assert_eq!(pixels.at(12, 1), [0; 4], "nothing above");
    close(pixels.at(6, 8), &[255, 0, 0, 255], 6, "the picture");
    let pixels = rendered(&jpeg(), "24x24", ",contain,background@102030");
    assert_eq!((pixels.channels, pixels.at(12, 22)), (3, [0x10, 0x20, 0x30].as_slice()));
    let pixels = rendered(&jpeg(), "300x200", "");
    assert_eq!(pixels.width, WIDTH, "no enlargement");
    let pixels = rendered(&jpeg(), "300x200", ",enlarge");
    assert_eq!(pixels.width, 300, "enlargement");
    pixels.show(QUARTERS, 6, "enlarged");
}

#[test]
fn a_cut_keeps_what_the_focus_points_at() {
    let left = rendered(&jpeg(), "8x64", ",focus@0@0");
    close(left.at(4, 8), &QUARTERS[0], 8, "the left edge");
    close(left.at(4, 56), &QUARTERS[2], 8, "the left edge, below");
    let right = rendered(&jpeg(), "8x64", ",focus@100@0");
    close(right.at(4, 8), &QUARTERS[1], 8, "the right edge");
    // A picture's own focus is about the picture as it is seen.
    let turned = with_segment(&jpeg(), 0xe1, &[b"Exif\0\0", exif(6).as_slice()].concat());
    let upper = rendered(&turned, "64x8", ",focus@50@0");
    close(upper.at(8, 4), &QUARTERS[2], 8, "the upper edge");
    close(upper.at(56, 4), &QUARTERS[0], 8, "the upper edge, right");
}

#[test]
fn what_can_be_seen_through_is_put_on_something_in_a_jpeg() {
    let pixels = [255, 0, 0, 0].repeat(64 * 64);
    let png = png_of(&pixels, (64, 64), png::ColorType::Rgba, png::BitDepth::Eight, |_| {});
    for (words, colour) in [("jpeg", [255, 255, 255]), ("jpeg,background@0000ff", [0, 0, 255])] {
        let thumbnail = made(&png, &format!("v=16x16,{words}")).expect("a thumbnail").remove(0);
        let image = turbojpeg::decompress(&thumbnail.bytes, PixelFormat::RGB).expect("a JPEG");
        close(&image.pixels[..3], &colour, 3, words);
    }
}

#[test]
fn a_picture_comes_with_its_colour_and_a_blur() {
    let pixels: Vec<u8> = [[0x20, 0x80, 0xc0].repeat(64 * 48), [0xff, 0xff, 0xff].repeat(64 * 16)].concat();
    let png = png_of(&pixels, (64, 64), png::ColorType::Rgb, png::BitDepth::Eight, |_| {});
    let thumbnail = made(&png, "v=32x32").expect("a thumbnail").remove(0);
    assert_eq!(thumbnail.colour, "#2080c0");
    let hash =
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, &thumbnail.placeholder).expect("base64");
    let (width, height, blur) = thumbhash::thumb_hash_to_rgba(&hash).expect("a hash");
    let blur = Pixels { width: u32::try_from(width).expect("small"), channels: 4, bytes: blur };
    close(blur.at(16, 4), &[0x20, 0x80, 0xc0, 255], 45, "the blur above");
    close(blur.at(16, u32::try_from(height).expect("small") - 2), &[255; 4], 45, "the blur below");
}

#[test]
fn of_an_animation_the_first_picture_is_shown_where_it_lies() {
    let quarter = scene(32, 32);
    let first = webpx::Encoder::new_rgb(&quarter, 32, 32).lossless(true).encode(webpx::Unstoppable).expect("a WebP");
    let pixels = rendered(&animation(&first, (32, 32), (32, 0), (64, 64)), "64x64", "");
    assert_eq!(pixels.at(8, 8), [0; 4], "the canvas is free there");
    close(&pixels.at(40, 8)[..3], &QUARTERS[0], 1, "the first picture");
    assert_eq!(pixels.at(40, 40), [0; 4], "the canvas is free below");
    let outside = animation(&first, (32, 32), (48, 0), (64, 64));
    assert!(matches!(made(&outside, "v=8x8"), Err(Refusal::Broken(_))));
}
