//! Negotiating a microversion.

use ferrostack_types::{Error, Kind, Microversion, Result};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The microversions that a service serves.
#[derive(Debug, Clone, Copy)]
pub struct MicroversionRange {
    /// The service type in `OpenStack-API-Version`, e.g. `compute`.
    pub service_type: &'static str,
    /// A header of the service's own from before there was a common one, e.g. `X-OpenStack-Nova-API-Version`.
    pub legacy_header: Option<&'static str>,
    /// The lowest, which is also what a request without the header gets.
    pub min: Microversion,
    /// The highest.
    pub max: Microversion,
}

impl MicroversionRange {
    /// What the request asks for.
    pub fn negotiate(&self, headers: &HeaderMap) -> Result<Microversion> {
        let Some(asked) = self.asked(headers) else { return Ok(self.min) };
        if asked == "latest" {
            return Ok(self.max);
        }
        let version = Microversion::parse(&asked).ok_or_else(|| {
            Error::invalid(format!(
                "API Version String {asked} is of invalid format. Must be of format MajorNum.MinorNum."
            ))
        })?;
        if version < self.min || version > self.max {
            return Err(Error::new(
                Kind::NotAcceptable,
                format!(
                    "Version {version} is not supported by the API. Minimum is {} and maximum is {}.",
                    self.min, self.max
                ),
            ));
        }
        Ok(version)
    }

    fn asked(&self, headers: &HeaderMap) -> Option<String> {
        // The common header may name several services: "compute 2.90, volume 3.70".
        for value in headers.get_all("openstack-api-version") {
            for part in value.to_str().ok()?.split(',') {
                let mut words = part.split_whitespace();
                if words.next() == Some(self.service_type) {
                    return Some(words.next().unwrap_or_default().to_ascii_lowercase());
                }
            }
        }
        let legacy = headers.get(self.legacy_header?)?;
        Some(legacy.to_str().ok()?.trim().to_ascii_lowercase())
    }

    /// Says in the answer which version was spoken.
    pub(crate) fn announce(&self, headers: &mut HeaderMap, version: Microversion) {
        let mut insert = |name: &'static str, value: String| {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        insert("openstack-api-version", format!("{} {version}", self.service_type));
        if self.legacy_header.is_some() {
            insert("x-openstack-nova-api-version", version.to_string());
            insert("vary", "OpenStack-API-Version, X-OpenStack-Nova-API-Version".to_owned());
        } else {
            insert("vary", "OpenStack-API-Version".to_owned());
        }
    }
}
