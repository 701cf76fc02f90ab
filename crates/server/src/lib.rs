//! Configuration, roles, wiring, command line.
