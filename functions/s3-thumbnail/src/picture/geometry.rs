//! Which part of a picture becomes how large: sharp's arithmetic, so that both can be compared pixel by pixel.
//!
//! A picture is scaled to a whole number of pixels first and cut at a whole pixel afterwards. A cut between pixels would
//! show the same part half a pixel further.

use crate::variant::{Fit, Focus, Variant};

/// A width and a height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
}

impl Size {
    /// The same, turned by a quarter.
    pub fn turned(self) -> Self {
        Self { width: self.height, height: self.width }
    }

    /// How many pixels that is.
    pub fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// A part of a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rect {
    /// Columns left of it.
    pub left: u32,
    /// Rows above it.
    pub top: u32,
    /// Its size.
    pub size: Size,
}

/// What becomes of a picture that is seen upright.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The size it is scaled to.
    pub scaled: Size,
    /// The part of it that is kept.
    pub kept: Rect,
    /// The size of the thumbnail; larger than what is kept when there is padding.
    pub canvas: Size,
}

/// Plans `variant` for an upright picture of `source` pixels, around `focus` where something is cut.
pub fn plan(source: Size, variant: &Variant, focus: Focus) -> Plan {
    let bounds = Size { width: variant.width, height: variant.height };
    let across = f64::from(source.width) / f64::from(bounds.width);
    let down = f64::from(source.height) / f64::from(bounds.height);
    let mut shrink = match variant.fit {
        Fit::Cover => across.min(down),
        Fit::Contain | Fit::Inside => across.max(down),
    };
    if !variant.enlarge {
        shrink = shrink.max(1.0);
    }
    let scaled = Size { width: scale(source.width, shrink), height: scale(source.height, shrink) };
    let whole = Rect { left: 0, top: 0, size: scaled };
    match variant.fit {
        Fit::Inside => Plan { scaled, kept: whole, canvas: scaled },
        Fit::Contain => Plan { scaled, kept: whole, canvas: bounds },
        Fit::Cover => {
            let size = Size { width: scaled.width.min(bounds.width), height: scaled.height.min(bounds.height) };
            let (left, top) = (cut(scaled.width, size.width, focus.x), cut(scaled.height, size.height, focus.y));
            Plan { scaled, kept: Rect { left, top, size }, canvas: size }
        }
    }
}

/// A side after shrinking: rounded half up, and never nothing.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sides are far below 2^32 and positive")]
fn scale(side: u32, shrink: f64) -> u32 {
    ((f64::from(side) / shrink + 0.5) as u32).max(1)
}

/// How much is cut off before `kept` of `length` pixels, so that `focus` is in the middle or as near to it as can be.
/// In the middle the odd pixel falls before the cut, as sharp has it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below `length`, and never negative")]
fn cut(length: u32, kept: u32, focus: f64) -> u32 {
    let over = length - kept;
    let before = focus * f64::from(length) - f64::from(kept) / 2.0;
    ((before + 0.5).max(0.0) as u32).min(over)
}

/// How the stored picture must be turned to be seen upright: the values of Exif's `Orientation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orientation(u8);

impl Orientation {
    /// As it is stored.
    pub const UPRIGHT: Self = Self(1);

    /// One of the eight, or none.
    pub fn of(value: u16) -> Option<Self> {
        u8::try_from(value).ok().filter(|value| (1..=8).contains(value)).map(Self)
    }

    /// Whether width and height change places.
    pub fn turns(self) -> bool {
        self.0 >= 5
    }

    /// The size that is seen, of a picture stored with `size`; and the other way round.
    pub fn seen(self, size: Size) -> Size {
        if self.turns() { size.turned() } else { size }
    }

    /// Where in a stored picture of `stored` pixels the pixel lies that is seen at (`x`, `y`).
    pub fn stored_at(self, stored: Size, x: u32, y: u32) -> (u32, u32) {
        let (right, bottom) = (stored.width - 1, stored.height - 1);
        match self.0 {
            2 => (right - x, y),
            3 => (right - x, bottom - y),
            4 => (x, bottom - y),
            5 => (y, x),
            6 => (y, bottom - x),
            7 => (right - y, bottom - x),
            8 => (right - y, x),
            _ => (x, y),
        }
    }

