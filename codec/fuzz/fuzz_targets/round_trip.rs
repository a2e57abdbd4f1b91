#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kvdepot_codec_fuzz::round_trip(bytes));
