//! Compression. Pure.
