//! Durable work on a real database.

mod crash;
mod loops;
mod run;
mod toy;
