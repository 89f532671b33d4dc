//! Owns the reader of Prometheus TSDB blocks.
