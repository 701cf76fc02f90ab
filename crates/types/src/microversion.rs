//! Microversions: <https://specs.openstack.org/openstack/api-sig/guidelines/microversion_specification.html>

use std::fmt;

/// An API microversion, `major.minor`. Ordered, so that views can say `if version >= V2_47`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Microversion {
    /// The number before the dot; 1, 2 or 3 in practice.
    pub major: u16,
    /// The number after the dot. `2.10` is later than `2.9`.
    pub minor: u16,
}

impl Microversion {
    /// `Microversion::new(2, 47)`
    pub const fn new(major: u16, minor: u16) -> Microversion {
        Microversion { major, minor }
    }

    /// Reads `2.47`; `None` for anything else, signs, spaces and leading zeros included (as Nova does).
    pub fn parse(text: &str) -> Option<Microversion> {
        let (major, minor) = text.split_once('.')?;
        let number = |part: &str| -> Option<u16> {
            let plain =
                !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
            plain.then(|| part.parse().ok())?
        };
        Some(Microversion { major: number(major)?, minor: number(minor)? })
    }
}

impl fmt::Display for Microversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_by_number_not_by_text() {
        let parse = |t| Microversion::parse(t).unwrap();
        assert!(parse("2.9") < parse("2.10"));
        for bad in ["2", "2.", ".1", "2.01", "v2.1", "2.1 ", "-2.1", "2.1.1", "2.99999"] {
            assert_eq!(Microversion::parse(bad), None, "{bad}");
        }
    }
}
