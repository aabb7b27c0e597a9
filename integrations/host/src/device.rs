//! The GPU's road: the operands that a call reads go to the device, the call runs, and what it wrote comes back.

mod backward;
mod double;
mod forward;
mod held;

pub(crate) use backward::backward;
pub(crate) use double::double_backward;
pub(crate) use forward::forward;
