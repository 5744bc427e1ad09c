//! The table of a press' profile: which colour so much of each ink prints.
//!
//! moxcms reads profiles, but it makes a table of its own from theirs before it is asked anything, along straight lines of
//! all four inks: its colours are not those that littlecms, and so sharp, finds in the same profile. Here the profile's
//! own curves and nodes are asked, as a [`Lattice`].
//!
//! Profiles come out of other people's pictures. A table is taken only if it is one of four inks, leads to CIELAB, and is
//! exactly as long as its steps say; one of more than [`MOST_NODES`] is refused before anything of it is copied. Whoever
//! asks then does without: see `inks`. Tables to XYZ and of floating point (`D2B0`) exist on paper and are not read.

use moxcms::{
    ColorProfile, DataColorSpace, LutDataType, LutMultidimensionalType, LutStore, LutType, LutWarehouse, ToneReprCurve,
};

use super::dot;
use super::lattice::{INKS, Lattice, split};

/// The most colours in a table: 33 steps of each ink, twice as many as any press is measured in.
const MOST_NODES: usize = 33 * 33 * 33 * 33;

/// How finely curves are asked that are given by a formula.
const CURVE_STEPS: u16 = 4_096;

/// What a CIELAB number of sixteen bits is multiplied by in `lut16Type`: there 0xff00 is what is 0xffff elsewhere.
/// ICC.1:2022, 10.10.
const LEGACY: f32 = 65_535.0 / 65_280.0;

/// From four inks to CIELAB: `lut8Type`, `lut16Type` and `lutAToBType` of ICC.1:2022, 10.10 to 10.12.
#[derive(Debug)]
pub(super) struct Table {
    /// How far each ink is along its own edge of the lattice.
    inks: [Curve; INKS],
    lattice: Lattice,
    nodes: Vec<[u16; 3]>,
    /// Only `lutAToBType` has these.
    mixing: Option<Mixing>,
    curves: [Curve; 3],
    /// What numbers mean in CIELAB: 1 or [`LEGACY`].
    scale: f32,
}

impl Table {
    /// The table of `profile` for the perceptual intent. `None` when it has none of a kind that is read here.
    pub(super) fn new(profile: &ColorProfile) -> Option<Self> {
        if profile.pcs != DataColorSpace::Lab {
            return None;
        }
        match profile.lut_a_to_b_perceptual.as_ref()? {
            LutWarehouse::Lut(lut) => Self::of_one_size(lut),
            LutWarehouse::Multidimensional(lut) => Self::of_any_size(lut),
        }
    }

    /// `lut8Type` and `lut16Type`. Their matrix is for XYZ alone.
    fn of_one_size(lut: &LutDataType) -> Option<Self> {
        let curves = |store: &LutStore, entries: u16| -> Option<Vec<Curve>> {
            words(store).chunks(usize::from(entries).max(1)).map(Curve::through).collect()
        };
        let (lattice, nodes) = nodes([lut.num_clut_grid_points; INKS], &lut.clut_table)?;
        let inks = curves(&lut.input_table, lut.num_input_table_entries)?.try_into().ok()?;
        let curves = curves(&lut.output_table, lut.num_output_table_entries)?.try_into().ok()?;
        let scale = if lut.lut_type == LutType::Lut16 { LEGACY } else { 1.0 };
        let shape = (usize::from(lut.num_input_channels), lut.num_output_channels);
        (shape == (INKS, 3)).then_some(Self { inks, lattice, nodes, mixing: None, curves, scale })
    }

    /// `lutAToBType`. Curves that it leaves out change nothing.
    fn of_any_size(lut: &LutMultidimensionalType) -> Option<Self> {
        let curves = |given: &[ToneReprCurve], count: usize| -> Option<Vec<Curve>> {
            let empty = ToneReprCurve::Lut(Vec::new());
            let given = if given.is_empty() { vec![empty; count] } else { given.to_vec() };
            given.iter().map(Curve::of).collect()
        };
        let (lattice, nodes) = nodes(*lut.grid_points.first_chunk()?, lut.clut.as_ref()?)?;
        let inks = curves(&lut.a_curves, INKS)?.try_into().ok()?;
        let mixing = Mixing {
            curves: curves(&lut.m_curves, 3)?.try_into().ok()?,
            matrix: lut.matrix.v.map(|row| row.map(narrow)),
            offset: lut.bias.v.map(narrow),
        };
        let curves = curves(&lut.b_curves, 3)?.try_into().ok()?;
        let shape = (usize::from(lut.num_input_channels), lut.num_output_channels);
        (shape == (INKS, 3)).then_some(Self { inks, lattice, nodes, mixing: Some(mixing), curves, scale: 1.0 })
    }

