//! Killing the process at every point of every workflow.
