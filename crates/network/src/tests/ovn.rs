//! Towards OVN.
