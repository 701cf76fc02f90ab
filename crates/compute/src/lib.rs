//! The Nova API and the scheduler
