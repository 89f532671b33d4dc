//! Feeds an unstreamed remote read.

#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| idleproof_fuzz::samples(data));
