//! From inks to sRGB by an ICC profile.
//!
//! The profile's own table says which colour they print ([`Table`]). A profile whose table is of another kind is left to
//! moxcms, by way of ProPhoto RGB, outside of which there is no ink: what lies outside of sRGB is black or white there.
//!
//! A press' black is not as dark as a screen's. Both ends of the scale are matched (black point compensation), as
//! littlecms does for sharp and as Adobe's programs do; moxcms leaves it out for inks, so it is done here. The press'
//! black is full ink with the tint that it has. That is so in littlecms 2.18 to 2.19.1, which sharp 0.35 has; those before
//! took the lightness alone, and those to come will again (its commit 6a5a890, June 2026): then so must we.
//!
//! Pixels do not ask the profile themselves: [`POINTS`] amounts of each ink do, and what is between is found in sRGB. That
//! is less exact by half a mean square, but it is what littlecms does unless it is told otherwise: pictures look as
//! in sharp and in everything else that is made of littlecms. It is also several times faster, above all since only those
//! nodes are asked for that a picture needs, which are few of all.

use std::sync::Arc;

use moxcms::{ColorProfile, Layout, ProfileVersion, RenderingIntent, Transform16BitExecutor, TransformOptions};

use super::lattice::{INKS, Lattice};
use super::table::Table;
use super::{Refusal, TO_SRGB, dot, encoded};

/// How inks become sRGB.
pub(in crate::picture) struct Inks {
    source: Source,
    /// From XYZ relative to the paper to sRGB's light, with full ink as black.
    to_srgb: [[f32; 3]; 3],
    offset: [f32; 3],
    lattice: Lattice,
    /// sRGB at the nodes, 0 to 255, and 1; or 0 as long as nobody has asked for a node's.
    nodes: Vec<[f32; 4]>,
}

/// Who knows what inks look like.
enum Source {
    /// The profile's table.
    Table(Box<Table>),
    /// moxcms, in ProPhoto RGB.
    Transform(Arc<Transform16BitExecutor>),
}

/// Amounts of each ink at which the profile is asked: littlecms' number for four inks (`_cmsReasonableGridpointsByColorspace`).
const POINTS: u8 = 17;

/// The black of every perceptual table since version 4 of ICC profiles, relative to paper. ICC.1:2022, 6.3.4.3.
const PERCEPTUAL_BLACK: f32 = 0.003_48;

/// Nothing that is called black is brighter than this: half of the lightness scale.
const BRIGHTEST_BLACK: f32 = 0.184;

/// Nobody sees a black as near to none as this, all three numbers together. littlecms leaves out what changes nothing
/// by more than 0.002 (`IsEmptyLayer` in its `cmscnvrt.c`), scales and offsets together; of black alone this is it.
const UNSEEN_BLACK: f32 = 0.001_35;

/// ISO 22028-2 without the straight part at the beginning of its curve, as moxcms has it.
const PRO_PHOTO_GAMMA: f32 = 1.8;

/// From its light to XYZ relative to paper, D50.
const PRO_PHOTO_TO_XYZ: [[f32; 3]; 3] = [[0.8273, 0.1402, 0.0325], [0.288, 0.7119, 0.0001], [0.0, 0.0, 1.0]];

impl Inks {
    /// `None` when the profile has no table that anybody here can read.
    pub(super) fn new(profile: &ColorProfile) -> Option<Self> {
        let source = match Table::new(profile) {
            Some(table) => Source::Table(Box::new(table)),
            None => Source::transform(profile)?,
        };
        let by_table = profile.version() < ProfileVersion::V4_0;
        let full = source.xyz([1.0; INKS]).ok()?;
        let seen = full.iter().map(|part| part.abs()).sum::<f32>() > UNSEEN_BLACK;
        let black = full.map(|part| match (by_table, seen) {
            (true, true) => part.min(BRIGHTEST_BLACK),
            (true, false) => 0.0,
            (false, _) => PERCEPTUAL_BLACK,
        });
        let (mut to_srgb, mut offset) = (TO_SRGB, [0.0; 3]);
        for (row, offset) in to_srgb.iter_mut().zip(&mut offset) {
            for (factor, black) in row.iter_mut().zip(black) {
                *factor /= 1.0 - black;
                *offset -= *factor * black;
            }
        }
        let lattice = Lattice::new([POINTS; INKS], usize::MAX)?;
        let nodes = vec![[0.0; 4]; lattice.nodes()];
        Some(Self { source, to_srgb, offset, lattice, nodes })
    }

    /// Three bytes of sRGB for each pixel; 255 is full ink.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "shares of bytes, and they add up to 1"
    )]
    pub(super) fn srgb(&mut self, pixels: &[[u8; INKS]]) -> Result<Vec<u8>, Refusal> {
        let mut bytes = Vec::with_capacity(pixels.len() * 3);
        let part = |ink: &u8| f32::from(*ink) / 255.0;
        for [cyan, magenta, yellow, black] in pixels {
            let mut colour = [0.5; 3];
            for (node, share) in self.lattice.corners([part(cyan), part(magenta), part(yellow), part(black)]) {
                // Nodes at the end of an edge that was not gone along need not be asked for.
                if share > 0.0 {
                    let [red, green, blue, _] = self.node(node)?;
                    colour = [colour[0] + share * red, colour[1] + share * green, colour[2] + share * blue];
                }
            }
            bytes.extend_from_slice(&[colour[0] as u8, colour[1] as u8, colour[2] as u8]);
        }
        Ok(bytes)
    }

    /// What is at a node.
    #[inline]
    fn node(&mut self, node: usize) -> Result<[f32; 4], Refusal> {
        match self.nodes[node] {
            [_, _, _, 0.0] => self.asked(node),
            known => Ok(known),
        }
    }

    #[cold]
    fn asked(&mut self, node: usize) -> Result<[f32; 4], Refusal> {
        let xyz = self.source.xyz(self.lattice.amounts(node))?;
        let mut colour = [1.0; 4];
        for ((part, row), offset) in colour.iter_mut().zip(self.to_srgb).zip(self.offset) {
            *part = encoded(dot(row, xyz) + offset) * 255.0;
        }
        self.nodes[node] = colour;
        Ok(colour)
    }
}

