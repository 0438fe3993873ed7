//! Records. Pure.
