//! Neutron's errors, by their names. Clients match on the names, and people on the texts.

use ferrostack_types::{Error, Kind};
use std::fmt::Display;

/// Something that is not there, or that the caller may not know of.
pub(crate) fn network_not_found(id: impl Display) -> Error {
    Error::not_found(format!("Network {id} could not be found.")).with_code("NetworkNotFound")
}

pub(crate) fn subnet_not_found(id: impl Display) -> Error {
    Error::not_found(format!("Subnet {id} could not be found.")).with_code("SubnetNotFound")
}

pub(crate) fn port_not_found(id: impl Display) -> Error {
    Error::not_found(format!("Port {id} could not be found.")).with_code("PortNotFound")
}

pub(crate) fn router_not_found(id: impl Display) -> Error {
    Error::not_found(format!("Router {id} could not be found")).with_code("RouterNotFound")
}

pub(crate) fn floating_ip_not_found(id: impl Display) -> Error {
    Error::not_found(format!("Floating IP {id} could not be found")).with_code("FloatingIPNotFound")
}

pub(crate) fn group_not_found(id: impl Display) -> Error {
    Error::not_found(format!("Security group {id} does not exist")).with_code("SecurityGroupNotFound")
}

pub(crate) fn rule_not_found(id: impl Display) -> Error {
    Error::not_found(format!("Security group rule {id} does not exist")).with_code("SecurityGroupRuleNotFound")
}

/// 400 from the layer that reads bodies.
pub(crate) fn bad_request(text: impl Into<String>) -> Error {
    Error::invalid(text).with_code("HTTPBadRequest")
}

/// 400: a rule that the values break.
pub(crate) fn invalid_input(text: impl Display) -> Error {
    Error::invalid(format!("Invalid input for operation: {text}.")).with_code("InvalidInput")
}

/// 400: `Bad router request: ...`
pub(crate) fn bad(resource: &str, text: impl Display) -> Error {
    Error::invalid(format!("Bad {resource} request: {text}.")).with_code("BadRequest")
}

/// 400 with a name.
pub(crate) fn invalid(code: &'static str, text: impl Into<String>) -> Error {
    Error::invalid(text).with_code(code)
}

/// 409 with a name.
pub(crate) fn conflict(code: &'static str, text: impl Into<String>) -> Error {
    Error::conflict(text).with_code(code)
}

pub(crate) fn over_quota(resource: &str) -> Error {
    Error::new(Kind::OverQuota, format!("Quota exceeded for resources: ['{resource}'].")).with_code("OverQuota")
}

pub(crate) fn address_in_use(network: impl Display, ip: impl Display) -> Error {
    conflict(
        "IpAddressInUse",
        format!("Unable to complete operation for network {network}. The IP address {ip} is in use."),
    )
}

pub(crate) fn mac_in_use(network: impl Display, mac: impl Display) -> Error {
    conflict(
        "MacAddressInUse",
        format!("Unable to complete operation for network {network}. The mac address {mac} is in use."),
    )
}

pub(crate) fn no_more_addresses(network: impl Display) -> Error {
    conflict("IpAddressGenerationFailure", format!("No more IP addresses available on network {network}."))
}

pub(crate) fn subnet_in_use(subnet: impl Display, reason: impl Display) -> Error {
    conflict("SubnetInUse", format!("Unable to complete operation on subnet {subnet}: {reason}."))
}

pub(crate) fn network_in_use(network: impl Display, reason: impl Display) -> Error {
    conflict("NetworkInUse", format!("Unable to complete operation on network {network}. {reason}."))
}

pub(crate) fn port_in_use(port: impl Display, network: impl Display, device: impl Display) -> Error {
    conflict(
        "PortInUse",
        format!(
            "Unable to complete operation on port {port} for network {network}. Port already has an attached device {device}."
        ),
    )
}
