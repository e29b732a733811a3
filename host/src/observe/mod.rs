//! Metrics and access log: listeners to the data path's events.
