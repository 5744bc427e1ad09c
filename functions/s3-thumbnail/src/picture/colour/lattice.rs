//! Between the colours that a table tells: a lattice over four inks.
//!
//! ICC leaves open how colours between two nodes are found. littlecms, and with it sharp, goes along a straight line for
//! cyan, and through tetrahedra for the other three inks (that is a fact about `Eval4Inputs` in its `cmsintrp.c`;
//! the code here is our own). Neither that nor a straight line for all four is truer, but skies differ by a level of
//! blue, so it is done here as everybody else does it.

/// Inks of a press: cyan, magenta, yellow, black.
pub(super) const INKS: usize = 4;

/// Nodes at even steps of four inks; the last ink changes first.
#[derive(Debug)]
pub(super) struct Lattice {
    /// Nodes along each ink: two at least.
    points: [usize; INKS],
    /// From a node to the next one along each ink.
    steps: [usize; INKS],
}

/// A node, by its place in the table, and its share (0 to 1) of the colour.
pub(super) type Corner = (usize, f32);

/// Where an amount of one ink lies: between the node `below` and the one a `step` above it.
#[derive(Clone, Copy, Debug)]
struct Place {
    below: usize,
    step: usize,
    /// How far from the one to the other, 0 to 1.
    part: f32,
}

impl Lattice {
    /// `None` if there is nothing between the nodes of an ink, or if there are more than `most` nodes.
    pub(super) fn new(points: [u8; INKS], most: usize) -> Option<Self> {
        let points = points.map(usize::from);
        let [_, magenta, yellow, black] = points;
        let lattice = Self { points, steps: [magenta * yellow * black, yellow * black, black, 1] };
        (points.iter().all(|points| *points > 1) && lattice.nodes() <= most).then_some(lattice)
    }

    /// How many nodes there are.
    pub(super) fn nodes(&self) -> usize {
        self.points.iter().product()
    }

    /// The amounts (0 to 1) of the inks at a node.
    #[expect(clippy::cast_precision_loss, reason = "at most 255 points")]
    pub(super) fn amounts(&self, node: usize) -> [f32; INKS] {
        let mut amounts = [0.0; INKS];
        for ((amount, points), step) in amounts.iter_mut().zip(self.points).zip(self.steps) {
            *amount = (node / step % points) as f32 / (points - 1) as f32;
        }
        amounts
    }

    #[inline]
    fn place(&self, ink: usize, amounts: [f32; INKS]) -> Place {
        let (node, part) = split(amounts[ink], self.points[ink]);
        Place { below: node * self.steps[ink], step: self.steps[ink], part }
    }

    /// The nodes around `amounts` (0 to 1) and their shares, which add up to 1: along the edges of a tetrahedron from
    /// the corner below all to the one above all, first along the ink that has gone farthest; and the same one step of
    /// cyan further.
    #[inline]
    pub(super) fn corners(&self, amounts: [f32; INKS]) -> [Corner; 8] {
        let (cyan, others) =
            (self.place(0, amounts), [self.place(1, amounts), self.place(2, amounts), self.place(3, amounts)]);
        let low = cyan.below + others[0].below + others[1].below + others[2].below;
        let [first, second, third] = by_part(others);
        let after_first = low + first.step;
        let after_second = after_first + second.step;
        let high = after_second + third.step;
        let (near, far) = (1.0 - cyan.part, cyan.part);
        [
            (low, near * (1.0 - first.part)),
            (low + cyan.step, far * (1.0 - first.part)),
            (after_first, near * (first.part - second.part)),
            (after_first + cyan.step, far * (first.part - second.part)),
            (after_second, near * (second.part - third.part)),
            (after_second + cyan.step, far * (second.part - third.part)),
            (high, near * third.part),
            (high + cyan.step, far * third.part),
        ]
    }
}

/// The farthest first, by three comparisons.
#[inline]
fn by_part([one, two, three]: [Place; 3]) -> [Place; 3] {
    let ordered = |one: Place, two: Place| if one.part < two.part { (two, one) } else { (one, two) };
    let (one, two) = ordered(one, two);
    let (two, three) = ordered(two, three);
    let (one, two) = ordered(one, two);
    [one, two, three]
}

