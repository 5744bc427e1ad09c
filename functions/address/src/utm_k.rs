//! UTM-K (EPSG:5179) to WGS84: the coordinates of the register, brought to those of everybody else's maps.
//!
//! One fixed projection needs about thirty lines; a library for all of them would be most of this function's own code.
//! GRS80 and WGS84 differ by less than a millimetre, so there is no datum shift.
//!
//! Source: L. Krüger's series of 1912 to the fourth order, as in C. F. F. Karney, "Transverse Mercator with an accuracy of a
//! few nanometers", 2011, and K. Kawase in Bulletin of the GSI 59, 2011; EPSG:5179 for the constants.

use crate::address::Point;

/// GRS80: the semi-major axis in metres and the flattening.
const SEMI_MAJOR: f64 = 6_378_137.0;
const FLATTENING: f64 = 1.0 / 298.257_222_101;

/// EPSG:5179: origin in degrees, scale, false easting and northing in metres.
const ORIGIN: (f64, f64) = (38.0, 127.5);
const SCALE: f64 = 0.9996;
const FALSE_ORIGIN: (f64, f64) = (1_000_000.0, 2_000_000.0);

/// The point at `easting` and `northing`, in metres; `None` when it is not in or around Korea.
pub fn to_wgs84(easting: f64, northing: f64) -> Option<Point> {
    let n = FLATTENING / (2.0 - FLATTENING);
    let (n2, n3, n4) = (n.powi(2), n.powi(3), n.powi(4));
    let radius = SCALE * SEMI_MAJOR / (1.0 + n) * (1.0 + n2 / 4.0 + n4 / 64.0);

    // On the central meridian the northing is a series in the latitude.
    let meridian =
        [-3.0 / 2.0 * n + 9.0 / 16.0 * n3, 15.0 / 16.0 * n2 - 15.0 / 32.0 * n4, -35.0 / 48.0 * n3, 315.0 / 512.0 * n4];
    let inverse = [
        n / 2.0 - 2.0 / 3.0 * n2 + 37.0 / 96.0 * n3 - n4 / 360.0,
        n2 / 48.0 + n3 / 15.0 - 437.0 / 1_440.0 * n4,
        17.0 / 480.0 * n3 - 37.0 / 840.0 * n4,
        4_397.0 / 161_280.0 * n4,
    ];
    let latitude = [
        2.0 * n - 2.0 / 3.0 * n2 - 2.0 * n3 + 116.0 / 45.0 * n4,
        7.0 / 3.0 * n2 - 8.0 / 5.0 * n3 - 227.0 / 45.0 * n4,
        56.0 / 15.0 * n3 - 136.0 / 35.0 * n4,
        4_279.0 / 630.0 * n4,
    ];
    let sum = |series: [f64; 4], term: &dyn Fn(f64) -> f64| -> f64 {
        [2.0, 4.0, 6.0, 8.0].into_iter().zip(series).map(|(multiple, factor)| factor * term(multiple)).sum()
    };

    let origin = ORIGIN.0.to_radians();
    let xi = (northing - FALSE_ORIGIN.1) / radius + origin + sum(meridian, &|m| (m * origin).sin());
    let eta = (easting - FALSE_ORIGIN.0) / radius;
    let xi_sphere = xi - sum(inverse, &|m| (m * xi).sin() * (m * eta).cosh());
    let eta_sphere = eta - sum(inverse, &|m| (m * xi).cos() * (m * eta).sinh());
    let conformal = (xi_sphere.sin() / eta_sphere.cosh()).asin();
    let phi = conformal + sum(latitude, &|m| (m * conformal).sin());
    let lambda = (eta_sphere.sinh() / xi_sphere.cos()).atan();
    Point::new(phi.to_degrees(), ORIGIN.1 + lambda.to_degrees())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Points that an independent implementation and a second series agree on to nine decimals.
    const VECTORS: &str = include_str!("../tests/vectors/coordinates.json");

    #[test]
    fn every_vector_is_met_to_a_centimetre() {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        let cases = vectors["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 5);
        for case in cases {
            let number = |name: &str| case[name].as_f64().unwrap();
            let point = to_wgs84(number("x"), number("y")).unwrap();
            let off = (point.latitude - number("lat")).abs().max((point.longitude - number("lon")).abs());
            assert!(off <= 1e-7, "{case}: {point:?}");
        }
    }

    #[test]
    fn what_is_not_around_korea_is_no_point() {
        for (easting, northing) in [(0.0, 0.0), (f64::NAN, 2e6), (1e6, f64::INFINITY), (127.0, 37.5), (1e300, -1e300)] {
            assert_eq!(to_wgs84(easting, northing), None, "{easting} {northing}");
        }
    }

    proptest! {
        #[test]
        fn any_two_numbers_are_judged_without_panic(easting in any::<f64>(), northing in any::<f64>()) {
            if let Some(point) = to_wgs84(easting, northing) {
                prop_assert!((32.0..=40.0).contains(&point.latitude) && (123.0..=133.0).contains(&point.longitude));
            }
        }
    }
}
