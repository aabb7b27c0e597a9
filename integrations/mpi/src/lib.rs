//! elbow's fused layers over many processes by MPI. Who runs where, and what happens when one fails, is MPI's; here is what the processes exchange.
//!
//! ```text
//! z = x·Wᵀ + b        y = act(z; α)        dx = dz·W    dW = dzᵀ·x    db = Σ_rows dz
//! ```
//!
//! | | each process has | forward | backward |
//! |---|---|---|---|
//! | [`Column`] | rows of W: columns of y | nothing, or an all-gather of y | an all-reduce of dx |
//! | [`Row`] | columns of W: columns of x | an all-reduce of z, before bias and activation | nothing |
//! | a [`Column`], then a [`Row`] | both | one all-reduce | one all-reduce |
//! | [`Buckets`] | rows of x, all of W | nothing | all-reduces of dW, db, dα while the layers below compute |
//!
//! Operands are slices of the host's memory and [`elbow_host::Host`] computes: on the CPU, or on a GPU, whose road copies the operands up and the results
//! down in every call. wgpu has no pointers to a device's memory, so what MPI sends has to come down and go up anyway.
//!
//! Initialise MPI with `Threading::Funneled` or more ([`mpi::initialize_with_threading`]): layers compute on many threads, and only the one that
//! calls uses MPI. A collective call waits for every process: all call the same layers in the same order.

#![forbid(unsafe_code)]

mod buckets;
mod column;
mod exchange;
mod row;

pub use buckets::Buckets;
pub use column::Column;
pub use elbow_host;
pub use exchange::share;
pub use mpi;
pub use row::{Row, RowGradients, RowInputs};
