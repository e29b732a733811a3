//! A request's way, one file a step.
