//! x. Pure.
