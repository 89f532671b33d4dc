//! Owns what is signed: statement, envelope, keys, verification.
