//! WebP by libwebp, which can average while it decodes.

use fast_image_resize::pixels::U8x3;
use webpx::{BitstreamFormat, Decoder, DecoderConfig, Limits};

use super::super::Refusal;
use super::super::geometry::Size;
use super::super::planes::{Form, Planes, Range};
use super::super::probe::{Frame, Header, chunks};
use super::super::raster::{AlphaBoxes, Pixels, Raster, box_side};
use super::with_alpha;

pub(super) fn decode(bytes: &[u8], header: &Header, form: Form, shrink: f64) -> Result<Raster, Refusal> {
    let Some(frame) = chunks(bytes)?.first else {
        return still(bytes, header, form, shrink);
    };
    let file = container(&frame);
    if (frame.left, frame.top, frame.size) == (0, 0, header.size) {
        return still(&file, header, form, shrink);
    }
    painted(&file, &frame, header, shrink)
}

fn still(file: &[u8], header: &Header, form: Form, shrink: f64) -> Result<Raster, Refusal> {
    let decoder = decoder(file, header)?;
    let info = decoder.info();
    if form == Form::Planes && info.format == BitstreamFormat::Lossy && !info.has_alpha {
        return planes(decoder);
    }
    let profile = header.profile.clone();
    // The decoder averages down to twice what is wanted, and Lanczos3 has something left to do. Colours of lossy pictures
    // are averaged without regard to alpha here, but only over half a pixel of the thumbnail; lossless ones with it.
    let part = (shrink / 2.0).max(1.0);
    let size = Size { width: rounded(header.size.width, part), height: rounded(header.size.height, part) };
    let alpha = decoder.info().has_alpha;
    let decoder = if size == header.size { decoder } else { decoder.scale(size.width, size.height) };
    if alpha {
        let (pixels, width, _) = decoder.decode_rgba_raw().map_err(Refusal::broken)?;
        let mut boxes = AlphaBoxes::new(width, 1);
        pixels.as_chunks().0.chunks_exact(width as usize).for_each(|row| boxes.bytes(row));
        return Ok(with_alpha(size, 1, boxes, profile));
    }
    let extent = (f64::from(size.width), f64::from(size.height));
    let (pixels, width, height) = decoder.decode_rgb_raw().map_err(Refusal::broken)?;
    let pixels: Vec<U8x3> = pixels.as_chunks().0.iter().map(|pixel| U8x3::new(*pixel)).collect();
    Ok(Raster { size: Size { width, height }, extent, pixels: Pixels::Light(pixels), profile })
}

/// A lossy picture without alpha as it is stored. The decoder averages only what becomes pixels.
fn planes(decoder: Decoder<'_>) -> Result<Raster, Refusal> {
    let found = decoder.decode_yuv().map_err(Refusal::broken)?;
    let size = Size { width: found.width, height: found.height };
    let extent = (f64::from(size.width), f64::from(size.height));
    let planes = Planes { range: Range::Limited, luma: found.y, chroma: [found.u, found.v] };
    Ok(Raster { size, extent, pixels: Pixels::Planes(planes), profile: None })
}

/// The decoder of `file`. Limits have been judged already, and the library's own are lower; but what was judged is the
/// canvas, and the pictures of an animation have sizes of their own.
fn decoder<'f>(file: &'f [u8], header: &Header) -> Result<Decoder<'f>, Refusal> {
    let decoder = Decoder::new(file).map_err(Refusal::broken)?;
    if decoder.info().width > header.size.width || decoder.info().height > header.size.height {
        return Err(Refusal::broken("its first picture is larger than all of it"));
    }
    Ok(decoder.config(DecoderConfig::new().limits(Limits::none())))
}

/// Every pixel with its alpha. Decoded where it will lie: the library's other way would copy it once more.
fn whole(decoder: Decoder<'_>) -> Result<(Vec<u8>, Size), Refusal> {
    let size = Size { width: decoder.info().width, height: decoder.info().height };
    let mut pixels = vec![0; size.width as usize * size.height as usize * 4];
    decoder.decode_rgba_into(&mut pixels, size.width * 4).map_err(Refusal::broken)?;
    Ok((pixels, size))
}

/// A first picture that leaves a part of the canvas free.
fn painted(file: &[u8], frame: &Frame<'_>, header: &Header, shrink: f64) -> Result<Raster, Refusal> {
    let (pixels, size) = whole(decoder(file, header)?)?;
    let fits = frame.left.checked_add(size.width).is_some_and(|right| right <= header.size.width)
        && frame.top.checked_add(size.height).is_some_and(|bottom| bottom <= header.size.height);
    if !fits {
        return Err(Refusal::broken("its first picture lies outside of it"));
    }
    let side = box_side(shrink);
    let mut boxes = AlphaBoxes::new(header.size.width, side);
    let mut row = vec![[0; 4]; header.size.width as usize];
    let lines = pixels.as_chunks::<4>().0.chunks_exact(size.width as usize);
    let above = (0..frame.top).map(|_| None);
    let below = (frame.top + size.height..header.size.height).map(|_| None);
    for line in above.chain(lines.map(Some)).chain(below) {
        row.fill([0; 4]);
        if let Some(line) = line {
            row.iter_mut().skip(frame.left as usize).zip(line).for_each(|(to, from)| *to = *from);
        }
        boxes.bytes(&row);
    }
    Ok(with_alpha(header.size, side, boxes, header.profile.clone()))
}

/// The chunks of a frame as a file of their own. With an alpha chunk they need the extended header.
fn container(frame: &Frame<'_>) -> Vec<u8> {
    let mut body = b"WEBP".to_vec();
    if frame.chunks.starts_with(b"ALPH") {
        body.extend(b"VP8X\x0a\0\0\0\x10\0\0\0");
        body.extend((frame.size.width - 1).to_le_bytes().iter().take(3));
        body.extend((frame.size.height - 1).to_le_bytes().iter().take(3));
    }
    body.extend(frame.chunks);
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [b"RIFF".as_slice(), &length.to_le_bytes(), &body].concat()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not larger than `side`")]
fn rounded(side: u32, part: f64) -> u32 {
    ((f64::from(side) / part).round() as u32).max(1)
}
