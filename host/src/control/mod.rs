//! One mechanism for every change.
