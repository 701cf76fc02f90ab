//! Tests over HTTP, in process, on a real database.
