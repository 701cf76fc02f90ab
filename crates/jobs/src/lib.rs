//! Durable work: workflows, loops, leases, wake-ups
