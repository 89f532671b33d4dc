//! Feeds whole blocks: meta.json, tombstones, index and chunks.

#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| idleproof_fuzz::block(data));