/// `number` (0 to 1) among two or more `points` at even steps: the last one not above it that has one above it, and how
/// far from the one to the other.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the points")]
#[expect(clippy::cast_precision_loss, reason = "curves and lattices are shorter than 2^16")]
#[inline]
pub(super) fn split(number: f32, points: usize) -> (usize, f32) {
    let place = number.clamp(0.0, 1.0) * (points - 1) as f32;
    let below = usize::from(place as u16).min(points - 2);
    (below, place - below as f32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn points() -> impl Strategy<Value = [u8; INKS]> {
        prop::array::uniform4(2_u8..8)
    }

    fn amounts() -> impl Strategy<Value = [f32; INKS]> {
        prop::array::uniform4(0.0_f32..=1.0)
    }

    fn between(lattice: &Lattice, amounts: [f32; INKS], value: impl Fn([f32; INKS]) -> f32) -> f32 {
        lattice.corners(amounts).into_iter().map(|(node, share)| share * value(lattice.amounts(node))).sum()
    }

    #[test]
    fn cyan_goes_along_a_straight_line_and_the_others_through_tetrahedra() {
        let lattice = Lattice::new([2; INKS], 16).expect("a lattice");
        let share = |amounts, node| -> f32 {
            lattice.corners(amounts).iter().filter(|corner| corner.0 == node).map(|corner| corner.1).sum()
        };
        // Cyan is 8, magenta 4, yellow 2, black 1.
        let amounts = [0.5, 0.75, 0.25, 0.5];
        for (node, wanted) in [(0, 0.125), (4, 0.125), (5, 0.125), (7, 0.125), (8, 0.125), (12, 0.125), (15, 0.125)] {
            assert_eq!(share(amounts, node), wanted, "{node}");
        }
        // Inks that have gone equally far go straight from corner to corner; with cyan they do not.
        assert_eq!((share([0.0, 0.5, 0.5, 0.5], 0), share([0.0, 0.5, 0.5, 0.5], 7)), (0.5, 0.5));
        assert_eq!((share([0.5; INKS], 0), share([0.5; INKS], 7), share([0.5; INKS], 15)), (0.25, 0.25, 0.25));
    }

    #[test]
    fn what_is_no_lattice_is_refused() {
        assert!(Lattice::new([2, 2, 2, 2], 16).is_some());
        assert!(Lattice::new([2, 2, 2, 2], 15).is_none());
        assert!(Lattice::new([1, 9, 9, 9], usize::MAX).is_none());
        assert!(Lattice::new([9, 9, 9, 0], usize::MAX).is_none());
        assert!(Lattice::new([255; INKS], 1 << 20).is_none());
    }

    #[test]
    fn what_is_not_a_number_is_some_colour() {
        let lattice = Lattice::new([9; INKS], 6_561).expect("a lattice");
        for amount in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, 2.0] {
            assert!(lattice.corners([amount; INKS]).iter().all(|corner| corner.0 < lattice.nodes()), "{amount}");
        }
    }

    proptest! {
        #[test]
        fn a_node_has_its_own_colour(points in points(), seed: usize) {
            let lattice = Lattice::new(points, usize::MAX).expect("a lattice");
            let node = seed % lattice.nodes();
            let found: f32 = lattice.corners(lattice.amounts(node)).iter().map(|(at, share)| if *at == node { *share } else { 0.0 }).sum();
            prop_assert!((found - 1.0).abs() < 1e-5, "{found}");
        }

        #[test]
        fn what_is_linear_stays_so(points in points(), amounts in amounts(), factors in prop::array::uniform4(-1.0_f32..1.0)) {
            let lattice = Lattice::new(points, usize::MAX).expect("a lattice");
            let linear = |amounts: [f32; INKS]| -> f32 { amounts.iter().zip(factors).map(|(amount, factor)| amount * factor).sum() };
            prop_assert!((between(&lattice, amounts, linear) - linear(amounts)).abs() < 1e-5);
        }

        #[test]
        fn shares_are_of_nodes_and_add_up_to_one(points in points(), amounts in amounts()) {
            let lattice = Lattice::new(points, usize::MAX).expect("a lattice");
            let corners = lattice.corners(amounts);
            prop_assert!(corners.iter().all(|(node, share)| *node < lattice.nodes() && *share >= 0.0));
            prop_assert!((corners.iter().map(|corner| corner.1).sum::<f32>() - 1.0).abs() < 1e-5);
        }

        #[test]
        fn neighbours_differ_little(points in points(), amounts in amounts(), ink in 0..INKS, table: u64) {
            let lattice = Lattice::new(points, usize::MAX).expect("a lattice");
            // Nodes of any two colours: the steepest there is.
            let steep = |amounts: [f32; INKS]| {
                let bits = amounts.map(f32::to_bits).into_iter().fold(table, |bits, amount| (bits ^ u64::from(amount)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                if bits >> 63 == 1 { 1.0 } else { 0.0 }
            };
            let mut neighbour = amounts;
            neighbour[ink] = (neighbour[ink] + 1e-3).min(1.0);
            let difference = between(&lattice, amounts, steep) - between(&lattice, neighbour, steep);
            prop_assert!(difference.abs() <= 1e-3 * f32::from(points[ink]) + 1e-5, "{difference}");
        }
    }
}
