//! The Neutron API
