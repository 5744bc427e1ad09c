//! The first picture of a GIF, on its canvas.

use fast_image_resize::pixels::U16x4;
use gif::{ColorOutput, DecodeOptions, MemoryLimit};

use super::super::probe::Header;
use super::super::raster::{Boxes, Raster, box_side};
use super::super::{Limits, Refusal};
use super::{multiplied, with_alpha};

pub(super) fn decode(bytes: &[u8], header: &Header, shrink: f64, limits: &Limits) -> Result<Raster, Refusal> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::RGBA);
    options.check_frame_consistency(true);
    let memory = std::num::NonZeroU64::new(limits.memory).ok_or_else(|| Refusal::broken("nothing may be held"))?;
    options.set_memory_limit(MemoryLimit::Bytes(memory));
    let mut decoder = options.read_info(bytes).map_err(Refusal::broken)?;
    let frame = decoder.read_next_frame().map_err(Refusal::broken)?;
    let frame = frame.ok_or_else(|| Refusal::broken("it holds no picture"))?;

    let side = box_side(shrink);
    let mut boxes = Boxes::<U16x4>::new(header.size.width, side);
    let mut row = vec![[0; 4]; header.size.width as usize];
    let mut samples = Vec::new();
    let (top, height) = (u32::from(frame.top), u32::from(frame.height));
    let mut lines = frame.buffer.as_chunks::<4>().0.chunks_exact(usize::from(frame.width.max(1)));
    for y in 0..header.size.height {
        row.fill([0; 4]);
        if (top..top + height).contains(&y) {
            let line = lines.next().unwrap_or_default();
            row.iter_mut().skip(frame.left.into()).zip(line).for_each(|(to, from)| *to = *from);
        }
        multiplied(&row, &mut samples);
        boxes.row(&samples);
    }
    Ok(with_alpha(header.size, side, boxes, None))
}
