//! The agent on a host: converges guests, disks and ports
