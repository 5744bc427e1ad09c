//! UTM-K (EPSG:5179: Korea 2000, central meridian 127.5° E) to WGS84: the coordinates of the register, brought to those of
//! everybody else's maps.
//!
//! They are converted here because Kakao's `transcoord` does not know that system. Korea 2000 and WGS84 are taken for one
//! another, as everybody does: they differ by less than a metre.

use proj4rs::Proj;
use proj4rs::transform::transform;

use crate::address::Point;

const UTM_K: &str = "+proj=tmerc +lat_0=38 +lon_0=127.5 +k=0.9996 +x_0=1000000 +y_0=2000000 +ellps=GRS80 +units=m";
const GEODETIC: &str = "+proj=longlat +ellps=GRS80";

/// Why there is no point at some coordinates.
#[derive(Debug, thiserror::Error)]
pub enum NotAPlace {
    /// Axes swapped, degrees, another system, or not numbers.
    #[error("`{0}`, `{1}` is not in South Korea in EPSG:5179")]
    Elsewhere(f64, f64),
    /// The projection cannot be computed there.
    #[error("the projection failed")]
    Projection(#[from] proj4rs::errors::Error),
}

/// The point at `easting` and `northing`, in metres.
///
/// # Errors
/// [`NotAPlace`]: such a point is not in South Korea.
pub fn to_wgs84(easting: f64, northing: f64) -> Result<Point, NotAPlace> {
    let mut point = (easting, northing, 0.0);
    transform(&Proj::from_proj_string(UTM_K)?, &Proj::from_proj_string(GEODETIC)?, &mut point)?;
    Point::new(point.1.to_degrees(), point.0.to_degrees()).ok_or(NotAPlace::Elsewhere(easting, northing))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::address::{LATITUDES, LONGITUDES};

    /// Points that PROJ and a series of its own agree on to nine decimals.
    const VECTORS: &str = include_str!("../tests/vectors/coordinates.json");

    /// How finely a [`Point`] tells a place.
    const STEP: f64 = 1e-7;

    fn to_utm_k(latitude: f64, longitude: f64) -> (f64, f64) {
        let mut point = (longitude.to_radians(), latitude.to_radians(), 0.0);
        let (from, to) = (Proj::from_proj_string(GEODETIC).unwrap(), Proj::from_proj_string(UTM_K).unwrap());
        transform(&from, &to, &mut point).unwrap();
        (point.0, point.1)
    }

    #[test]
    fn every_vector_is_met_to_a_centimetre() {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        let cases = vectors["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 5);
        for case in cases {
            let number = |name: &str| case[name].as_f64().unwrap();
            let point = to_wgs84(number("x"), number("y")).unwrap();
            let off = (point.latitude - number("lat")).abs().max((point.longitude - number("lon")).abs());
            assert!(off <= STEP / 2.0 + 1e-9, "{case}: {point:?}");
        }
    }

    #[test]
    fn what_is_not_in_south_korea_is_no_place() {
        for (easting, northing) in [
            (1_952_032.0, 953_901.0),   // Seoul, axes swapped
            (1_688_000.0, 1_146_000.0), // Busan, axes swapped
            (126.978, 37.566),          // degrees
            (198_000.0, 451_000.0),     // EPSG:5186
            (0.0, 0.0),
            (-953_901.0, 1_952_032.0),
            (1e9, 1e9),
            (1e300, -1e300),
            (f64::NAN, 1_952_032.0),
            (953_901.0, f64::INFINITY),
        ] {
            let told = to_wgs84(easting, northing);
            assert!(told.is_err(), "{easting} {northing}: {told:?}");
        }
    }

    proptest! {
        #[test]
        fn there_and_back_is_where_one_was(latitude in LATITUDES, longitude in LONGITUDES) {
            let (easting, northing) = to_utm_k(latitude, longitude);
            // On the border itself rounding decides.
            if let Ok(back) = to_wgs84(easting, northing) {
                let off = (back.latitude - latitude).abs().max((back.longitude - longitude).abs());
                prop_assert!(off <= STEP / 2.0 + 1e-9, "{latitude} {longitude}: {back:?}");
            } else {
                let on = |value: f64, border: f64| (value - border).abs() < STEP;
                let borders = [*LATITUDES.start(), *LATITUDES.end()].map(|border| on(latitude, border));
                let sides = [*LONGITUDES.start(), *LONGITUDES.end()].map(|border| on(longitude, border));
                prop_assert!(borders.into_iter().chain(sides).any(|near| near), "{latitude} {longitude}");
            }
        }

        #[test]
        fn any_two_numbers_are_judged_without_panic(easting in any::<f64>(), northing in any::<f64>()) {
            let _ = to_wgs84(easting, northing);
        }
    }
}
