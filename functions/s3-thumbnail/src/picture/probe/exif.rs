//! One number out of Exif: how the picture must be turned. Nothing else in there is anybody's business here.

use super::super::geometry::Orientation;

/// The tag of the orientation in the first directory. Exif 2.32, 4.6.4.
const ORIENTATION: u16 = 0x0112;

/// The orientation in `tiff`, a TIFF structure as it lies in Exif data. A damaged one is no reason to refuse the
/// picture, which is then shown as it is stored, as in every browser.
pub(super) fn orientation(tiff: &[u8]) -> Option<Orientation> {
    let little = match tiff.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes = tiff.get(at..)?.first_chunk()?;
        Some(if little { u16::from_le_bytes(*bytes) } else { u16::from_be_bytes(*bytes) })
    };
    let long = |at: usize| {
        let bytes = tiff.get(at..)?.first_chunk()?;
        Some(if little { u32::from_le_bytes(*bytes) } else { u32::from_be_bytes(*bytes) })
    };
    let directory = usize::try_from(long(4)?).ok()?;
    let first = directory.checked_add(2)?;
    let entries = (0..usize::from(short(directory)?)).map(|entry| first.checked_add(entry * 12));
    for entry in entries.map_while(|entry| entry) {
        if short(entry)? == ORIENTATION {
            return Orientation::of(short(entry.checked_add(8)?)?);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_byte_orders_are_read_and_damage_is_survived() {
        let little = b"II*\0\x08\0\0\0\x02\0\x0f\x01\x02\0\x01\0\0\0A\0\0\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0";
        let big = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0";
        assert_eq!(orientation(little), Orientation::of(6));
        assert_eq!(orientation(big), Orientation::of(8));
        for length in 0..little.len() {
            let damaged = orientation(&little[..length]);
            assert!(damaged.is_none() || damaged == Orientation::of(6), "{length}");
        }
        assert_eq!(orientation(b"MM\0*\xff\xff\xff\xff"), None);
        assert_eq!(orientation(b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0"), None);
    }
}
