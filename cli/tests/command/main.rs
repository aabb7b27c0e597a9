//! The `elbow` command from outside: the built binary, files in and files out. Needs an adapter.

mod harness;
mod info;
mod mistakes;
mod results;
mod verify;
