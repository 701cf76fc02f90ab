//! Filters and weights.
