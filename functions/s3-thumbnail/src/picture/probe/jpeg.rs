//! JPEG: the marker segments before the first scan. ITU T.81, annex B.

use super::super::Refusal;
use super::super::geometry::{Orientation, Size};
use super::{Format, Header, Input, JpegColour, MAX_PROFILE, exif};

const EXIF: &[u8] = b"Exif\0\0";
const ICC: &[u8] = b"ICC_PROFILE\0";
const ADOBE: &[u8] = b"Adobe";

/// Bytes that libjpeg keeps of each 8 x 8 block when it must hold the whole picture.
const BLOCK: u64 = 128;

#[derive(Debug)]
struct Frame {
    size: Size,
    components: u8,
    progressive: bool,
    /// Bytes of all coefficients.
    coefficients: u64,
}

/// Reads the segments of `bytes`, a whole file.
pub(super) fn probe(bytes: &[u8]) -> Result<Header, Refusal> {
    let mut input = Input(bytes.get(2..).unwrap_or_default());
    let mut orientation = None;
    let mut adobe = false;
    let mut profile: Vec<(u8, &[u8])> = Vec::new();
    let mut frame: Option<Frame> = None;
    loop {
        let (marker, body) = segment(&mut input)?;
        match marker {
            0xe1 => orientation = orientation.or(body.strip_prefix(EXIF).and_then(exif::orientation)),
            0xe2 => {
                if let Some([number, _, part @ ..]) = body.strip_prefix(ICC) {
                    profile.push((*number, part));
                }
            }
            0xee => adobe |= body.starts_with(ADOBE),
            0xc0..=0xc2 | 0xc9 | 0xca => frame = Some(self::frame(marker, body)?),
            0xc3 | 0xc5..=0xc7 | 0xcb | 0xcd..=0xcf => {
                return Err(Refusal::Unsupported("lossless or hierarchical JPEG"));
            }
            0xda => {
                let frame = frame.ok_or_else(|| Refusal::broken("it has a scan before a frame"))?;
                let interleaved = body.first() == Some(&frame.components);
                let format = Format::Jpeg(match frame.components {
                    1 | 3 => JpegColour::Light,
                    4 => JpegColour::Ink { inverted: adobe },
                    _ => return Err(Refusal::Unsupported("JPEG of two or of more than four components")),
                });
                // A picture whose only scan has all components passes through; every other one is held as a whole.
                let memory = if frame.progressive || !interleaved { frame.coefficients } else { 0 };
                return Ok(Header {
                    format,
                    size: frame.size,
                    orientation: orientation.unwrap_or(Orientation::UPRIGHT),
                    frames: 1,
                    memory,
                    profile: joined(profile),
                });
            }
            _ => {}
        }
    }
}

/// The next marker with its segment; empty for those that have none.
fn segment<'b>(input: &mut Input<'b>) -> Result<(u8, &'b [u8]), Refusal> {
    if input.byte()? != 0xff {
        return Err(Refusal::broken("there is something else where a marker should be"));
    }
    let mut marker = input.byte()?;
    while marker == 0xff {
        marker = input.byte()?;
    }
    match marker {
        0x01 | 0xd0..=0xd7 => Ok((marker, &[])),
        0xd9 => Err(Refusal::broken("it ends before it begins")),
        _ => {
            let length = usize::from(u16::from_be_bytes(input.array()?));
            let length =
                length.checked_sub(2).ok_or_else(|| Refusal::broken("a segment is shorter than its length"))?;
            Ok((marker, input.take(length)?))
        }
    }
}

fn frame(marker: u8, body: &[u8]) -> Result<Frame, Refusal> {
    let mut input = Input(body);
    let precision = input.byte()?;
    let (height, width) = (u16::from_be_bytes(input.array()?), u16::from_be_bytes(input.array()?));
    let components = input.byte()?;
    if precision != 8 {
        return Err(Refusal::Unsupported("JPEG of more than 8 bit"));
    }
    let mut samplings = Vec::new();
    for _ in 0..components {
        let [_, sampling, _] = input.array()?;
        let (across, down) = (u64::from(sampling >> 4), u64::from(sampling & 15));
        if !(1..=4).contains(&across) || !(1..=4).contains(&down) {
            return Err(Refusal::broken("a component is sampled in an impossible way"));
        }
        samplings.push((across, down));
    }
    let across = samplings.iter().map(|(across, _)| *across).max().unwrap_or(1);
    let down = samplings.iter().map(|(_, down)| *down).max().unwrap_or(1);
    let units = u64::from(width).div_ceil(8 * across) * u64::from(height).div_ceil(8 * down);
    let blocks: u64 = samplings.iter().map(|(across, down)| units * across * down).sum();
    Ok(Frame {
        size: Size { width: width.into(), height: height.into() },
        components,
        progressive: matches!(marker, 0xc2 | 0xca),
        coefficients: blocks * BLOCK,
    })
}

/// The parts of a profile in their order. One with a missing part would be rejected by whoever reads it.
fn joined(mut parts: Vec<(u8, &[u8])>) -> Option<Vec<u8>> {
    parts.sort_by_key(|(number, _)| *number);
    let length: usize = parts.iter().map(|(_, part)| part.len()).sum();
    (1..=MAX_PROFILE).contains(&length).then(|| parts.into_iter().flat_map(|(_, part)| part).copied().collect())
}
