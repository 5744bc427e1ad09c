//! Files that are broken, cut off, or built to do harm.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use flate2::Compression;
use flate2::write::ZlibEncoder;
use s3_thumbnail::picture::{Limits, Refusal, probe, thumbnails};
use s3_thumbnail::variant::Variant;

use super::damage::damaged;
use super::samples::{
    LIMITS, animation, corpus, every_kind, jpeg, made, png, progressive_jpeg, webp, webp_with_alpha, with_segment,
};

#[test]
fn a_file_that_was_cut_off_has_no_thumbnail() {
    let alpha = [1, 2, 3, 100].repeat(40 * 40);
    let mut kinds = every_kind();
    kinds.push(("WebP with alpha", webp_with_alpha(&alpha, 40, 40), 0));
    for (what, bytes, _) in kinds {
        for length in 0..bytes.len() {
            let outcome = made(&bytes[..length], "v=24x16");
            assert!(outcome.is_err(), "{what}: {length} of {} bytes were enough", bytes.len());
        }
    }
}

#[test]
fn what_is_not_a_picture_is_told_from_what_is_broken() {
    assert_eq!(made(b"", "v=8x8"), Err(Refusal::Empty));
    assert_eq!(made(b"%PDF-1.7 ...", "v=8x8"), Err(Refusal::NotAPicture));
    assert!(matches!(made(b"GIF89a", "v=8x8"), Err(Refusal::Broken(_))));
    let mut flipped = png();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x10;
    assert!(matches!(made(&flipped, "v=8x8"), Err(Refusal::Broken(_))), "checksums are checked");
}

#[test]
fn a_header_that_promises_too_much_is_refused_at_once() {
    // As in the file formats: 30,000 x 30,000 pixels of PNG, 65,500 x 65,500 of JPEG, 16,383 x 16,383 of WebP.
    let mut large_png = png();
    large_png[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]);
    let mut large_jpeg = progressive_jpeg();
    let frame = large_jpeg.windows(2).position(|window| window == [0xff, 0xc2]).expect("a frame");
    large_jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xdc, 0xff, 0xdc]);
    for (what, bytes) in [("PNG", large_png), ("JPEG", large_jpeg)] {
        assert!(matches!(made(&bytes, "v=8x8"), Err(Refusal::TooLarge { what: "pixels", .. })), "{what}");
    }
    let tight = Limits { memory: 10_000, ..LIMITS };
    assert!(matches!(probe::probe(&progressive_jpeg(), &tight), Err(Refusal::TooLarge { .. })), "coefficients");
    let tight = Limits { bytes: 10, ..LIMITS };
    assert_eq!(probe::probe(&jpeg(), &tight).expect_err("too long").reason(), "too_large");
}

#[test]
fn a_picture_larger_than_its_animation_is_refused() {
    let alpha = webp_with_alpha(&[1, 2, 3, 100].repeat(40 * 40), 40, 40);
    // Without the extended header, which an animation has once for all.
    let alpha = [&alpha[..12], &alpha[30..]].concat();
    for (what, first) in [("lossy", webp(false)), ("lossless", webp(true)), ("with alpha", alpha)] {
        for canvas in [(8, 8), (30, 8)] {
            let refusal = made(&animation(&first, (8, 8), (0, 0), canvas), "v=8x8").expect_err("too large");
            assert!(matches!(refusal, Refusal::Broken(_)), "{what}: {refusal}");
        }
    }
}

#[test]
fn a_jpeg_of_countless_scans_is_given_up() {
    let jpeg = progressive_jpeg();
    let scans: Vec<usize> = (0..jpeg.len() - 1).filter(|at| jpeg[*at..*at + 2] == [0xff, 0xda]).collect();
    let (last, end) = (scans[scans.len() - 1], jpeg.len() - 2);
    let bomb = [&jpeg[..end], &jpeg[last..end].repeat(5_000), &jpeg[end..]].concat();
    let refusal = made(&bomb, "v=24x16").expect_err("too many");
    assert!(matches!(refusal, Refusal::TooLarge { what: "scans", .. } | Refusal::Broken(_)), "{refusal}");
    let few = Limits { scans: 2, ..LIMITS };
    let variants = Variant::parse_list("v=24x16").expect("a variant");
    let refusal = thumbnails(&jpeg, &variants, None, &few).expect_err("more than two");
    assert_eq!(refusal, Refusal::TooLarge { what: "scans", found: 3, limit: 2 });
}

fn deflated(length: usize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), length as u64), &mut encoder).expect("zeros");
    encoder.finish().expect("zeros")
}

#[test]
fn what_inflates_without_end_is_not_inflated() {
    let bomb = deflated(64 << 20);
    let profile = [b"p\0\0", bomb.as_slice()].concat();
    let text = [b"k\0\x01\0\0\0", bomb.as_slice()].concat();
    let limits = Limits { memory: 8 << 20, ..LIMITS };
    for (kind, body) in [(b"iCCP", profile), (b"iTXt", text)] {
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(kind);
        checksum.update(&body);
        let length = u32::try_from(body.len()).expect("short").to_be_bytes();
        let png = png();
        let png = [&png[..33], &length, kind, &body, &checksum.finalize().to_be_bytes(), &png[33..]].concat();
        let variants = Variant::parse_list("v=24x16").expect("a variant");
        let made = thumbnails(&png, &variants, None, &limits).expect("a picture with an absurd note");
        assert_eq!(made, thumbnails(&super::samples::png(), &variants, None, &limits).expect("the same without it"));
    }
}

#[test]
fn damaged_exif_costs_nothing_but_the_orientation() {
    for exif in [b"Exif\0\0".as_slice(), b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"] {
        assert!(made(&with_segment(&jpeg(), 0xe1, exif), "v=8x8").is_ok());
    }
}

/// A short run of infra/bench/thumbnails/fuzz.rs, which has run for longer.
#[test]
fn no_damage_does_more_than_spoil_the_picture() {
    let files = corpus();
    let limits = Limits { pixels: 4_000_000, memory: 64 << 20, ..LIMITS };
    // The second list is made of planes where there are any.
    let lists = ["a=24x16;b=5x90,contain;c=96x64,inside,png;d=120x80,enlarge,jpeg", "a=24x16;b=6x90,enlarge;c=120x80"];
    let lists = lists.map(|list| Variant::parse_list(list).expect("variants"));
    let mut outcomes = std::collections::BTreeMap::<_, u32>::new();
    for seed in 0..3_000 {
        let outcome = thumbnails(&damaged(&files, seed), &lists[usize::from(seed.is_multiple_of(2))], None, &limits);
        *outcomes.entry(outcome.map_or_else(|refusal| refusal.reason(), |_| "made")).or_default() += 1;
    }
    // Damage that a checksum or a first look always caught would show nothing.
    assert!(outcomes.contains_key("made") && outcomes.contains_key("broken"), "{outcomes:?}");
}
