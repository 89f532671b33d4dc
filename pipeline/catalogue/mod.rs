//! Owns the embedded GPU, instance and model tables and their look-ups.
