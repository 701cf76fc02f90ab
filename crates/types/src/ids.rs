//! One type per kind of id.
//!
//! Two families: *uuid ids* (compute, network, image, placement), `Copy`, printed with hyphens; and *text ids*
//! (identity), because Keystone's ids are 32 hex digits without hyphens or words such as `default`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use uuid::Uuid;

/// The text was not an id of this form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAnId;

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a valid id")
    }
}

impl std::error::Error for NotAnId {}

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Wraps a UUID.
            pub const fn from_uuid(uuid: Uuid) -> $name {
                $name(uuid)
            }

            /// Reads an id from a client. `None` means that no such object can exist: answer 404 (or 400 where the API says so).
            pub fn parse(text: &str) -> Option<$name> {
                Uuid::try_parse(text).ok().map($name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.hyphenated(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0.hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;
            fn from_str(text: &str) -> Result<$name, NotAnId> {
                $name::parse(text).ok_or(NotAnId)
            }
        }
    )+};
}

macro_rules! text_ids {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a text; identity decides which texts exist.
            pub fn new(text: impl AsRef<str>) -> $name {
                $name(Arc::from(text.as_ref()))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = std::convert::Infallible;
            fn from_str(text: &str) -> Result<$name, Self::Err> {
                Ok($name::new(text))
            }
        }
    )+};
}

uuid_ids! {
    /// A Neutron floating IP.
    FloatingIpId
    /// A Glance image.
    ImageId
    /// A Neutron network.
    NetworkId
    /// A compute host's node agent (and its Placement resource provider: they share the id).
    NodeId
    /// A Neutron port.
    PortId
    /// A Placement resource provider.
    ProviderId
    /// A Neutron router.
    RouterId
    /// A Neutron security group.
    SecurityGroupId
    /// A Neutron security group rule.
    SecurityGroupRuleId
    /// A Nova server.
    ServerId
    /// A Neutron subnet.
    SubnetId
    /// A Neutron subnet pool.
    SubnetPoolId
    /// A Cinder volume.
    VolumeId
    /// A durable workflow.
    WorkflowId
}

text_ids! {
    /// A Keystone domain, e.g. `default`.
    DomainId
    /// A Keystone group.
    GroupId
    /// A Keystone project.
    ProjectId
    /// A Keystone role.
    RoleId
    /// A Keystone user.
    UserId
}
