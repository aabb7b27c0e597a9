//! The `elbow` command from outside: the built binary, files in and files out. Needs an adapter.

mod bench;
mod files;
mod harness;
mod help;
mod info;
mod mistakes;
mod models;
mod narrow;
mod network;
mod output;
mod paths;
mod plan;
mod results;
mod resume;
mod tiles;
mod train;
mod verify;
