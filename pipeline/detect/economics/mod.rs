//! Owns prices, the performance estimator and placements.
