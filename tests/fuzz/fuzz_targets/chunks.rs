//! Feeds chunks of all six encodings.

#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| idleproof_fuzz::chunks(data));
