//! PNG: the chunks before the pixels. <https://www.w3.org/TR/png-3/>

use super::super::Refusal;
use super::super::geometry::{Orientation, Size};
use super::{Format, Header, Input, exif};

/// Reads the chunks of `bytes`, a file without its signature.
pub(super) fn probe(bytes: &[u8]) -> Result<Header, Refusal> {
    let mut input = Input(bytes);
    let (kind, body) = chunk(&mut input)?;
    if &kind != b"IHDR" {
        return Err(Refusal::broken("its first chunk is not the header"));
    }
    let mut header = Input(body);
    let (width, height) = (u32::from_be_bytes(header.array()?), u32::from_be_bytes(header.array()?));
    let [depth, colour, _, _, interlaced] = header.array()?;
    let channels = match colour {
        0 | 3 => 1,
        2 => 3,
        4 => 2,
        6 => 4,
        _ => return Err(Refusal::broken("its colour type does not exist")),
    };
    let size = Size { width, height };
    // A palette is expanded to four channels, and sixteen bit stay sixteen bit.
    let pixel = if colour == 3 { 4 } else { channels * u64::from(depth.max(8)) / 8 };
    let memory = if interlaced == 0 { u64::from(width) * pixel * 4 } else { size.pixels().saturating_mul(pixel) };

    let mut orientation = None;
    let mut frames = 1;
    while let Ok((kind, body)) = chunk(&mut input) {
        match &kind {
            b"IDAT" => break,
            b"eXIf" => orientation = exif::orientation(body),
            b"acTL" => frames = Input(body).array().map(u32::from_be_bytes)?,
            _ => {}
        }
    }
    let orientation = orientation.unwrap_or(Orientation::UPRIGHT);
    Ok(Header { format: Format::Png, size, orientation, frames, memory, profile: None })
}

/// The next chunk. Its checksum is the decoder's business.
fn chunk<'b>(input: &mut Input<'b>) -> Result<([u8; 4], &'b [u8]), Refusal> {
    let length = usize::try_from(u32::from_be_bytes(input.array()?)).map_err(Refusal::broken)?;
    let kind = input.array()?;
    let body = input.take(length)?;
    input.array::<4>()?;
    Ok((kind, body))
}
