//! What a picture may take while it is read, as the kernel counts it. A process of its own: nothing else may run beside.

#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use std::fs;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use s3_thumbnail::picture::{Limits, thumbnails};
use s3_thumbnail::variant::Variant;

#[path = "pictures/samples.rs"]
#[expect(dead_code, reason = "the tests of pictures use the rest")]
mod samples;

/// How many MB of memory the process had at its peak while it made `variants` of `bytes`, beyond what it had before; and the outcome.
fn read(bytes: &[u8], variants: &str) -> (u64, &'static str) {
    let limits = Limits { memory: 64 << 20, ..samples::LIMITS };
    let variants = Variant::parse_list(variants).expect("variants");
    // Forgets the peak so far: proc(5).
    fs::write("/proc/self/clear_refs", "5").expect("our own process");
    let before = kilobytes("VmRSS:");
    let outcome = thumbnails(bytes, &variants, None, &limits);
    let outcome = outcome.map_or_else(|refusal| refusal.reason(), |_| "made");
    (kilobytes("VmHWM:").saturating_sub(before) / 1024, outcome)
}

fn kilobytes(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("our own process");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn deflated(length: u64) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), length), &mut encoder).expect("memory");
    encoder.finish().expect("memory")
}

fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    let named = [kind, body].concat();
    [length.as_slice(), &named, &crc32fast::hash(&named).to_be_bytes()].concat()
}

/// A gray PNG without a light in it, and `more` chunks before its pixels.
fn png(width: u32, height: u32, interlaced: bool, more: &[u8]) -> Vec<u8> {
    let header = [width.to_be_bytes().as_slice(), &height.to_be_bytes(), &[8, 0, 0, 0, u8::from(interlaced)]].concat();
    let pixels = deflated(u64::from(width + 1) * u64::from(height));
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &header),
        more.to_vec(),
        chunk(b"IDAT", &pixels),
        chunk(b"IEND", b""),
    ]
    .concat()
}

#[test]
fn what_was_built_to_take_memory_takes_little() {
    let bomb = deflated(80 << 20);
    let profile = chunk(b"iCCP", &[b"p\0\0", bomb.as_slice()].concat());
    let text = chunk(b"iTXt", &[b"k\0\x01\0\0\0", bomb.as_slice()].concat());
    // Little more than a header of 9,000 x 9,000 pixels, once as a JPEG's only scan, once in passes, once as a GIF.
    let mut jpeg = samples::jpeg();
    let mut progressive = samples::progressive_jpeg();
    for (bytes, marker) in [(&mut jpeg, 0xc0), (&mut progressive, 0xc2)] {
        let frame = bytes.windows(2).position(|window| window == [0xff, marker]).expect("a frame");
        bytes[frame + 5..frame + 9].copy_from_slice(&[0x23, 0x28, 0x23, 0x28]);
    }
    let mut gif = samples::gif();
    gif[6..10].copy_from_slice(&[0x28, 0x23, 0x28, 0x23]);
    let mut lossless = samples::webp(true);
    let start = lossless.windows(4).position(|window| window == b"VP8L").expect("pixels") + 9;
    lossless[start..start + 4].copy_from_slice(&(8_999_u32 | 8_999 << 14).to_le_bytes());
    // Planes of a WebP are held, twice for a moment, up to six megapixels and for large thumbnails.
    let webp = |width: u32, height: u32| {
        let pixels = vec![90; width as usize * height as usize * 3];
        let encoder = webpx::Encoder::new_rgb(&pixels, width, height).quality(50.0).method(0);
        encoder.encode(webpx::Unstoppable).expect("a WebP")
    };
    let (six, twelve) = (webp(3_000, 2_000), webp(4_000, 3_000));
    let cases = [
        ("PNG of 90 MP", png(3_000, 30_000, false, b""), 12, "made"),
        ("PNG in passes", png(9_000, 11_000, true, b""), 4, "too_large"),
        ("PNG, profile", png(300, 200, false, &profile), 40, "made"),
        ("PNG, text", png(300, 200, false, &text), 4, "made"),
        ("JPEG", jpeg, 16, "broken"),
        ("JPEG in passes", progressive, 4, "too_large"),
        ("GIF", gif, 4, "too_large"),
        ("WebP, lossless", lossless, 4, "too_large"),
    ]
    .map(|(what, bytes, most, expected)| (what, bytes, "v=300x200", most, expected));
    let large = [("WebP of 6 MP", six, "v=800x600", 24, "made"), ("WebP of 12 MP", twelve, "v=1200x800", 24, "made")];
    for (what, bytes, variants, most, expected) in cases.into_iter().chain(large) {
        let (peak, outcome) = read(&bytes, variants);
        assert_eq!(outcome, expected, "{what}");
        assert!(peak <= most, "{what}: {peak} MB");
    }
}
