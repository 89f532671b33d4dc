//! Owns the fold of objects and telemetry into validity intervals.
