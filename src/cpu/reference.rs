//! The judge, in f64: obviously right.
