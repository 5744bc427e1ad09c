//! Pictures in, thumbnails out. Pure: bytes and wishes in, encoded thumbnails or a reason out.
//!
//! The order matters. The header is read and judged before anything is decoded ([`probe`]). The picture is decoded
//! once, as small as the largest thumbnail allows (`decode`): a JPEG by the scaling of its own transform, a PNG row by
//! row, a WebP by the scaling of its decoder. Each thumbnail, from the largest to the smallest, is then scaled with
//! Lanczos3 (`raster`), and only the few pixels that are left get their colours converted and are turned upright.
//!
//! Where a JPEG or a lossy WebP becomes a WebP and nothing speaks against it, luma and chroma stay the planes that both
//! formats store, from the decoder to the encoder, and nothing is converted but what is needed for the colour and the
//! blur (`planes`).
//!
//! Nothing of a picture's metadata is copied: a thumbnail cannot say where it was taken. A broken picture is an error
//! here, however much of it could still be seen.

mod colour;
mod decode;
mod encode;
pub mod geometry;
mod placeholder;
mod planes;
pub mod probe;
mod raster;

use geometry::{Plan, Size, plan};
use planes::Form;
use raster::Pixels;

use crate::variant::{Focus, Variant};

/// What a picture may cost. Judged from its header, before decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The length of the file.
    pub bytes: u64,
    /// Width times height.
    pub pixels: u64,
    /// Pictures in an animation. Only the first one is used.
    pub frames: u32,
    /// Passes of a progressive JPEG.
    pub scans: u32,
    /// What decoding needs beside the file itself, in bytes.
    pub memory: u64,
}

/// Why there is no thumbnail of a file. Always the file's own fault: trying again changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is nothing in it.
    #[error("the file is empty")]
    Empty,
    /// It is something else.
    #[error("the file is not a picture")]
    NotAPicture,
    /// It is a picture of a kind that is not read here.
    #[error("pictures of this kind are not supported: {0}")]
    Unsupported(&'static str),
    /// Something of it is larger than allowed.
    #[error("the picture has {found} {what}; at most {limit} are allowed")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much there is; for scans and frames, how much was seen before counting ended.
        found: u64,
        /// How much is allowed.
        limit: u64,
    },
    /// It begins like a picture, and then it is damaged, cut off, or built to do harm.
    #[error("the picture is broken: {0}")]
    Broken(String),
}

impl Refusal {
    /// The reason as a stable word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotAPicture => "not_a_picture",
            Self::Unsupported(_) => "unsupported",
            Self::TooLarge { .. } => "too_large",
            Self::Broken(_) => "broken",
        }
    }

    fn broken(cause: impl ToString) -> Self {
        Self::Broken(cause.to_string())
    }
}

/// One finished thumbnail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbnail {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its size.
    pub size: Size,
    /// Its most frequent colour, `#rrggbb`.
    pub colour: String,
    /// A ThumbHash in base64, about 30 letters: a blurred picture to show while the thumbnail loads.
    /// <https://evanw.github.io/thumbhash/>
    pub placeholder: String,
}

/// Makes one thumbnail for each of `variants`, in their order. `focus` is the picture's own point to keep.
///
/// # Errors
/// [`Refusal`]: there are no thumbnails of these bytes.
pub fn thumbnails(
    bytes: &[u8],
    variants: &[Variant],
    focus: Option<Focus>,
    limits: &Limits,
) -> Result<Vec<Thumbnail>, Refusal> {
    let header = probe::probe(bytes, limits)?;
    let seen = header.orientation.seen(header.size);
    let plans: Vec<Plan> = variants.iter().map(|variant| plan(seen, variant, focus.unwrap_or(variant.focus))).collect();
    // From the largest to the smallest: each one starts from what is left of the one before.
    let mut order: Vec<usize> = (0..plans.len()).collect();
    order.sort_by(|a, b| shrink(seen, &plans[*a]).total_cmp(&shrink(seen, &plans[*b])));
    let least = order.first().map_or(1.0, |largest| shrink(seen, &plans[*largest]));
    let form = Form::of(&header, least, &plans, variants, limits);
    let mut raster = decode::decode(bytes, &header, form, least, limits)?;
    let mut converter = colour::Converter::new(&raster);
    let mut made = Vec::with_capacity(plans.len());
    for place in order {
        let (plan, variant) = (&plans[place], &variants[place]);
        raster = raster.boxed(plan, header.orientation);
        let scaled = raster.scaled(plan, header.orientation)?;
        let picture = converter.srgb(&scaled)?.upright(header.orientation);
        let (colour, placeholder) = placeholder::of(&picture)?;
        let bytes = match scaled.pixels {
            Pixels::Planes(planes) => {
                encode::planes(&planes.upright(scaled.size, header.orientation), plan.canvas, variant)?
            }
            Pixels::Light(_) | Pixels::Ink(_) | Pixels::Alpha(_) => {
                encode::encode(picture.on_canvas(plan.canvas, variant), variant)?
            }
        };
        made.push((place, Thumbnail { bytes, size: plan.canvas, colour, placeholder }));
    }
    made.sort_by_key(|(place, _)| *place);
    Ok(made.into_iter().map(|(_, thumbnail)| thumbnail).collect())
}

/// How many times smaller than a picture seen in `seen` pixels a thumbnail is, along the side that shrinks less.
fn shrink(seen: Size, plan: &Plan) -> f64 {
    let across = f64::from(seen.width) / f64::from(plan.scaled.width);
    let down = f64::from(seen.height) / f64::from(plan.scaled.height);
    across.min(down)
}
