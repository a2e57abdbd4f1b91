//! Promise: what a version of the format wrote is read for ever, bit for bit, or refused by its name.
//!
//! The files under `golden/` were written once; they are not to be made anew. A new version adds its own. Version 1 was
//! never released: docs/decisions/0006 says why version 2 replaces it.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use kvdepot_codec::ErrorKind;
use kvdepot_codec::container::Container;

#[test]
fn version_1_is_refused_by_name() {
    let container = Container::parse(include_bytes!("golden/v1_q0_bf16.kvd")).unwrap();
    let error = container.chunk(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().contains("version 1"), "{error}");
}
