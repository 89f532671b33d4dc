//! Feeds meta.json of blocks.

#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| idleproof_fuzz::meta(data));
