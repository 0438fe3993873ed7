//! The standalone binary. IO.
fn main() {}
