//! Owns the report's view model and its rendering.
