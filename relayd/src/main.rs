//! The relayd program.

fn main() {}
