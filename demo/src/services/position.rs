//! Places on the globe, and how far they are from each other.

/// The mean radius of the earth.
const EARTH_RADIUS_KM: f64 = 6371.0;
/// The length of one degree of latitude.
const DEGREE_KM: f64 = 111.0;

/// A place, in degrees north and east.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Position {
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
}

impl Position {
    /// A position whose numbers are degrees of the globe; `None` for everything else, NaN included.
    pub(crate) fn new(latitude: f64, longitude: f64) -> Option<Self> {
        ((-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude))
            .then_some(Self { latitude, longitude })
    }

    /// The distance over the ground by the haversine formula.
    pub(crate) fn distance_km(self, other: Self) -> f64 {
        let (latitude, other_latitude) = (self.latitude.to_radians(), other.latitude.to_radians());
        let half_south_north = (other_latitude - latitude) / 2.0;
        let half_west_east = (other.longitude - self.longitude).to_radians() / 2.0;
        let chord =
            half_south_north.sin().powi(2) + latitude.cos() * other_latitude.cos() * half_west_east.sin().powi(2);
        2.0 * EARTH_RADIUS_KM * chord.sqrt().min(1.0).asin()
    }

    /// The south-west and north-east corners of a box that holds the whole circle; the database looks no farther.
    pub(crate) fn bounding_box(self, radius_km: f64) -> (Self, Self) {
        let south_north = radius_km / DEGREE_KM;
        // A degree of longitude shrinks towards the poles; where it all but vanishes, every longitude is near.
        let shrunk = (self.latitude.abs() + south_north).min(90.0).to_radians().cos();
        let west_east = if shrunk < 0.01 { 360.0 } else { south_north / shrunk };
        (
            Self { latitude: self.latitude - south_north, longitude: self.longitude - west_east },
            Self { latitude: self.latitude + south_north, longitude: self.longitude + west_east },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn berlin_is_255_km_from_hamburg() {
        let berlin = Position::new(52.5200, 13.4050).unwrap();
        let hamburg = Position::new(53.5511, 9.9937).unwrap();
        assert!((berlin.distance_km(hamburg) - 255.0).abs() < 2.0);
    }

    #[test]
    fn the_box_holds_the_circle() {
        let centre = Position::new(60.0, 10.0).unwrap();
        let (south_west, north_east) = centre.bounding_box(50.0);
        for corner in [
            Position { latitude: north_east.latitude, longitude: 10.0 },
            Position { latitude: south_west.latitude, longitude: 10.0 },
            Position { latitude: 60.0, longitude: south_west.longitude },
            Position { latitude: 60.0, longitude: north_east.longitude },
        ] {
            assert!(centre.distance_km(corner) >= 50.0, "{corner:?}");
        }
    }

    #[test]
    fn numbers_off_the_globe_are_no_position() {
        assert_eq!(Position::new(f64::NAN, 0.0), None);
        assert_eq!(Position::new(91.0, 0.0), None);
        assert_eq!(Position::new(0.0, -180.5), None);
    }
}
