//! The mock cluster from outside: raw frames over sockets and pipes, faults, the program.

mod actions;
mod assertions;
mod binary;
mod connections;
mod controls;
mod faults;
mod groups;
mod network;
mod raw;
mod replicas;
mod transactions;
