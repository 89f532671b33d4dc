//! Owns the documented exit codes.
