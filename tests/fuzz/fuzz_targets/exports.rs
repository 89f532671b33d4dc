//! Feeds lines of VictoriaMetrics' export.

#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| idleproof_fuzz::exports(data));
