//! The `s3-thumbnail` function: wiring only. The environment is read here and nowhere else.

fn main() {}
