//! Client and mock cluster as a whole on one paused, seeded, single-threaded runtime, over pipes in memory: one seed, one run.
#![allow(clippy::disallowed_methods, reason = "the runtime is a paused one; its clock is the simulation's")]
#![allow(clippy::print_stderr, reason = "a failure names its seed")]

mod cancellation;
mod chains;
mod commits;
mod consumer_regressions;
mod coordinators;
mod determinism;
mod faults;
mod group_cancellation;
mod group_regressions;
mod groups;
mod members;
mod metrics;
mod process;
mod producer_regressions;
mod reading;
mod script;
mod stalls;
mod storms;
mod topics;
mod trouble;
mod world;
