//! The dispatcherd program.

fn main() {}
