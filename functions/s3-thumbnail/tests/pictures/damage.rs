//! Damage to files, as disks, networks and attackers do it. The same seed does the same damage.

#![expect(clippy::expect_used, reason = "a sample that cannot be damaged is a failed test")]

use std::io::{Read as _, Write as _};

use fastrand::Rng;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

/// One of `files`, damaged in one to twelve places.
pub fn damaged(files: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut random = Rng::with_seed(seed);
    let mut file = files[random.usize(..files.len())].clone();
    let png = file.starts_with(b"\x89PNG");
    if png && random.bool() {
        beneath_compression(&mut file, &mut random);
    }
    for _ in 0..random.usize(1..=12) {
        damage(&mut file, files, &mut random);
    }
    // Checksums that do not fit would end it there and then: whoever means harm writes them anew.
    if png && random.u8(..4) > 0 {
        with_checksums(&mut file);
    }
    file
}

fn damage(file: &mut Vec<u8>, files: &[Vec<u8>], random: &mut Rng) {
    if file.is_empty() {
        return;
    }
    // Headers are short and say most.
    let end = if random.bool() { file.len().min(1_024) } else { file.len() };
    let at = random.usize(..end);
    let to = file.len().min(at + random.usize(1..200));
    match random.u8(..16) {
        0..=4 => file[at] = random.u8(..),
        5..=7 => file[at] ^= 1 << random.u8(..8),
        // What lengths and counts turn on.
        8..=10 => {
            let extreme = [0_u32, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0x8000_0000, u32::MAX];
            let number = extreme[random.usize(..extreme.len())];
            let (big, little) = (number.to_be_bytes(), number.to_le_bytes());
            let bytes = if random.bool() { big } else { little };
            let width = [1, 2, 4][random.usize(..3)];
            file.iter_mut().skip(at).take(width).zip(bytes).for_each(|(to, from)| *to = from);
        }
        11 => drop(file.drain(at..to)),
        12 => {
            let part = file[at..to].to_vec();
            file.splice(at..at, part.repeat(random.usize(1..20)));
        }
        13 => file[at..to].fill(random.u8(..)),
        14 => {
            let other = &files[random.usize(..files.len())];
            let from = random.usize(..other.len());
            let part = other[from..other.len().min(from + to - at)].to_vec();
            file.splice(at..to, part);
        }
        _ => file.truncate(at),
    }
}

/// Changes what the pixels of a PNG, or its profile, are compressed from.
fn beneath_compression(png: &mut Vec<u8>, random: &mut Rng) {
    let mut out = png[..8].to_vec();
    for (kind, body) in chunks(png) {
        // A profile's name and its method come first.
        let before = match kind {
            b"IDAT" => 0,
            b"iCCP" => body.iter().position(|byte| *byte == 0).expect("a name") + 2,
            _ => body.len(),
        };
        let mut content = body[..before].to_vec();
        if before < body.len() {
            let mut inside = Vec::new();
            ZlibDecoder::new(&body[before..]).read_to_end(&mut inside).expect("a sample is whole");
            for _ in 0..random.usize(1..=4) {
                damage(&mut inside, &[body.to_vec()], random);
            }
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&inside).expect("memory");
            content.extend(encoder.finish().expect("memory"));
        }
        out.extend(u32::try_from(content.len()).expect("short").to_be_bytes());
        out.extend(kind);
        out.extend(content);
        out.extend([0; 4]);
    }
    with_checksums(&mut out);
    *png = out;
}

/// The chunks of a PNG that is in order.
fn chunks(png: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut rest = &png[8..];
    let mut chunks = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (chunk, next) = after.split_at(u32::from_be_bytes(*length) as usize + 4);
        chunks.push(chunk.split_at(4));
        rest = &next[4..];
    }
    chunks
}

/// Writes the checksums of all chunks whose ends can be found.
fn with_checksums(png: &mut [u8]) {
    let mut at = 8;
    while let Some(length) = png.get(at..at + 4).and_then(|bytes| bytes.first_chunk::<4>()) {
        let end = at + 8 + u32::from_be_bytes(*length) as usize;
        let Some(chunk) = png.get(at + 4..end) else { return };
        let checksum = crc32fast::hash(chunk).to_be_bytes();
        let Some(place) = png.get_mut(end..end + 4) else { return };
        place.copy_from_slice(&checksum);
        at = end + 4;
    }
}
