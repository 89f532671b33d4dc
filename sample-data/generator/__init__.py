"""The sample fleet: what runs where, what telemetry it leaves, and what is true of it."""
