//! Tests of the service in process, against a real database.

mod contract;
