#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kvdepot_proto_fuzz::segments(bytes));
