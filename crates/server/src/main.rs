//! The binary `ferrostack`.
fn main() {}
