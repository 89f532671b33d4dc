//! Feeds answers of range queries.

#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| idleproof_fuzz::answers(data));
