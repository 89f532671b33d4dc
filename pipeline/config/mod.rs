//! Owns the configuration file and its resolution into settings.
