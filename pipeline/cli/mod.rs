//! Owns the command line: the only room that prints.
