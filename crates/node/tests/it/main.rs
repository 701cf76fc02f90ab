//! The agent from outside: over the bus, on the fake hypervisor and on real QEMU.

mod behaviour;
mod crash;
mod fake;
mod host;
mod qemu;
mod switch;
