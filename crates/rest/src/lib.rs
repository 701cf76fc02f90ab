//! The HTTP kit: caller, microversions, paging, route tables, error bodies, policy
