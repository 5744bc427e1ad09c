//! What a file says about itself before anything is decoded, and whether that is acceptable.
//!
//! A header costs microseconds to read and may promise gigabytes. What it promises is judged here, from the few bytes
//! that say so; what only decoding can tell (the passes of a progressive JPEG) is limited there.

mod exif;
mod gif;
mod jpeg;
mod png;
mod webp;

pub(super) use webp::{Frame, chunks};

use super::geometry::{Orientation, Size};
use super::{Limits, Refusal};

/// The formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JPEG, baseline or progressive.
    Jpeg(JpegColour),
    /// PNG.
    Png,
    /// WebP, lossy or lossless.
    Webp,
    /// GIF.
    Gif,
}

/// What the numbers in a JPEG mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JpegColour {
    /// Gray, or red, green and blue in any form.
    Light,
    /// Cyan, magenta, yellow and black, in any form. Adobe's programs store them the other way round.
    Ink {
        /// 0 is full ink.
        inverted: bool,
    },
}

/// What a file says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub format: Format,
    /// Its size as stored.
    pub size: Size,
    /// How it must be turned.
    pub orientation: Orientation,
    /// Pictures in it.
    pub frames: u32,
    /// What a decoder must hold at once, whatever size comes out, in bytes.
    pub memory: u64,
    /// The ICC profile, where the header holds it as it is. A PNG's is compressed and comes with decoding.
    pub profile: Option<Vec<u8>>,
}

/// An ICC profile that is longer is ignored. Those of printing presses have up to 3 MB.
pub(super) const MAX_PROFILE: usize = 4 << 20;

/// Reads the header of `bytes` and judges it.
///
/// # Errors
/// [`Refusal`]: this file is not decoded.
pub fn probe(bytes: &[u8], limits: &Limits) -> Result<Header, Refusal> {
    if bytes.is_empty() {
        return Err(Refusal::Empty);
    }
    within("bytes", bytes.len() as u64, limits.bytes)?;
    let header = match bytes {
        [0xff, 0xd8, 0xff, ..] => jpeg::probe(bytes),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', rest @ ..] => png::probe(rest),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => webp::probe(bytes),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', rest @ ..] => gif::probe(rest),
        _ => Err(stranger(bytes)),
    }?;
    if header.size.pixels() == 0 {
        return Err(Refusal::broken("it has no pixels"));
    }
    within("pixels", header.size.pixels(), limits.pixels)?;
    within("frames", header.frames.into(), limits.frames.into())?;
    within("bytes to hold while decoding", header.memory, limits.memory)?;
    Ok(header)
}

fn within(what: &'static str, found: u64, limit: u64) -> Result<(), Refusal> {
    if found > limit { Err(Refusal::TooLarge { what, found, limit }) } else { Ok(()) }
}

/// A picture of another kind is worth telling apart from a spreadsheet: somebody may want it to be supported.
fn stranger(bytes: &[u8]) -> Refusal {
    let start = bytes.get(..256).unwrap_or(bytes);
    let brand = |brands: &[&[u8; 4]]| {
        start.get(4..8) == Some(b"ftyp") && start.get(8..12).is_some_and(|brand| brands.iter().any(|b| *b == brand))
    };
    let svg = start.windows(4).any(|window| window == b"<svg");
    let kinds: [(bool, &'static str); 8] = [
        (brand(&[b"avif", b"avis"]), "AVIF"),
        (brand(&[b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"]), "HEIF"),
        (start.starts_with(b"II*\0") || start.starts_with(b"MM\0*"), "TIFF"),
        (start.starts_with(b"BM") && start.get(6..10) == Some(&[0; 4]), "BMP"),
        (start.starts_with(&[0xff, 0x0a]) || start.starts_with(b"\0\0\0\x0cJXL "), "JPEG XL"),
        (start.starts_with(b"\0\0\0\x0cjP  "), "JPEG 2000"),
        (start.starts_with(b"8BPS"), "PSD"),
        (svg, "SVG"),
    ];
    kinds.iter().find(|(is, _)| *is).map_or(Refusal::NotAPicture, |(_, kind)| Refusal::Unsupported(kind))
}

/// Bytes that are taken from the front, or an error when there are too few.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'b>(&'b [u8]);

impl<'b> Input<'b> {
    fn take(&mut self, length: usize) -> Result<&'b [u8], Refusal> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(|| Refusal::broken("it is cut off"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(|| Refusal::broken("it is cut off"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, Refusal> {
        self.array::<1>().map(|[byte]| byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { bytes: 1_000, pixels: 1_000, frames: 1, scans: 1, memory: 1 << 20 };

    #[test]
    fn what_is_no_picture_is_told_from_what_is_not_supported() {
        let cases: [(&[u8], Refusal); 10] = [
            (b"", Refusal::Empty),
            (b"%PDF-1.7", Refusal::NotAPicture),
            (b"PK\x03\x04", Refusal::NotAPicture),
            (b"BM is how this letter begins", Refusal::NotAPicture),
            (b"\0\0\0 ftypisom\0\0", Refusal::NotAPicture),
            (b"\0\0\0 ftypavif\0\0", Refusal::Unsupported("AVIF")),
            (b"\0\0\0 ftypheic\0\0", Refusal::Unsupported("HEIF")),
            (b"II*\0", Refusal::Unsupported("TIFF")),
            (b"BM\x01\x02\x03\x04\0\0\0\0", Refusal::Unsupported("BMP")),
            (b"<?xml version=\"1.0\"?><svg xmlns", Refusal::Unsupported("SVG")),
        ];
        for (bytes, refusal) in cases {
            assert_eq!(probe(bytes, &LIMITS), Err(refusal));
        }
    }

    #[test]
    fn a_header_may_promise_what_it_likes() {
        // IHDR of 30,000 x 30,000 pixels of 16 bit and four channels.
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x75\x30\0\0\x75\x30\x10\x06\0\0\0\0\0\0\0";
        let refusal = probe(png, &LIMITS).expect_err("too large");
        assert_eq!(refusal.to_string(), "the picture has 900000000 pixels; at most 1000 are allowed");
        // SOF2 of 65,500 x 65,500 pixels and three components.
        let jpeg = b"\xff\xd8\xff\xc2\0\x11\x08\xff\xdc\xff\xdc\x03\x01\x22\0\x02\x11\x01\x03\x11\x01\xff\xda\0\x0c\x03\x01\0\x02\x11\x03\x11\0\x3f\0";
        let refusal = probe(jpeg, &LIMITS).expect_err("too large");
        assert_eq!(refusal, Refusal::TooLarge { what: "pixels", found: 65_500 * 65_500, limit: 1_000 });
        let roomy = Limits { pixels: u64::MAX, ..LIMITS };
        let refusal = probe(jpeg, &roomy).expect_err("too much to hold");
        assert_eq!(
            refusal,
            Refusal::TooLarge {
                what: "bytes to hold while decoding",
                found: 2 * 4_094 * 2 * 4_094 * 128 + 2 * 4_094 * 4_094 * 128,
                limit: 1 << 20,
            }
        );
    }
}
