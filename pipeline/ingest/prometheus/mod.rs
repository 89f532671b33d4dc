//! Owns chunk decoding and remote read.
