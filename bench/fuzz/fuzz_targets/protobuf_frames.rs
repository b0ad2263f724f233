#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zen_lead_fuzz::protobuf_frames(data));
