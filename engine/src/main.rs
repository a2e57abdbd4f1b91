//! `kvdepot-engine`: the attached inference engine on the command line.

fn main() {}
