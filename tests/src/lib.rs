//! What the behaviour tests stand on: a cluster of either kind, and a proxy that loses answers.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "tests run on real clocks, threads and sockets; the seams are the crates'"
)]
#![allow(clippy::print_stderr, reason = "a person reads it")]

pub mod cargo_metadata;
pub mod checker;
pub mod cluster;
pub mod eventually;
pub mod layering;
pub mod proxy;
pub mod raw;
pub mod real_kafka;
#[cfg(feature = "docker")]
pub mod testcontainers_kafka;

/// The programs of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
