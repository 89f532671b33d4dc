//! Owns the way in: sources are read here and become rows of raw tables. The only room with HTTP.

pub mod prometheus;
pub mod tsdb;
