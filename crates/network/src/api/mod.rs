//! The HTTP side: bodies in, views out. The decisions are in [`crate::rules`].

pub(crate) mod deployment;
pub(crate) mod floating_ips;
pub(crate) mod kit;
pub(crate) mod networks;
pub(crate) mod ports;
pub(crate) mod quotas;
pub(crate) mod routers;
pub(crate) mod security_group_rules;
pub(crate) mod security_groups;
pub(crate) mod subnets;
pub(crate) mod tags;
pub(crate) mod versions;
