//! OVSDB client, OVN northbound rows, plugging ports into Open vSwitch.

pub mod northbound;
pub mod ovsdb;