impl Source {
    fn transform(profile: &ColorProfile) -> Option<Self> {
        let options = TransformOptions { rendering_intent: RenderingIntent::Perceptual, ..TransformOptions::default() };
        // Layout has no name for four inks: they go by the name of four channels.
        let wide = ColorProfile::new_pro_photo_rgb();
        let transform = profile.create_transform_16bit(Layout::Rgba, &wide, Layout::Rgb, options).ok()?;
        Some(Self::Transform(transform))
    }

    /// XYZ relative to the paper, D50, of `inks`; 1 is full ink.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1")]
    fn xyz(&self, inks: [f32; INKS]) -> Result<[f32; 3], Refusal> {
        match self {
            Self::Table(table) => Ok(table.xyz(inks)),
            Self::Transform(transform) => {
                let mut wide = [0_u16; 3];
                let inks = inks.map(|ink| (ink * f32::from(u16::MAX) + 0.5) as u16);
                transform.transform(&inks, &mut wide).map_err(Refusal::broken)?;
                let light = wide.map(|part| (f32::from(part) / f32::from(u16::MAX)).powf(PRO_PHOTO_GAMMA));
                Ok(PRO_PHOTO_TO_XYZ.map(|row| dot(row, light)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::profiles::{lut_a_to_b, lut8, lut16, press, profile};
    use super::*;

    fn inks(version: u8, table: &[u8]) -> Inks {
        Inks::new(&ColorProfile::new_from_slice(&profile(version, table)).expect("a profile")).expect("inks")
    }

    const PIXELS: [[u8; 4]; 8] = [
        [0, 0, 0, 0],
        [255, 255, 255, 255],
        [255, 0, 0, 0],
        [10, 200, 30, 0],
        [120, 60, 90, 20],
        [33, 66, 99, 132],
        [200, 30, 180, 77],
        [0, 0, 255, 128],
    ];

    /// littlecms 2.19 on the same profiles, sRGB as it makes it, perceptual, no flags.
    #[test]
    fn colours_are_those_of_littlecms() {
        let lut8 = lut8(3, &press([3; 4]));
        let lut16 = lut16(5, &press([5; 4]));
        let lut_a_to_b = lut_a_to_b([3, 2, 4, 5], &press([3, 2, 4, 5]));
        let wanted_by_lut8 = [
            [255, 255, 255],
            [0, 0, 0],
            [0, 165, 234],
            [227, 137, 154],
            [159, 195, 174],
            [170, 165, 137],
            [103, 153, 86],
            [192, 168, 56],
        ];
        let wanted_by_lut16 = [
            [255, 255, 255],
            [0, 0, 0],
            [0, 165, 234],
            [220, 111, 139],
            [157, 172, 164],
            [129, 114, 99],
            [87, 121, 79],
            [148, 130, 50],
        ];
        let wanted_by_lut_a_to_b = [
            [255, 255, 255],
            [27, 28, 27],
            [0, 167, 244],
            [207, 149, 152],
            [177, 189, 185],
            [129, 123, 109],
            [114, 129, 99],
            [144, 128, 67],
        ];
        for (version, table, wanted) in
            [(2, lut8, wanted_by_lut8), (2, lut16, wanted_by_lut16), (4, lut_a_to_b, wanted_by_lut_a_to_b)]
        {
            let bytes = inks(version, &table).srgb(&PIXELS).expect("colours");
            for (found, wanted) in bytes.as_chunks::<3>().0.iter().zip(wanted) {
                assert!(
                    found.iter().zip(wanted).all(|(found, wanted)| found.abs_diff(wanted) <= 1),
                    "{found:?} {wanted:?}"
                );
            }
        }
    }

    #[test]
    fn a_table_that_is_not_read_here_is_left_to_moxcms() {
        let colours = |points| inks(2, &lut8(points, &press([points; 4])));
        let (here, there) = (colours(33), colours(34));
        assert!(matches!((&here.source, &there.source), (Source::Table(_), Source::Transform(_))));
        let bytes = [here, there].map(|mut inks| inks.srgb(&PIXELS).expect("colours"));
        assert!(bytes[0].iter().zip(&bytes[1]).all(|(here, there)| here.abs_diff(*there) <= 6), "{bytes:?}");
    }

    #[test]
    fn only_nodes_that_are_needed_are_asked_for() {
        let mut inks = inks(2, &lut16(2, &press([2; 4])));
        inks.srgb(&[[0; 4], [255; 4], [8, 0, 0, 0]]).expect("colours");
        assert_eq!(inks.nodes.iter().filter(|node| node[3] > 0.0).count(), 3);
    }

    #[test]
    fn black_is_full_ink_unless_nobody_could_see_it() {
        let mut colours = press([2; 4]);
        let full = colours.len() - 1;
        for (lightness, left_alone) in [(0.0, true), (0.1, false)] {
            // With a tint that would change what is not black.
            colours[full] = [lightness, 0.502, 0.506];
            assert_eq!(inks(2, &lut16(2, &colours)).offset == [0.0; 3], left_alone, "{lightness}");
        }
    }
}
