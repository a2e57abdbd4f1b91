//! Compiles the protobuf files with protox, so that no machine needs protoc.

use std::path::Path;

use prost::Message;

const FILES: [&str; 4] = ["common", "depot", "admin", "frames"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = FILES.map(|name| format!("proto/kvdepot/v1/{name}.proto"));
    let descriptors = protox::compile(&files, ["proto"])?;
    let out_dir = std::env::var("OUT_DIR")?;
    std::fs::write(Path::new(&out_dir).join("kvdepot_descriptor.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".kvdepot.v1.SegmentPiece.payload").compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=proto");
    Ok(())
}
