//! Pixels, and how they become fewer.
//!
//! Two steps, as in libvips. Where there are more than twice as many pixels as wanted, whole boxes of them are averaged
//! first; Lanczos3 does the rest. The result can hardly be told from Lanczos3 alone, and most pixels are only added up.
//!
//! Transparent pixels have colours too, and those must not bleed into their neighbours: colours are multiplied by their
//! alpha before anything is averaged. The products of two bytes are kept whole, in sixteen bits: nothing is rounded
//! before the end.

use std::fmt;
use std::ops::AddAssign;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{InnerPixel, U8x3, U8x4, U16x4};
use fast_image_resize::{Filter, FilterType, ImageView, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

use super::Refusal;
use super::geometry::{Orientation, Plan, Rect, Size};
use super::planes::Planes;

/// Full alpha where colours are multiplied by it: 255 times 255.
pub(super) const FULL: u16 = 65_025;

/// Boxes are at most this wide, so that a box of bytes adds up in 16 bits, and one of 16-bit samples in 32.
const MAX_SIDE: u32 = 255;

/// The pixels of a picture, row by row.
#[derive(Clone, Debug)]
pub(super) enum Pixels {
    /// Red, green, blue.
    Light(Vec<U8x3>),
    /// Cyan, magenta, yellow, black; 255 is full ink.
    Ink(Vec<U8x4>),
    /// Red, green and blue times alpha, and alpha times 255.
    Alpha(Vec<U16x4>),
    /// Luma and chroma, each by itself.
    Planes(Planes),
}

/// A decoded picture as it is stored, already shrunken perhaps.
#[derive(Clone, Debug)]
pub(super) struct Raster {
    pub(super) size: Size,
    /// How much of `size` the picture covers: whoever shrinks rounds up, and the last pixels are only partly real.
    pub(super) extent: (f64, f64),
    pub(super) pixels: Pixels,
    /// The ICC profile that says which colours its numbers mean.
    pub(super) profile: Option<Vec<u8>>,
}

/// What is kept of a picture, scaled.
#[derive(Clone, Debug)]
pub(super) struct Scaled {
    pub(super) size: Size,
    pub(super) pixels: Pixels,
}

impl Raster {
    /// The same picture in boxes, if `plan` shrinks it so much that boxes leave Lanczos3 enough to do. Whoever wants less
    /// of it later starts from here.
    pub(super) fn boxed(self, plan: &Plan, orientation: Orientation) -> Self {
        let scaled = orientation.seen(plan.scaled);
        let side = box_side((self.extent.0 / f64::from(scaled.width)).min(self.extent.1 / f64::from(scaled.height)));
        if side == 1 {
            return self;
        }
        let extent = (self.extent.0 / f64::from(side), self.extent.1 / f64::from(side));
        let (size, pixels) = match &self.pixels {
            Pixels::Light(pixels) => boxes(pixels, self.size, side, Pixels::Light),
            Pixels::Ink(pixels) => boxes(pixels, self.size, side, Pixels::Ink),
            Pixels::Alpha(pixels) => boxes(pixels, self.size, side, Pixels::Alpha),
            Pixels::Planes(planes) => {
                let (size, planes) = planes.boxed(self.size, side);
                (size, Pixels::Planes(planes))
            }
        };
        Self { size, extent, pixels, profile: self.profile }
    }

    /// What `plan` keeps of a picture that is seen by `orientation`, scaled. The plan is about the picture as it is
    /// seen; the pixels here are as they are stored.
    pub(super) fn scaled(&self, plan: &Plan, orientation: Orientation) -> Result<Scaled, Refusal> {
        let scaled = orientation.seen(plan.scaled);
        let part = orientation.stored_part(scaled, plan.kept);
        let pixels = match &self.pixels {
            Pixels::Light(pixels) => Pixels::Light(self.part(pixels, scaled, part)?),
            Pixels::Ink(pixels) => Pixels::Ink(self.part(pixels, scaled, part)?),
            Pixels::Alpha(pixels) => Pixels::Alpha(self.part(pixels, scaled, part)?),
            Pixels::Planes(planes) => Pixels::Planes(planes.scaled(self.size, self.extent, scaled, part)?),
        };
        Ok(Scaled { size: part.size, pixels })
    }

    /// The `part` of its `pixels` scaled so that all of them would fill `scaled`.
    fn part<P: PixelTrait>(&self, pixels: &[P], scaled: Size, part: Rect) -> Result<Vec<P>, Refusal> {
        let source = TypedImageRef::new(self.size.width, self.size.height, pixels).map_err(Refusal::broken)?;
        let mut target = vec![P::empty(); part.size.width as usize * part.size.height as usize];
        let image =
            TypedImage::from_pixels_slice(part.size.width, part.size.height, &mut target).map_err(Refusal::broken)?;
        lanczos(&source, self.extent, scaled, part, image)?;
        Ok(target)
    }
}

/// `pixels` in boxes of `side` by `side`.
fn boxes<P>(pixels: &[P], size: Size, side: u32, kind: impl Fn(Vec<P>) -> Pixels) -> (Size, Pixels)
where
    P: InnerPixel<Component: Sample>,
{
    let mut boxes = Boxes::<P>::new(size.width, side);
    pixels.chunks_exact(size.width as usize).for_each(|row| boxes.row(P::components(row)));
    let (size, pixels) = boxes.finish();
    (size, kind(pixels))
}

/// How wide the boxes are that are averaged before Lanczos3 shrinks the rest of `shrink`: by two at least, if any.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and `MAX_SIDE`")]
pub(super) fn box_side(shrink: f64) -> u32 {
    (shrink / 2.0).clamp(1.0, f64::from(MAX_SIDE)) as u32
}

/// Fills `target` with the `part` of `source` scaled so that all that `extent` covers of it would fill `scaled`.
pub(super) fn lanczos<P: PixelTrait>(
    source: &TypedImageRef<'_, P>,
    extent: (f64, f64),
    scaled: Size,
    part: Rect,
    mut target: TypedImage<'_, P>,
) -> Result<(), Refusal> {
    let (most_across, most_down) = (f64::from(source.width()), f64::from(source.height()));
    let across = extent.0 / f64::from(scaled.width);
    let down = extent.1 / f64::from(scaled.height);
    let width = (f64::from(part.size.width) * across).min(most_across);
    let height = (f64::from(part.size.height) * down).min(most_down);
    // The sum may end an unmeasurable bit beyond the edge, which would be refused.
    let left = (f64::from(part.left) * across).min(most_across - width);
    let top = (f64::from(part.top) * down).min(most_down - height);
    let filter = Filter::new("Lanczos3", lanczos3, 3.0).map_err(Refusal::broken)?;
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Custom(filter)))
        .crop(left, top, width, height)
        .use_alpha(false);
    Resizer::new().resize_typed(source, &mut target, &options).map_err(Refusal::broken)
}

