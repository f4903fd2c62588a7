//! Inception V3: the network, its execution plan, and the CPU and GPU backends.

pub(crate) mod cpu;
pub(crate) mod gpu;
pub mod inception;
pub(crate) mod plan;
pub mod roofline;
