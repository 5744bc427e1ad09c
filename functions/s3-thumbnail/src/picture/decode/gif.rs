//! The first picture of a GIF, on its canvas.

use fast_image_resize::pixels::U8x3;
use gif::{ColorOutput, DecodeOptions, Frame, MemoryLimit};

use super::super::probe::Header;
use super::super::raster::{AlphaBoxes, Boxes, Raster, box_side};
use super::super::{Limits, Refusal};
use super::{with_alpha, without_alpha};

pub(super) fn decode(bytes: &[u8], header: &Header, shrink: f64, limits: &Limits) -> Result<Raster, Refusal> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.check_frame_consistency(true);
    let memory = std::num::NonZeroU64::new(limits.memory).ok_or_else(|| Refusal::broken("nothing may be held"))?;
    options.set_memory_limit(MemoryLimit::Bytes(memory));
    let mut decoder = options.read_info(bytes).map_err(Refusal::broken)?;
    let global = decoder.global_palette().map(<[u8]>::to_vec);
    let frame = decoder.read_next_frame().map_err(Refusal::broken)?;
    let frame = frame.ok_or_else(|| Refusal::broken("it holds no picture"))?;
    let palette = frame.palette.as_deref().or(global.as_deref());
    let colours = colours(palette.unwrap_or_default(), frame.transparent);

    let side = box_side(shrink);
    let covered = (u32::from(frame.width), u32::from(frame.height)) == (header.size.width, header.size.height);
    let mut used = [false; 256];
    frame.buffer.iter().for_each(|index| used[usize::from(*index)] = true);
    let opaque = used.iter().zip(&colours).all(|(used, [_, _, _, alpha])| !used || *alpha == u8::MAX);
    Ok(if covered && opaque {
        without_alpha(header.size, side, opaque_rows(frame, &colours, side), None)
    } else {
        with_alpha(header.size, side, painted_rows(frame, &colours, header, side), None)
    })
}

/// What each index shows: nothing, if it is the transparent one or beyond the palette.
fn colours(palette: &[u8], transparent: Option<u8>) -> [[u8; 4]; 256] {
    let mut colours = [[0; 4]; 256];
    for ((index, colour), [red, green, blue]) in (0..=u8::MAX).zip(&mut colours).zip(palette.as_chunks().0) {
        if transparent != Some(index) {
            *colour = [*red, *green, *blue, u8::MAX];
        }
    }
    colours
}

/// A picture that covers its whole canvas.
fn opaque_rows(frame: &Frame<'_>, colours: &[[u8; 4]; 256], side: u32) -> Boxes<U8x3> {
    let width = usize::from(frame.width);
    let mut boxes = Boxes::new(frame.width.into(), side);
    let mut row = vec![0; width * 3];
    for line in frame.buffer.chunks_exact(width) {
        for (to, index) in row.as_chunks_mut().0.iter_mut().zip(line) {
            let [red, green, blue, _] = colours[usize::from(*index)];
            *to = [red, green, blue];
        }
        boxes.row(&row);
    }
    boxes
}

/// A picture through which its canvas can be seen.
fn painted_rows(frame: &Frame<'_>, colours: &[[u8; 4]; 256], header: &Header, side: u32) -> AlphaBoxes {
    let mut boxes = AlphaBoxes::new(header.size.width, side);
    let mut row = vec![[0; 4]; header.size.width as usize];
    let (top, height) = (u32::from(frame.top), u32::from(frame.height));
    let mut lines = frame.buffer.chunks_exact(usize::from(frame.width.max(1)));
    for y in 0..header.size.height {
        row.fill([0; 4]);
        if (top..top + height).contains(&y) {
            let line = lines.next().unwrap_or_default();
            row.iter_mut().skip(frame.left.into()).zip(line).for_each(|(to, index)| *to = colours[usize::from(*index)]);
        }
        boxes.bytes(&row);
    }
    boxes
}
