//! TestCloud and the integration tests
