//! The Kafka wire protocol, as bytes and values and nothing else: no sockets, no clock, no async.
//!
//! * [`messages`] has a table for the request and the response of each API; [`api`] knows their versions.
//! * [`frame`] puts a message into a frame and takes it out again.
//! * [`records`] appends to and walks record batches, [`compression`] is what may be around them.
//! * [`group`] has the blobs inside JoinGroup and SyncGroup.
//! * [`error_code`] names what a broker may answer, and says whether to try again.
//!
//! Decoding trusts nothing: what it allocates is bounded by the bytes it was given. This crate serves `milena` and
//! `milena-mock-broker`; its API follows their needs and may change with any of their releases.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

pub mod api;
#[cfg(feature = "arbitrary")]
#[doc(hidden)]
pub mod arbitrary;
pub mod compression;
pub mod error_code;
pub mod frame;
pub mod group;
pub mod messages;
pub mod primitives;
pub mod records;
mod schema;

pub use api::ApiKey;
pub use error_code::ErrorCode;
