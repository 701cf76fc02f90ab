//! The whole cloud with the fake hypervisor.

mod coverage;
mod refusals;
mod servers;
mod tenancy;
