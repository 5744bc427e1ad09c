//! PNG, row by row: only an interlaced one is ever held as a whole.

use fast_image_resize::pixels::U8x3;
use png::{BitDepth, ColorType, Decoder, Transformations};

use super::super::probe::{Header, MAX_PROFILE};
use super::super::raster::{AlphaBoxes, Boxes, Raster, box_side};
use super::super::{Limits, Refusal};
use super::{multiplied_16, with_alpha, without_alpha};

pub(super) fn decode(bytes: &[u8], header: &Header, shrink: f64, limits: &Limits) -> Result<Raster, Refusal> {
    // Text is skipped unread. Beside the rows there is room for what else is read: a profile, packed and unpacked, and Exif.
    let memory = limits.memory.min(header.memory + 4 * MAX_PROFILE as u64);
    let memory = usize::try_from(memory).unwrap_or(usize::MAX);
    let mut decoder = Decoder::new_with_limits(std::io::Cursor::new(bytes), png::Limits { bytes: memory });
    decoder.set_transformations(Transformations::EXPAND);
    decoder.set_ignore_text_chunk(true);
    let mut reader = decoder.read_info().map_err(Refusal::broken)?;
    let profile = reader.info().icc_profile.as_ref().filter(|profile| profile.len() <= MAX_PROFILE);
    let profile = profile.map(|profile| profile.to_vec());

    let side = box_side(shrink);
    let mut rows = Rows::new(reader.output_color_type(), header.size.width, side);
    if reader.info().interlaced {
        let length = reader.output_buffer_size().ok_or_else(|| Refusal::broken("its size overflows"))?;
        let mut whole = vec![0; length];
        let frame = reader.next_frame(&mut whole).map_err(Refusal::broken)?;
        whole.chunks_exact(frame.line_size).for_each(|row| rows.row(row));
    } else {
        while let Some(row) = reader.next_row().map_err(Refusal::broken)? {
            rows.row(row.data());
        }
    }
    // What comes after the pixels must be whole, too.
    reader.finish().map_err(Refusal::broken)?;
    Ok(match rows.boxes {
        Either::Light(boxes) => without_alpha(header.size, side, boxes, profile),
        Either::Alpha(boxes) => with_alpha(header.size, side, boxes, profile),
    })
}

#[derive(Debug)]
enum Either {
    Light(Boxes<U8x3>),
    Alpha(AlphaBoxes),
}

/// Rows of any form, brought into the one that is averaged.
#[derive(Debug)]
struct Rows {
    colour: ColorType,
    wide: bool,
    boxes: Either,
    bytes: Vec<u8>,
    samples: Vec<[u16; 4]>,
}

impl Rows {
    fn new((colour, depth): (ColorType, BitDepth), width: u32, side: u32) -> Self {
        let boxes = match colour {
            ColorType::Grayscale | ColorType::Rgb | ColorType::Indexed => Either::Light(Boxes::new(width, side)),
            ColorType::GrayscaleAlpha | ColorType::Rgba => Either::Alpha(AlphaBoxes::new(width, side)),
        };
        Self { colour, wide: depth == BitDepth::Sixteen, boxes, bytes: Vec::new(), samples: Vec::new() }
    }

    fn row(&mut self, row: &[u8]) {
        match (&mut self.boxes, self.wide) {
            (Either::Light(boxes), false) if self.colour == ColorType::Rgb => boxes.row(row),
            (Either::Light(boxes), false) => {
                self.bytes.clear();
                self.bytes.extend(row.iter().flat_map(|gray| [*gray; 3]));
                boxes.row(&self.bytes);
            }
            (Either::Light(boxes), true) => {
                self.bytes.clear();
                let bytes = row.as_chunks().0.iter().map(|sample| narrow(u16::from_be_bytes(*sample)));
                if self.colour == ColorType::Rgb {
                    self.bytes.extend(bytes);
                } else {
                    self.bytes.extend(bytes.flat_map(|gray| [gray; 3]));
                }
                boxes.row(&self.bytes);
            }
            (Either::Alpha(boxes), false) => {
                if self.colour == ColorType::Rgba {
                    boxes.bytes(row.as_chunks().0);
                } else {
                    let pixels: Vec<_> =
                        row.as_chunks().0.iter().map(|[gray, alpha]| [*gray, *gray, *gray, *alpha]).collect();
                    boxes.bytes(&pixels);
                }
            }
            (Either::Alpha(boxes), true) => {
                let samples = row.as_chunks().0.iter().map(|sample| u16::from_be_bytes(*sample));
                let samples: Vec<u16> = samples.collect();
                if self.colour == ColorType::Rgba {
                    multiplied_16(samples.as_chunks().0, &mut self.samples);
                } else {
                    let pixels: Vec<_> =
                        samples.as_chunks().0.iter().map(|[gray, alpha]| [*gray, *gray, *gray, *alpha]).collect();
                    multiplied_16(&pixels, &mut self.samples);
                }
                boxes.samples(&self.samples);
            }
        }
    }
}

/// The nearest byte.
fn narrow(sample: u16) -> u8 {
    u8::try_from((u32::from(sample) * 255 + 32_767) / 65_535).unwrap_or(u8::MAX)
}