/// `sinc(x) * sinc(x / 3)` with one sine where the library's own has two: that of three times an angle follows from the
/// angle's.
fn lanczos3(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    if x.abs() >= 3.0 {
        return 0.0;
    }
    let angle = x * (std::f64::consts::PI / 3.0);
    let part = angle.sin().powi(2);
    part * (3.0 - 4.0 * part) / (3.0 * angle * angle)
}

/// A number that pixels are made of.
pub(super) trait Sample: Copy + Default + Into<u32> {
    /// What a box of [`MAX_SIDE`] by [`MAX_SIDE`] of them is added up in, a column at a time.
    type Column: Copy + Default + fmt::Debug + AddAssign + From<Self> + Into<u32>;

    /// The sample nearest to a mean.
    fn of(mean: f64) -> Self;
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mean of samples is a sample")]
impl Sample for u8 {
    type Column = u16;

    fn of(mean: f64) -> Self {
        (mean + 0.5) as Self
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mean of samples is a sample")]
impl Sample for u16 {
    type Column = u32;

    fn of(mean: f64) -> Self {
        (mean + 0.5) as Self
    }
}

/// Rows of a picture as they come, averaged in boxes: a whole picture is never held.
#[derive(Debug)]
pub(super) struct Boxes<P: InnerPixel<Component: Sample>> {
    width: usize,
    side: usize,
    /// The sums of the columns since the last full box.
    columns: Vec<<P::Component as Sample>::Column>,
    rows: usize,
    height: u32,
    pixels: Vec<P>,
}

impl<P: InnerPixel<Component: Sample>> Boxes<P> {
    /// For rows of `width` pixels and boxes of `side` by `side`, at most [`MAX_SIDE`].
    pub(super) fn new(width: u32, side: u32) -> Self {
        let (width, side) = (width as usize, side as usize);
        let columns = vec![Default::default(); if side == 1 { 0 } else { width * P::count_of_components() }];
        Self { width, side, columns, rows: 0, height: 0, pixels: Vec::new() }
    }

    /// Takes the next row, `width` times the components of a pixel.
    pub(super) fn row(&mut self, samples: &[P::Component]) {
        if self.side == 1 {
            let begin = self.pixels.len();
            self.pixels.resize(begin + self.width, P::empty());
            if let Some(row) = self.pixels.get_mut(begin..) {
                P::components_mut(row).copy_from_slice(samples);
            }
            self.height += 1;
            return;
        }
        for (column, sample) in self.columns.iter_mut().zip(samples) {
            *column += <P::Component as Sample>::Column::from(*sample);
        }
        self.rows += 1;
        if self.rows == self.side {
            self.close();
        }
    }

    /// Averages what has been added up.
    fn close(&mut self) {
        let begin = self.pixels.len();
        self.pixels.resize(begin + self.width.div_ceil(self.side), P::empty());
        let Some(row) = self.pixels.get_mut(begin..) else { return };
        // Loops of a known length are several times faster, and most boxes are small.
        let (means, columns, rows) = (P::components_mut(row), &self.columns, self.rows);
        match (P::count_of_components(), self.side) {
            (1, 2) => average::<1, P::Component>(means, columns, 2, rows),
            (1, 3) => average::<1, P::Component>(means, columns, 3, rows),
            (1, side) => average::<1, P::Component>(means, columns, side, rows),
            (3, 2) => average::<3, P::Component>(means, columns, 2, rows),
            (3, 3) => average::<3, P::Component>(means, columns, 3, rows),
            (3, side) => average::<3, P::Component>(means, columns, side, rows),
            (_, side) => average::<4, P::Component>(means, columns, side, rows),
        }
        self.columns.fill(Default::default());
        self.rows = 0;
        self.height += 1;
    }

    /// The averaged picture.
    pub(super) fn finish(mut self) -> (Size, Vec<P>) {
        if self.rows > 0 {
            self.close();
        }
        let width = u32::try_from(self.width.div_ceil(self.side)).unwrap_or(u32::MAX);
        (Size { width, height: self.height }, self.pixels)
    }
}

/// The same for rows with alpha, whose boxes are added up directly: their sums are wide, and there are fewer of them than
/// of columns.
#[derive(Debug)]
pub(super) struct AlphaBoxes {
    side: usize,
    sums: Vec<[u32; 4]>,
    /// How many columns the last box has.
    last: usize,
    rows: usize,
    height: u32,
    pixels: Vec<U16x4>,
}

impl AlphaBoxes {
    /// For rows of `width` pixels and boxes of `side` by `side`, at most [`MAX_SIDE`].
    pub(super) fn new(width: u32, side: u32) -> Self {
        let (width, side) = (width as usize, side as usize);
        let sums = vec![[0; 4]; width.div_ceil(side)];
        let last = width - (sums.len() - 1) * side;
        Self { side, sums, last, rows: 0, height: 0, pixels: Vec::new() }
    }

    /// Takes the next row, of bytes: colours are multiplied by their alpha, and nothing is rounded.
    pub(super) fn bytes(&mut self, row: &[[u8; 4]]) {
        self.row(row, |[red, green, blue, alpha]| {
            [red, green, blue, u8::MAX].map(|sample| u16::from(sample) * u16::from(alpha))
        });
    }

    /// Takes the next row, of colours multiplied by alpha.
    pub(super) fn samples(&mut self, row: &[[u16; 4]]) {
        self.row(row, |pixel| pixel);
    }

    fn row<T: Copy>(&mut self, row: &[[T; 4]], multiplied: impl Fn([T; 4]) -> [u16; 4]) {
        if self.side == 1 {
            self.pixels.extend(row.iter().map(|pixel| U16x4::new(multiplied(*pixel))));
            self.height += 1;
            return;
        }
        let add = |sums: &mut [u32; 4], pixels: &[[T; 4]]| {
            for pixel in pixels {
                sums.iter_mut().zip(multiplied(*pixel)).for_each(|(sum, sample)| *sum += u32::from(sample));
            }
        };
        // Loops of a known length are faster.
        match self.side {
            2 => self.sums.iter_mut().zip(row.as_chunks::<2>().0).for_each(|(sums, pixels)| add(sums, pixels)),
            3 => self.sums.iter_mut().zip(row.as_chunks::<3>().0).for_each(|(sums, pixels)| add(sums, pixels)),
            4 => self.sums.iter_mut().zip(row.as_chunks::<4>().0).for_each(|(sums, pixels)| add(sums, pixels)),
            side => self.sums.iter_mut().zip(row.chunks_exact(side)).for_each(|(sums, pixels)| add(sums, pixels)),
        }
        let rest = row.chunks_exact(self.side).remainder();
        if let (Some(sums), false) = (self.sums.last_mut(), rest.is_empty()) {
            add(sums, rest);
        }
        self.rows += 1;
        if self.rows == self.side {
            self.close();
        }
    }

    /// Averages what has been added up.
    fn close(&mut self) {
        // A division by multiplication: doubles hold every sum exactly.
        let part = |columns: usize| 1.0 / f64::from(u32::try_from(self.rows * columns).unwrap_or(u32::MAX));
        let (whole, last) = (part(self.side), part(self.last));
        let mean = |sums: &[u32; 4], part: f64| U16x4::new(sums.map(|sum| u16::of(f64::from(sum) * part)));
        if let [sums @ .., edge] = self.sums.as_slice() {
            self.pixels.extend(sums.iter().map(|sums| mean(sums, whole)));
            self.pixels.push(mean(edge, last));
        }
        self.sums.fill([0; 4]);
        self.rows = 0;
        self.height += 1;
    }

    /// The averaged picture.
    pub(super) fn finish(mut self) -> (Size, Vec<U16x4>) {
        if self.rows > 0 {
            self.close();
        }
        let width = u32::try_from(self.sums.len()).unwrap_or(u32::MAX);
        (Size { width, height: self.height }, self.pixels)
    }
}

/// The means of boxes of `side` by `rows`, of `CHANNELS` components, from the sums of their columns. Always inlined: a
/// `side` that is a number there is known here.
#[inline(always)]
fn average<const CHANNELS: usize, S: Sample>(means: &mut [S], columns: &[S::Column], side: usize, rows: usize) {
    let mean = |mean: &mut [S; CHANNELS], columns: &[S::Column], part: f64| {
        let mut sums = [0_u32; CHANNELS];
        for column in columns.as_chunks::<CHANNELS>().0 {
            sums.iter_mut().zip(column).for_each(|(sum, sample)| *sum += (*sample).into());
        }
        mean.iter_mut().zip(sums).for_each(|(mean, sum)| *mean = S::of(f64::from(sum) * part));
    };
    // A division by multiplication: doubles hold every sum exactly.
    let part = |columns: usize| 1.0 / f64::from(u32::try_from(rows * columns).unwrap_or(u32::MAX));
    let (whole, means) = (part(side), means.as_chunks_mut::<CHANNELS>().0);
    let boxes = columns.chunks_exact(side * CHANNELS);
    // Fewer at the right edge.
    let rest = boxes.remainder();
    if let (Some(edge), false) = (means.last_mut(), rest.is_empty()) {
        mean(edge, rest, part(rest.len() / CHANNELS));
    }
    means.iter_mut().zip(boxes).for_each(|(to, columns)| mean(to, columns, whole));
}

impl Pixels {
    /// A picture whose alpha is full everywhere has none.
    pub(super) fn without_needless_alpha(self) -> Self {
        match self {
            Self::Alpha(pixels) if pixels.iter().all(|pixel| pixel.0[3] == FULL) => {
                let light = |pixel: &U16x4| {
                    let [red, green, blue, _] = pixel.0.map(|sample| u8::of(f64::from(sample) / 255.0));
                    U8x3::new([red, green, blue])
                };
                Self::Light(pixels.iter().map(light).collect())
            }
            Self::Light(_) | Self::Ink(_) | Self::Alpha(_) | Self::Planes(_) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_at_the_edges_are_averages_of_what_is_there() {
        let mut boxes = Boxes::<U8x3>::new(3, 2);
        boxes.row(&[0, 10, 255, 2, 10, 255, 9, 10, 255]);
        boxes.row(&[4, 10, 255, 6, 10, 255, 9, 10, 255]);
        boxes.row(&[1, 10, 255, 2, 10, 255, 7, 10, 255]);
        let (size, pixels) = boxes.finish();
        assert_eq!(size, Size { width: 2, height: 2 });
        assert_eq!(U8x3::components(&pixels), [3, 10, 255, 9, 10, 255, 2, 10, 255, 7, 10, 255]);
    }

    #[test]
    fn boxes_with_alpha_are_averages_of_what_can_be_seen() {
        for side in 1..=6 {
            let mut boxes = AlphaBoxes::new(7, side);
            // The last columns are hidden.
            let row: Vec<[u8; 4]> = (0..7).map(|x| [200, 100, 3, if x < 6 { 255 } else { 0 }]).collect();
            (0..5).for_each(|_| boxes.bytes(&row));
            let (size, pixels) = boxes.finish();
            assert_eq!((size.width, size.height), (7_u32.div_ceil(side), 5_u32.div_ceil(side)));
            assert_eq!(pixels.len(), (size.width * size.height) as usize);
            for pixel in &pixels {
                let [red, green, blue, alpha] = pixel.0.map(u32::from);
                assert!(red.abs_diff(alpha * 200 / 255) <= 1 && green.abs_diff(alpha * 100 / 255) <= 1, "{pixel:?}");
                assert!(blue.abs_diff(alpha * 3 / 255) <= 1, "{pixel:?}");
            }
            assert_eq!(pixels[0].0[3], FULL, "{side}");
            let seen = 7 - (size.width - 1) * side;
            assert_eq!(u32::from(pixels[pixels.len() - 1].0[3]), (65_025 * (seen - 1) + seen / 2) / seen, "{side}");
        }
    }

    #[test]
    fn the_widest_box_of_the_brightest_samples_does_not_overflow() {
        let mut boxes = Boxes::<U16x4>::new(MAX_SIDE, MAX_SIDE);
        let mut alpha = AlphaBoxes::new(MAX_SIDE, MAX_SIDE);
        let mut bytes = Boxes::<U8x3>::new(MAX_SIDE, MAX_SIDE);
        for _ in 0..MAX_SIDE {
            boxes.row(&[u16::MAX; 4 * MAX_SIDE as usize]);
            alpha.samples(&[[u16::MAX; 4]; MAX_SIDE as usize]);
            bytes.row(&[u8::MAX; 3 * MAX_SIDE as usize]);
        }
        assert_eq!(boxes.finish().1[0].0, [u16::MAX; 4]);
        assert_eq!(alpha.finish().1[0].0, [u16::MAX; 4]);
        assert_eq!(bytes.finish().1[0].0, [u8::MAX; 3]);
    }
}
