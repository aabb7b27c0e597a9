//! The fair opponent: as fast on the CPU as good libraries make it.