    /// The part of a stored picture of `stored` pixels that is seen as `part`.
    pub fn stored_part(self, stored: Size, part: Rect) -> Rect {
        let (first_x, first_y) = self.stored_at(stored, part.left, part.top);
        let (last_x, last_y) = self.stored_at(stored, part.left + part.size.width - 1, part.top + part.size.height - 1);
        Rect { left: first_x.min(last_x), top: first_y.min(last_y), size: self.seen(part.size) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn planned(text: &str, width: u32, height: u32) -> Plan {
        let variant = Variant::parse_list(text).expect("a variant").remove(0);
        plan(Size { width, height }, &variant, variant.focus)
    }

    fn is(plan: Plan, scaled: (u32, u32), left_top: (u32, u32), canvas: (u32, u32)) {
        let pair = |size: Size| (size.width, size.height);
        assert_eq!((pair(plan.scaled), (plan.kept.left, plan.kept.top), pair(plan.canvas)), (scaled, left_top, canvas));
    }

    #[test]
    fn a_cut_is_at_a_whole_row_of_a_whole_size() {
        is(planned("v=300x200", 4000, 3000), (300, 225), (0, 13), (300, 200));
        is(planned("v=300x200", 3000, 4000), (300, 400), (0, 100), (300, 200));
        is(planned("v=300x200", 1155, 866), (300, 225), (0, 13), (300, 200));
        is(planned("v=300x200,focus@0@0", 4000, 3000), (300, 225), (0, 0), (300, 200));
        is(planned("v=300x200,focus@100@100", 4000, 3000), (300, 225), (0, 25), (300, 200));
        is(planned("v=100x100,focus@30@50", 400, 100), (400, 100), (70, 0), (100, 100));
    }

    #[test]
    fn sizes_are_those_of_sharp() {
        let table = include_str!("../../tests/pictures/sharp-sizes.tsv");
        for line in table.lines().skip(1) {
            let cells: Vec<&str> = line.split('\t').collect();
            let [width, height, wide, high, fit, ..] = cells[..] else { panic!("{line}") };
            let number = |text: &str| text.parse::<u32>().expect("a number");
            let plan = planned(&format!("v={wide}x{high},{fit}"), number(width), number(height));
            assert_eq!((plan.canvas.width, plan.canvas.height), (number(cells[5]), number(cells[6])), "{line}");
        }
    }

    #[test]
    fn small_pictures_stay_small_unless_told_otherwise() {
        is(planned("v=300x200", 200, 500), (200, 500), (0, 150), (200, 200));
        is(planned("v=300x200,inside", 30, 20), (30, 20), (0, 0), (30, 20));
        is(planned("v=300x200,inside,enlarge", 30, 40), (150, 200), (0, 0), (150, 200));
        is(planned("v=300x200,contain", 30, 20), (30, 20), (0, 0), (300, 200));
        is(planned("v=300x200,contain", 600, 100), (300, 50), (0, 0), (300, 200));
        is(planned("v=300x200,inside", 60_000, 1), (300, 1), (0, 0), (300, 1));
    }

    proptest! {
        #[test]
        fn what_is_kept_lies_within_what_is_scaled(
            width in 1_u32..20_000, height in 1_u32..20_000, wide in 1_u32..500, high in 1_u32..500,
            fit in prop::sample::select(vec!["cover", "contain", "inside"]), enlarge: bool, x in 0_u32..=100, y in 0_u32..=100,
        ) {
            let enlarge = if enlarge { ",enlarge" } else { "" };
            let plan = planned(&format!("v={wide}x{high},{fit},focus@{x}@{y}{enlarge}"), width, height);
            prop_assert!(plan.kept.left + plan.kept.size.width <= plan.scaled.width);
            prop_assert!(plan.kept.top + plan.kept.size.height <= plan.scaled.height);
            prop_assert!(plan.kept.size.width <= plan.canvas.width && plan.kept.size.height <= plan.canvas.height);
            prop_assert!(plan.canvas.width <= wide && plan.canvas.height <= high);
        }

        #[test]
        fn every_orientation_shows_every_pixel_once(value in 1_u16..=8, width in 1_u32..9, height in 1_u32..9) {
            let orientation = Orientation::of(value).expect("one of eight");
            let stored = Size { width, height };
            let seen = orientation.seen(stored);
            let mut found = std::collections::BTreeSet::new();
            for y in 0..seen.height {
                for x in 0..seen.width {
                    let (column, row) = orientation.stored_at(stored, x, y);
                    prop_assert!(column < width && row < height);
                    found.insert((column, row));
                }
            }
            prop_assert_eq!(found.len() as u64, stored.pixels());
        }
    }
}
