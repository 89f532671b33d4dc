//! Feeds Kubernetes lists.

#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| idleproof_fuzz::lists(data));
