#!/usr/bin/env bash
# Trains a network on handwritten digits, forward and backward on the GPU. Arguments go to the example (try --help).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup"

# Release: the CPU baseline that the example is timed against must be fully optimised, or the comparison flatters the GPU.
cargo build --release --package elbow --package elbow-cli --bins --example train_digits
need_adapter "$target/release/elbow"
# As it comes, the network must read 96 % of the held-out digits; with arguments of your own anything goes.
[ $# -gt 0 ] || set -- --floor 96
exec "$target/release/examples/train_digits" "$@"
