//! Promise: what a version of the format wrote is read for ever, bit for bit, or refused by its name.
//!
//! The files under `golden/` were written once; they are not to be made anew. A new version adds its own. Version 1 was
//! never released: docs/decisions/0006 says why version 2 replaces it.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use kvdepot_codec::container::Container;
use kvdepot_codec::{Codec, ErrorKind, Isa, Level, Side, verify};

/// A file, and the xxh3-64 of its decoded chunks.
const FILES: [(&str, &[u8], u64); 10] = [
    ("q0_bf16", include_bytes!("golden/v2_q0_bf16.kvd"), 0xf34b_0c7d_6716_1f37),
    ("q0_f16", include_bytes!("golden/v2_q0_f16.kvd"), 0xfbbb_83b4_f00e_c275),
    ("q0_f32", include_bytes!("golden/v2_q0_f32.kvd"), 0xda7b_543f_5e08_7db6),
    ("q1_bf16", include_bytes!("golden/v2_q1_bf16.kvd"), 0xc5a2_e337_e652_2ab6),
    ("q1_f32", include_bytes!("golden/v2_q1_f32.kvd"), 0xb587_27c5_85e0_d81f),
    ("q2_bf16", include_bytes!("golden/v2_q2_bf16.kvd"), 0x3bd5_c8ad_96eb_5a5c),
    ("q2_f16", include_bytes!("golden/v2_q2_f16.kvd"), 0x3454_740a_d588_6818),
    ("q2_f32", include_bytes!("golden/v2_q2_f32.kvd"), 0xc0f9_a5f4_e5e6_1abf),
    ("q3_bf16", include_bytes!("golden/v2_q3_bf16.kvd"), 0x42b9_5dcf_4371_af0f),
    ("q3_f16", include_bytes!("golden/v2_q3_f16.kvd"), 0xb69c_e488_f330_5a77),
];

#[test]
fn version_2_decodes_to_what_it_was_on_every_instruction_set() {
    for (name, bytes, digest) in FILES {
        let container = Container::parse(bytes).unwrap();
        let description = container.description();
        for isa in Isa::available() {
            let mut hash = xxhash_rust::xxh3::Xxh3::new();
            for chunk in 0..2 {
                let segments = container.segments(chunk).map(|(_, bytes)| bytes);
                let num_tokens = description.tokens_of(chunk).len();
                hash.update(Codec::on(isa).decode(description.geometry, num_tokens, segments).unwrap().bytes());
            }
            assert_eq!(hash.digest(), digest, "{name} on {isa}");
        }
    }
}

#[test]
fn version_2_says_what_it_holds() {
    for (name, bytes, _) in FILES {
        let container = Container::parse(bytes).unwrap();
        let description = container.description();
        let (level, dtype) = name.split_once('_').unwrap();
        assert_eq!(description.geometry, common::geometry(2, 2, 40, dtype.parse().unwrap()));
        assert_eq!((description.num_tokens, description.chunk_tokens), (77, 64));
        assert_eq!((description.origin.rope_theta, description.origin.first_position), (50_000.0, 0));
        assert_eq!(description.origin.metadata["tokens"], "1,2,3");
        assert_eq!(description.origin.metadata["note"], "größer");
        let (key, segment) = container.segments(1).next().unwrap();
        let header = verify(segment).unwrap();
        assert_eq!((header.key(), header.key().side, header.num_tokens()), (key, Side::K, 13));
        assert_eq!(header.level(), level.parse::<Level>().unwrap());
    }
}

#[test]
fn version_1_is_refused_by_name() {
    let container = Container::parse(include_bytes!("golden/v1_q0_bf16.kvd")).unwrap();
    let error = container.chunk(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().contains("version 1"), "{error}");
}
