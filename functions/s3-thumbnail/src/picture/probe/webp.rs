//! WebP: the chunks of its RIFF container. <https://developers.google.com/speed/webp/docs/riff_container>

use super::super::Refusal;
use super::super::geometry::{Orientation, Size};
use super::{Format, Header, Input, MAX_PROFILE, exif};

/// The first picture of an animation, and where on the canvas it lies.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Frame<'b> {
    pub(in super::super) left: u32,
    pub(in super::super) top: u32,
    pub(in super::super) size: Size,
    /// Its chunks, without a container.
    pub(in super::super) chunks: &'b [u8],
}

/// What the chunks say.
#[derive(Debug, Default)]
pub(in super::super) struct Chunks<'b> {
    canvas: Option<Size>,
    lossless: bool,
    alpha: bool,
    frames: u32,
    profile: Option<&'b [u8]>,
    exif: Option<&'b [u8]>,
    /// Present in an animation.
    pub(in super::super) first: Option<Frame<'b>>,
}

pub(super) fn probe(bytes: &[u8]) -> Result<Header, Refusal> {
    let found = chunks(bytes)?;
    let size = found.canvas.ok_or_else(|| Refusal::broken("it holds no picture"))?;
    // Lossless pictures and those with transparency are decoded as a whole, the latter's alpha beside its colours and at
    // first as large as they are. An animation's canvas is held beside.
    let held = match (found.lossless, found.alpha) {
        (true, _) => size.pixels() * 8,
        (false, true) => size.pixels() * 9,
        (false, false) => u64::from(size.width) * 64,
    };
    let canvas = if found.first.is_some() { size.pixels() * 8 } else { 0 };
    Ok(Header {
        format: Format::Webp,
        size,
        orientation: found.exif.and_then(orientation).unwrap_or(Orientation::UPRIGHT),
        frames: found.frames.max(1),
        memory: held + canvas,
        profile: found.profile.filter(|profile| profile.len() <= MAX_PROFILE).map(<[u8]>::to_vec),
    })
}

/// Some writers put JPEG's prefix before the Exif data.
fn orientation(exif: &[u8]) -> Option<Orientation> {
    exif::orientation(exif.strip_prefix(b"Exif\0\0").unwrap_or(exif))
}

/// Reads the chunks of `bytes`, a whole file.
pub(in super::super) fn chunks(bytes: &[u8]) -> Result<Chunks<'_>, Refusal> {
    let mut input = Input(bytes.get(4..).unwrap_or_default());
    let length = usize::try_from(u32::from_le_bytes(input.array()?)).map_err(Refusal::broken)?;
    let mut input = Input(Input(input.0).take(length)?);
    input.array::<4>()?;
    let mut found = Chunks::default();
    while !input.0.is_empty() {
        let (kind, body) = chunk(&mut input)?;
        match &kind {
            b"VP8X" => {
                let mut body = Input(body);
                let flags = body.array::<4>()?[0];
                found.alpha |= flags & 0x10 != 0;
                found.canvas = Some(Size { width: less_one(&mut body)?, height: less_one(&mut body)? });
            }
            b"VP8 " => found.picture(lossy(body)?),
            b"VP8L" => {
                found.lossless = true;
                found.picture(lossless(body)?);
            }
            b"ALPH" => found.alpha = true,
            b"ICCP" => found.profile = Some(body),
            b"EXIF" => found.exif = Some(body),
            b"ANMF" => found.frame(body)?,
            _ => {}
        }
    }
    Ok(found)
}

impl<'b> Chunks<'b> {
    /// A picture says its own size; a canvas said before is what counts, and the decoder compares the two.
    fn picture(&mut self, size: Size) {
        self.canvas.get_or_insert(size);
    }

    fn frame(&mut self, body: &'b [u8]) -> Result<(), Refusal> {
        self.frames = self.frames.saturating_add(1);
        if self.first.is_some() {
            return Ok(());
        }
        let mut input = Input(body);
        let (left, top) = (less_one(&mut input)? - 1, less_one(&mut input)? - 1);
        let size = Size { width: less_one(&mut input)?, height: less_one(&mut input)? };
        input.array::<4>()?;
        let chunks = input.0;
        self.lossless |= chunks.starts_with(b"VP8L");
        self.alpha |= chunks.starts_with(b"ALPH");
        self.first = Some(Frame { left: left * 2, top: top * 2, size, chunks });
        Ok(())
    }
}

/// A chunk; one of odd length is followed by a byte of padding.
fn chunk<'b>(input: &mut Input<'b>) -> Result<([u8; 4], &'b [u8]), Refusal> {
    let kind = input.array()?;
    let length = usize::try_from(u32::from_le_bytes(input.array()?)).map_err(Refusal::broken)?;
    let body = input.take(length)?;
    if length % 2 == 1 && !input.0.is_empty() {
        input.byte()?;
    }
    Ok((kind, body))
}

/// Three bytes that hold a number less one.
fn less_one(input: &mut Input<'_>) -> Result<u32, Refusal> {
    let [low, middle, high] = input.array()?;
    Ok(u32::from_le_bytes([low, middle, high, 0]) + 1)
}

/// RFC 6386, 9.1: a key frame begins with its size.
fn lossy(body: &[u8]) -> Result<Size, Refusal> {
    let mut input = Input(body);
    input.array::<6>()?;
    let side = |bytes| u32::from(u16::from_le_bytes(bytes) & 0x3fff);
    Ok(Size { width: side(input.array()?), height: side(input.array()?) })
}

/// RFC 9649, 3.4: fourteen bits each, less one.
fn lossless(body: &[u8]) -> Result<Size, Refusal> {
    let mut input = Input(body);
    input.byte()?;
    let bits = u32::from_le_bytes(input.array()?);
    Ok(Size { width: (bits & 0x3fff) + 1, height: (bits >> 14 & 0x3fff) + 1 })
}
