//! Promise: what version 1 wrote is read for ever, bit for bit.
//!
//! The files under `golden/` were written once, with format version 1; they are not to be made anew. A new version adds
//! its own.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use kvdepot_codec::container::Container;
use kvdepot_codec::{Level, Side, verify};

/// A file, and the xxh3-64 of its decoded chunks.
const FILES: [(&str, &[u8], u64); 6] = [
    ("q0_bf16", include_bytes!("golden/v1_q0_bf16.kvd"), 0xdf0e_e7a0_993a_4dd4),
    ("q0_f16", include_bytes!("golden/v1_q0_f16.kvd"), 0xd55e_3506_2f17_db4f),
    ("q0_f32", include_bytes!("golden/v1_q0_f32.kvd"), 0xb892_765f_0081_ad75),
    ("q2_bf16", include_bytes!("golden/v1_q2_bf16.kvd"), 0x6892_c976_6066_3eae),
    ("q2_f16", include_bytes!("golden/v1_q2_f16.kvd"), 0xa878_911e_1516_cbdd),
    ("q2_f32", include_bytes!("golden/v1_q2_f32.kvd"), 0x9a55_9b47_0912_15cd),
];

#[test]
fn version_1_decodes_to_what_it_was() {
    for (name, bytes, digest) in FILES {
        let container = Container::parse(bytes).unwrap();
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        for chunk in 0..2 {
            hash.update(container.chunk(chunk).unwrap().bytes());
        }
        assert_eq!(hash.digest(), digest, "{name}");
    }
}

#[test]
fn version_1_says_what_it_holds() {
    for (name, bytes, _) in FILES {
        let container = Container::parse(bytes).unwrap();
        let description = container.description();
        let (level, dtype) = name.split_once('_').unwrap();
        assert_eq!(description.geometry, common::geometry(2, 2, 8, dtype.parse().unwrap()));
        assert_eq!((description.num_tokens, description.chunk_tokens), (45, 32));
        assert_eq!((description.origin.rope_theta, description.origin.first_position), (50_000.0, 7));
        assert_eq!(description.origin.metadata["tokens"], "1,2,3");
        assert_eq!(description.origin.metadata["note"], "größer");
        let (key, segment) = container.segments(1).next().unwrap();
        let header = verify(segment).unwrap();
        assert_eq!((header.key(), header.key().side, header.num_tokens()), (key, Side::K, 13));
        assert_eq!(header.level(), level.parse::<Level>().unwrap());
    }
}
