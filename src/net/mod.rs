//! Inception V3 and what computes it: the graph, its execution plan, the CPU and the GPU backend.

pub(crate) mod cpu;
pub(crate) mod gpu;
pub mod inception;
pub(crate) mod plan;
pub mod roofline;
