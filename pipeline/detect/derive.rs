//! Owns the daily rebuild of rollups and the ledger.