    /// XYZ relative to the paper, D50, of `inks`; 1 is full ink.
    pub(super) fn xyz(&self, inks: [f32; INKS]) -> [f32; 3] {
        let mut colour = [0.0; 3];
        for (node, share) in self.lattice.corners(each(&self.inks, inks)) {
            let share = share / f32::from(u16::MAX);
            colour.iter_mut().zip(self.nodes[node]).for_each(|(sum, number)| *sum += share * f32::from(number));
        }
        let mixed = self.mixing.as_ref().map_or(colour, |mixing| mixing.of(colour));
        let [lightness, a, b] = each(&self.curves, mixed).map(|number| number * self.scale);
        xyz_of_lab([lightness * 100.0, a * 255.0 - 128.0, b * 255.0 - 128.0])
    }
}

/// The lattice of a table with so many points, and what is at its nodes. `None` unless there are exactly so many.
fn nodes(points: [u8; INKS], store: &LutStore) -> Option<(Lattice, Vec<[u16; 3]>)> {
    let lattice = Lattice::new(points, MOST_NODES)?;
    let found = match store {
        LutStore::Store8(bytes) => bytes.len(),
        LutStore::Store16(words) => words.len(),
    };
    (found == lattice.nodes() * 3).then(|| (lattice, words(store).as_chunks().0.to_vec()))
}

/// What `lutAToBType` does between its grid and its last curves.
#[derive(Debug)]
struct Mixing {
    curves: [Curve; 3],
    matrix: [[f32; 3]; 3],
    offset: [f32; 3],
}

impl Mixing {
    fn of(&self, colour: [f32; 3]) -> [f32; 3] {
        let colour = each(&self.curves, colour);
        let mut mixed = self.offset;
        mixed.iter_mut().zip(self.matrix).for_each(|(sum, row)| *sum += dot(row, colour));
        mixed
    }
}

/// A curve from 0 to 1, told at even steps and straight between them.
#[derive(Debug)]
struct Curve(Vec<f32>);

impl Curve {
    /// `None` if there are too few steps for a line.
    fn through(words: &[u16]) -> Option<Self> {
        (words.len() > 1).then(|| Self(words.iter().map(|word| f32::from(*word) / f32::from(u16::MAX)).collect()))
    }

    /// `None` for a formula that has no value everywhere. What goes beyond 0 or 1 is cut off. ICC.1:2022, 10.18.
    fn of(curve: &ToneReprCurve) -> Option<Self> {
        if let ToneReprCurve::Lut(words) = curve {
            match words.len() {
                0 => return Some(Self(vec![0.0, 1.0])),
                1 => {}
                _ => return Self::through(words),
            }
        }
        let formula = curve.make_linear_evaluator().ok()?;
        let value = |step| formula.evaluate_value(f32::from(step) / f32::from(CURVE_STEPS));
        let values: Vec<f32> = (0..=CURVE_STEPS).map(value).collect();
        let defined = values.iter().all(|value| value.is_finite());
        defined.then(|| Self(values.into_iter().map(|value| value.clamp(0.0, 1.0)).collect()))
    }

    fn at(&self, number: f32) -> f32 {
        let (below, part) = split(number, self.0.len());
        let (low, high) = (self.0[below], self.0[below + 1]);
        low + (high - low) * part
    }
}

/// Each number by its curve.
fn each<const N: usize>(curves: &[Curve; N], mut numbers: [f32; N]) -> [f32; N] {
    numbers.iter_mut().zip(curves).for_each(|(number, curve)| *number = curve.at(*number));
    numbers
}

