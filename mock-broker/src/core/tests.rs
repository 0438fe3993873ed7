//! Tests of the core: frames in, frames out, virtual time. Pure.

mod admin;
mod compaction;
mod connections;
mod consume;
mod crashes;
mod groups;
mod offsets;
mod produce;
mod replication;
mod retention;
mod rig;
mod sessions;
mod topics;
mod transactions;
mod waiting;
mod zombies;
