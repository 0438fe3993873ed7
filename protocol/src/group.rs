//! Group blobs. Pure.