/// Numbers of sixteen bits, whatever they were stored in.
fn words(store: &LutStore) -> Vec<u16> {
    match store {
        LutStore::Store8(bytes) => bytes.iter().map(|byte| u16::from(*byte) * 257).collect(),
        LutStore::Store16(words) => words.clone(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a profile has sixteen bits after the point")]
fn narrow(number: f64) -> f32 {
    number as f32
}

/// XYZ relative to white of CIELAB. ISO/CIE 11664-4.
fn xyz_of_lab([lightness, a, b]: [f32; 3]) -> [f32; 3] {
    let y = (lightness + 16.0) / 116.0;
    [y + a / 500.0, y, y - b / 200.0]
        .map(|root| if root > 6.0 / 29.0 { root * root * root } else { 108.0 / 841.0 * (root - 4.0 / 29.0) })
}

#[cfg(test)]
mod tests {
    use moxcms::{Matrix3d, Vector3d};
    use proptest::prelude::*;

    use super::super::profiles::{lut_a_to_b, lut8, lut16, press, profile};
    use super::*;

    fn read(table: &[u8]) -> Option<Table> {
        Table::new(&ColorProfile::new_from_slice(&profile(4, table)).ok()?)
    }

    fn flat(points: u8, level: u16) -> LutDataType {
        let straight = |channels| LutStore::Store16([0, u16::MAX].repeat(channels));
        LutDataType {
            num_input_channels: 4,
            num_output_channels: 3,
            num_clut_grid_points: points,
            matrix: Matrix3d::IDENTITY,
            num_input_table_entries: 2,
            num_output_table_entries: 2,
            input_table: straight(4),
            clut_table: LutStore::Store16(vec![level; 3 * usize::from(points).pow(4)]),
            output_table: straight(3),
            lut_type: LutType::Lut16,
        }
    }

    fn close(found: [f32; 3], wanted: [f32; 3]) -> bool {
        found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 2e-4)
    }

    #[test]
    fn paper_is_white_in_every_kind_of_table() {
        let colours = press([3; 4]);
        assert!(close(read(&lut16(3, &colours)).expect("a table").xyz([0.0; 4]), [1.0; 3]));
        // In eight bits gray is not in the middle of 255, but at 128.
        let paper = read(&lut8(3, &colours)).expect("a table").xyz([0.0; 4]);
        assert!(close(paper, [1.0; 3]), "{paper:?}");
    }

    #[test]
    fn nodes_have_the_colours_of_the_table() {
        // Half of the light is L* 50, a* and b* near to nothing: Y of 0.1842.
        let table = Table::of_one_size(&LutDataType {
            clut_table: LutStore::Store16([0x7f80, 0x8000, 0x8000].repeat(16)),
            ..flat(2, 0)
        });
        let found = table.expect("a table").xyz([1.0, 0.0, 1.0, 0.0]);
        assert!(close(found, [0.184_2; 3]), "{found:?}");
    }

    #[test]
    fn another_shape_than_four_inks_and_three_numbers_is_refused() {
        assert!(Table::of_one_size(&flat(2, 0)).is_some());
        let short = |store: usize| LutStore::Store16(vec![0; store]);
        for (what, lut) in [
            ("three inks", LutDataType { num_input_channels: 3, ..flat(2, 0) }),
            ("four numbers", LutDataType { num_output_channels: 4, ..flat(2, 0) }),
            ("one point", flat(1, 0)),
            ("no point", flat(0, 0)),
            ("more points", LutDataType { num_clut_grid_points: 3, ..flat(2, 0) }),
            ("fewer points", LutDataType { num_clut_grid_points: 2, ..flat(3, 0) }),
            ("too many points", LutDataType { num_clut_grid_points: 34, ..flat(2, 0) }),
            ("most points", LutDataType { num_clut_grid_points: 255, ..flat(2, 0) }),
            ("half of a node", LutDataType { clut_table: short(47), ..flat(2, 0) }),
            ("no nodes", LutDataType { clut_table: LutStore::Store8(Vec::new()), ..flat(2, 0) }),
            ("curves of one", LutDataType { num_input_table_entries: 1, ..flat(2, 0) }),
            ("curves of none", LutDataType { num_input_table_entries: 0, ..flat(2, 0) }),
            ("no curves", LutDataType { input_table: short(0), ..flat(2, 0) }),
            ("half of a curve", LutDataType { input_table: short(7), ..flat(2, 0) }),
            ("five curves", LutDataType { input_table: short(10), ..flat(2, 0) }),
            ("two last curves", LutDataType { output_table: short(4), ..flat(2, 0) }),
        ] {
            assert!(Table::of_one_size(&lut).is_none(), "{what}");
        }
        let mut profile = ColorProfile::new_from_slice(&profile(2, &lut16(2, &press([2; 4])))).expect("a profile");
        assert!(Table::new(&profile).is_some());
        profile.pcs = DataColorSpace::Xyz;
        assert!(Table::new(&profile).is_none(), "to XYZ");
        profile.pcs = DataColorSpace::Lab;
        profile.lut_a_to_b_perceptual = None;
        assert!(Table::new(&profile).is_none(), "no table");
    }

    #[test]
    fn another_shape_of_newer_tables_is_refused() {
        let straight = |curves| vec![ToneReprCurve::Lut(Vec::new()); curves];
        let lut = || LutMultidimensionalType {
            num_input_channels: 4,
            num_output_channels: 3,
            grid_points: *b"\x02\x03\x02\x02\0\0\0\0\0\0\0\0\0\0\0\0",
            clut: Some(LutStore::Store8(vec![9; 72])),
            a_curves: straight(4),
            b_curves: straight(3),
            m_curves: Vec::new(),
            matrix: Matrix3d::IDENTITY,
            bias: Vector3d::default(),
        };
        assert!(Table::of_any_size(&lut()).is_some());
        // The logarithm of nothing, and a number of numbers that no formula has.
        let nowhere = ToneReprCurve::Parametric(vec![-1.0]);
        let unknown = ToneReprCurve::Parametric(vec![1.0, 2.0]);
        for (what, lut) in [
            ("three inks", LutMultidimensionalType { num_input_channels: 3, ..lut() }),
            ("two numbers", LutMultidimensionalType { num_output_channels: 2, ..lut() }),
            ("no lattice", LutMultidimensionalType { clut: None, ..lut() }),
            ("odd size", LutMultidimensionalType { clut: Some(LutStore::Store8(vec![9; 71])), ..lut() }),
            ("other points", LutMultidimensionalType { grid_points: [2; 16], ..lut() }),
            ("all points", LutMultidimensionalType { grid_points: [255; 16], ..lut() }),
            ("three curves", LutMultidimensionalType { a_curves: straight(3), ..lut() }),
            ("four last curves", LutMultidimensionalType { b_curves: straight(4), ..lut() }),
            ("one middle curve", LutMultidimensionalType { m_curves: straight(1), ..lut() }),
            ("no value", LutMultidimensionalType { b_curves: vec![nowhere; 3], ..lut() }),
            ("no formula", LutMultidimensionalType { b_curves: vec![unknown; 3], ..lut() }),
        ] {
            assert!(Table::of_any_size(&lut).is_none(), "{what}");
        }
    }

    #[test]
    fn a_table_that_was_cut_off_is_none() {
        let colours = press([2; 4]);
        for table in [lut8(2, &colours), lut16(2, &colours), lut_a_to_b([2; 4], &colours)] {
            assert!(read(&table).is_some());
            for length in (0..table.len()).step_by(7) {
                assert!(read(&table[..length]).is_none(), "{length} of {}", table.len());
            }
        }
    }

    proptest! {
        #[test]
        fn a_damaged_table_is_none_or_gives_numbers(
            kind in 0_usize..3, at in 0_usize..1_000, byte: u8, inks in prop::array::uniform4(0.0_f32..=1.0),
        ) {
            let colours = press([2; 4]);
            let mut table = [lut8(2, &colours), lut16(2, &colours), lut_a_to_b([2; 4], &colours)][kind].clone();
            let at = at % table.len();
            table[at] = byte;
            if let Some(table) = read(&table) {
                prop_assert!(table.xyz(inks).iter().all(|part| part.is_finite()));
            }
        }

        #[test]
        fn neighbours_differ_little(inks in prop::array::uniform4(0.0_f32..=1.0), ink in 0..INKS) {
            let table = read(&lut_a_to_b([3, 2, 4, 5], &press([3, 2, 4, 5]))).expect("a table");
            let mut neighbour = inks;
            neighbour[ink] = (neighbour[ink] + 1e-3).min(1.0);
            for (one, other) in table.xyz(inks).into_iter().zip(table.xyz(neighbour)) {
                prop_assert!((one - other).abs() < 0.01, "{one} {other}");
            }
        }
    }
}
