//! Services still to come. Methods that are not written here answer UNIMPLEMENTED by the generated default,
//! to which [`super::limits`] adds the reason.

use crate::pb::{autoscaler_service_server::AutoscalerService, timeline_service_server::TimelineService};

/// AutoscalerService, to come.
#[derive(Clone, Copy)]
pub(super) struct Autoscaler;

/// TimelineService, to come.
#[derive(Clone, Copy)]
pub(super) struct Timeline;

impl AutoscalerService for Autoscaler {}
impl TimelineService for Timeline {}
