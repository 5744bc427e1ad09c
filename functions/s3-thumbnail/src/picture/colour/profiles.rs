//! Profiles of presses that were never built, for the tests. Written byte by byte: moxcms' own writer puts lengths into
//! `lut8Type` that do not belong there.

#[path = "../../../tests/pictures/profile.rs"]
mod envelope;

pub(super) use envelope::profile;

/// Neither red nor green, neither yellow nor blue: 128 of 255, in sixteen bits too.
const GRAY: f64 = 128.0 / 255.0;

/// The colours of a press at so many amounts of each ink, as parts of 1: inks take their share of the light away, and
/// move it to one side or the other.
pub(super) fn press(points: [u8; 4]) -> Vec<[f64; 3]> {
    let mut colours = Vec::new();
    let part = |at: u8, points: u8| f64::from(at) / f64::from(points - 1);
    for cyan in 0..points[0] {
        for magenta in 0..points[1] {
            for yellow in 0..points[2] {
                for black in 0..points[3] {
                    let inks = [cyan, magenta, yellow, black];
                    let [c, m, y, k] = [0, 1, 2, 3].map(|ink: usize| part(inks[ink], points[ink]));
                    let light = (1.0 - 0.4 * c) * (1.0 - 0.5 * m) * (1.0 - 0.1 * y) * (1.0 - 0.9 * k);
                    let pale = (1.0 - k) / 2.0;
                    let a = GRAY + pale * (0.5 * m * (1.0 - c) - 0.3 * c * (1.0 - m * y));
                    let b = GRAY + pale * (0.6 * y * (1.0 - m * c) - 0.4 * c * (1.0 - y * y));
                    colours.push([light, a, b]);
                }
            }
        }
    }
    colours
}

fn word(part: f64, most: f64) -> [u8; 2] {
    // Rounded and within sixteen bits.
    ((part * most).round() as u16).to_be_bytes()
}

const IDENTITY: [u32; 9] = [1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 16];

/// `lut8Type`: curves of the inks (up and down), `points` of each, and straight curves.
pub(super) fn lut8(points: u8, colours: &[[f64; 3]]) -> Vec<u8> {
    let mut table = b"mft1\0\0\0\0\x04\x03".to_vec();
    table.extend([points, 0]);
    table.extend(IDENTITY.map(u32::to_be_bytes).as_flattened());
    for ink in 0..4 {
        let bent = |byte: u16| if ink % 2 == 0 { byte } else { byte * byte / 255 };
        table.extend((0..256).map(|byte| bent(byte) as u8));
    }
    table.extend(colours.as_flattened().iter().map(|part| (part * 255.0).round() as u8));
    table.extend((0..=255).collect::<Vec<u8>>().repeat(3));
    table
}

/// `lut16Type`: bent curves on both sides.
pub(super) fn lut16(points: u8, colours: &[[f64; 3]]) -> Vec<u8> {
    let mut table = b"mft2\0\0\0\0\x04\x03".to_vec();
    table.extend([points, 0]);
    table.extend(IDENTITY.map(u32::to_be_bytes).as_flattened());
    table.extend([0, 3, 0, 2]);
    let curve = |words: &[u16], times: usize| {
        words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>().repeat(times)
    };
    table.extend(curve(&[0, 28_000, 65_535], 4));
    table.extend(colours.as_flattened().iter().flat_map(|part| word(*part, 65_280.0)));
    table.extend(curve(&[0, 65_535], 3));
    table
}

/// `lutAToBType`: curves by formula and by points, a lattice with `points` of its own for each ink, and a matrix.
pub(super) fn lut_a_to_b(points: [u8; 4], colours: &[[f64; 3]]) -> Vec<u8> {
    // By three points, by two, the power of 1.5, the power of 1.25 in eight bits after the point, and no change. moxcms 0.9
    // takes the size of no change for nothing: behind it no other curve is found.
    let curve: &[u8] = b"curv\0\0\0\0\0\0\0\x03\0\0\x68\0\xff\xff\0\0";
    let straight: &[u8] = b"curv\0\0\0\0\0\0\0\x02\0\0\xff\xff";
    let formula: &[u8] = b"para\0\0\0\0\0\0\0\0\0\x01\x80\0";
    let power: &[u8] = b"curv\0\0\0\0\0\0\0\x01\x01\x40\0\0";
    let same: &[u8] = b"curv\0\0\0\0\0\0\0\0";
    let mut lattice = points.to_vec();
    lattice.resize(16, 0);
    lattice.extend([2, 0, 0, 0]);
    lattice.extend(colours.as_flattened().iter().flat_map(|part| word(*part, 65_535.0)));
    lattice.resize(lattice.len().next_multiple_of(4), 0);
    // A tenth less of darkness, half of a, a tenth of it in b; what is gray stays gray.
    let bent = GRAY.powf(1.25);
    let offsets = [0.1, GRAY - 0.5 * bent, GRAY - 0.1 * bent - 0.9 * GRAY];
    let fixed = |number: f64| ((number * 65_536.0).round() as i32).to_be_bytes();
    let rows = [0.9, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.1, 0.9];
    let matrix: Vec<u8> = rows.into_iter().chain(offsets).flat_map(fixed).collect();
    let middle = [straight, power, straight].concat();
    let parts = [same.repeat(3), matrix, middle, lattice, [curve, formula, power, same].concat()];
    let mut table = b"mAB \0\0\0\0\x04\x03\0\0".to_vec();
    let mut offset = 32;
    for part in &parts {
        table.extend(u32::try_from(offset).expect("short").to_be_bytes());
        offset += part.len();
    }
    table.extend(parts.concat());
    table
}
