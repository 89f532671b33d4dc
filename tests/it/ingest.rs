//! Ingest end to end.
