//! GIF: its blocks, whose ends are told without decoding. GIF89a, appendix A.

use super::super::Refusal;
use super::super::geometry::{Orientation, Size};
use super::{Format, Header, Input};

/// Reads the blocks of `bytes`, a file without its signature.
pub(super) fn probe(bytes: &[u8]) -> Result<Header, Refusal> {
    let mut input = Input(bytes);
    let (width, height) = (u16::from_le_bytes(input.array()?), u16::from_le_bytes(input.array()?));
    let [flags, _, _] = input.array()?;
    palette(&mut input, flags)?;
    let mut frames: u32 = 0;
    loop {
        match input.byte()? {
            0x21 => {
                input.byte()?;
                blocks(&mut input)?;
            }
            0x2c => {
                frames += 1;
                let [.., flags] = input.array::<9>()?;
                palette(&mut input, flags)?;
                input.byte()?;
                blocks(&mut input)?;
            }
            0x3b if frames == 0 => return Err(Refusal::broken("it holds no picture")),
            0x3b => break,
            _ => return Err(Refusal::broken("there is something else where a block should be")),
        }
    }
    let size = Size { width: width.into(), height: height.into() };
    // The indices of the first picture.
    let memory = size.pixels();
    Ok(Header { format: Format::Gif, size, orientation: Orientation::UPRIGHT, frames, memory, profile: None })
}

fn palette(input: &mut Input<'_>, flags: u8) -> Result<(), Refusal> {
    if flags & 0x80 != 0 {
        input.take(3 << ((flags & 7) + 1))?;
    }
    Ok(())
}

fn blocks(input: &mut Input<'_>) -> Result<(), Refusal> {
    loop {
        match input.byte()? {
            0 => return Ok(()),
            length => input.take(length.into())?,
        };
    }
}
