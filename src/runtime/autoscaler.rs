//! The autoscaler as a part of the process: which daemon runs it (`start`), where measurements come from
//! (`sources`), and the loop (`control_loop`).

mod control_loop;
mod sources;
mod start;

pub(super) use self::start::{Args, AutoscalerParts, start};
