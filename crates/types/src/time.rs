//! Points in time, as the databases and the APIs have them.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Microseconds since 1970-01-01T00:00:00Z. Stored as a 64-bit integer in every database, so that
/// ordering and arithmetic do not depend on a driver's idea of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Timestamp {
        Timestamp(micros)
    }

    /// From whole seconds since the epoch.
    pub const fn from_secs(secs: i64) -> Timestamp {
        Timestamp(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The same point with its fraction of a second cut off: Keystone's tokens carry whole seconds.
    pub const fn whole_seconds(self) -> Timestamp {
        Timestamp::from_secs(self.as_secs())
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// `2026-11-22T16:00:00Z`: Nova, Glance, Neutron.
    pub fn to_iso(self) -> String {
        self.civil().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// `2026-11-22T16:00:00.000000Z`: Keystone's tokens and everything that counts in microseconds.
    pub fn to_iso_micros(self) -> String {
        format!("{}.{:06}Z", self.civil().strftime("%Y-%m-%dT%H:%M:%S"), self.0.rem_euclid(1_000_000))
    }

    /// `2026-11-22T16:00:00.000000`: the zone-less form that parts of Nova and Placement print.
    pub fn to_iso_naive_micros(self) -> String {
        format!("{}.{:06}", self.civil().strftime("%Y-%m-%dT%H:%M:%S"), self.0.rem_euclid(1_000_000))
    }

    /// Reads the forms above and any RFC 3339 offset; a missing zone means UTC, as in oslo.utils.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let text = text.trim();
        if let Ok(instant) = text.parse::<jiff::Timestamp>() {
            return Some(Timestamp(instant.as_microsecond()));
        }
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        let instant = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        Some(Timestamp(instant.as_microsecond()))
    }

    fn civil(self) -> jiff::civil::DateTime {
        let instant = jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        jiff::tz::TimeZone::UTC.to_datetime(instant)
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, by: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Timestamp;
    fn sub(self, by: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_reads_openstack_forms() {
        let t = Timestamp::from_micros(1_795_363_200_000_123);
        assert_eq!(t.to_iso_micros(), "2026-11-22T16:00:00.000123Z");
        assert_eq!(t.to_iso(), "2026-11-22T16:00:00Z");
        assert_eq!(t.to_iso_naive_micros(), "2026-11-22T16:00:00.000123");
        assert_eq!(Timestamp::parse(&t.to_iso_micros()), Some(t));
        assert_eq!(Timestamp::parse(&t.to_iso_naive_micros()), Some(t));
        assert_eq!(Timestamp::parse("2026-11-22T17:00:00+01:00"), Some(t.whole_seconds()));
        assert_eq!(Timestamp::parse("yesterday"), None);
    }
}
