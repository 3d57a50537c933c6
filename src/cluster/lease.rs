//! Elects the gantryd that runs the autoscaling loop: the one that holds a coordination.k8s.io Lease. Must
//! not know what the holder does.
//!
//! The rules are those of Kubernetes' leader election. A Lease is free if it was not renewed for its
//! duration, measured by the clock of the gantryd that observes it; clocks are never compared. The holder
//! steps down well before that.

use std::{net::SocketAddr, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::client::{Cluster, Objects};
use crate::{
    domain::Error,
    index::{AutoscalerState, Leader},
    metrics::METRICS,
};

/// Name of the Lease.
pub const NAME: &str = "gantry-autoscaler";

/// If the Lease is not renewed for this long, another gantryd takes it.
const DURATION: Duration = Duration::from_secs(10);

/// A holder that could not renew the Lease for this long stops acting. That is before another gantryd starts,
/// whatever the clocks say.
const STEP_DOWN: Duration = Duration::from_secs(7);

/// Interval of renewals and reads, and the time limit of each.
const PERIOD: Duration = Duration::from_secs(2);

/// Where the holder can be called.
const ADDRESS_ANNOTATION: &str = "gantry.dev/address";

const MANAGER: &str = "gantry-lease";

/// One gantryd's part in the election.
#[derive(Clone)]
pub struct Election {
    cluster: Cluster,
    namespace: String,
    /// Where this gantryd listens. Two processes cannot listen at the same place at once.
    place: String,
    identity: String,
    address: String,
    /// Whether it is a candidate.
    stands: bool,
}

/// The Lease as it was last seen.
struct ObservedLease {
    /// Changes with every renewal.
    version: String,
    since: Instant,
}

// === impl Election ===

impl Election {
    /// Creates the election part of a gantryd that listens at this address of this host. `start` differs from
    /// that of every earlier process there. If `stands` is false, it is no candidate and only observes who
    /// holds the Lease.
    pub fn new(
        cluster: Cluster,
        namespace: String,
        host: &str,
        address: SocketAddr,
        start: Timestamp,
        stands: bool,
    ) -> Self {
        let place = format!("{host}/{address}");
        let identity = format!("{place}#{}", start.as_microsecond());
        Self { cluster, namespace, place, identity, address: address.to_string(), stands }
    }

    /// Holds the Lease or waits for it, and reports the leader to `scaling`. Runs until dropped.
    pub async fn run(self, scaling: AutoscalerState) {
        let (mut observed, mut renewed) = (None, None::<Instant>);
        loop {
            let begun = Instant::now();
            // The read must end before the time in which a holder may act.
            let looked = tokio::time::timeout(next_pause(renewed), self.observe(&mut observed)).await;
            let leader = match looked.unwrap_or_else(|_| Err(slow_api())) {
                Ok(leader) => {
                    renewed = (leader == Leader::Local).then_some(begun);
                    leader
                }
                Err(_) if renewed.is_some_and(|at| at.elapsed() < STEP_DOWN) => Leader::Local,
                // A gantryd that is not a candidate also works without the right to read Leases.
                Err(_) if !self.stands => Leader::Off,
                Err(error) => Leader::Unknown(error.to_string()),
            };
            log_change(&scaling.leader(), &leader);
            METRICS.autoscaler_here.set((leader == Leader::Local).into());
            scaling.set_leader(leader, Timestamp::now());
            tokio::time::sleep(next_pause(renewed)).await;
        }
    }

    fn leases(&self) -> Objects<Lease> {
        self.cluster.namespaced(&self.namespace)
    }

    /// Releases the Lease if this gantryd holds it, so that another one does not have to wait.
    pub async fn release(&self) {
        let Ok(Some(lease)) = self.leases().get_opt(NAME).await else { return };
        if holder_of(&lease) == Some(&self.identity) {
            let spec = json!({"holderIdentity": null, "leaseDurationSeconds": 1});
            if let Err(error) = self.write(&lease, spec, Value::Null).await {
                debug!(%error, "cannot release the lease; it will expire");
            }
        }
    }

    async fn observe(&self, observed: &mut Option<ObservedLease>) -> Result<Leader, Error> {
        let Some(lease) = self.leases().get_opt(NAME).await? else {
            return if self.stands { self.create(observed).await } else { Ok(Leader::Off) };
        };
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        if observed.as_ref().is_none_or(|o| o.version != version) {
            *observed = Some(ObservedLease { version, since: Instant::now() });
        }
        let holder = holder_of(&lease);
        // An earlier process that listened at the same place has ended, but the Lease still names it.
        let predecessor = |holder: &str| holder.split('#').next() == Some(&self.place);
        let given_up = observed.as_ref().is_some_and(|o| o.since.elapsed() >= DURATION);
        match holder {
            Some(other) if other != self.identity && !given_up && !predecessor(other) => {
                let annotations = lease.metadata.annotations.as_ref();
                let address =
                    annotations.and_then(|a| a.get(ADDRESS_ANNOTATION)).cloned().unwrap_or_default();
                Ok(Leader::Remote { holder: other.to_owned(), address })
            }
            _ if !self.stands => Ok(Leader::Off),
            _ => {
                let mine = holder == Some(&self.identity);
                match self.take(&lease, mine).await {
                    Ok(written) => {
                        let version = written.metadata.resource_version.unwrap_or_default();
                        *observed = Some(ObservedLease { version, since: Instant::now() });
                        Ok(Leader::Local)
                    }
                    // Another gantryd was faster.
                    Err(Error::WriteConflict { .. }) => Ok(Leader::Unknown(String::new())),
                    Err(error) => Err(error),
                }
            }
        }
    }

    async fn create(&self, observed: &mut Option<ObservedLease>) -> Result<Leader, Error> {
        let now = MicroTime(Timestamp::now());
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                annotations: Some([(ADDRESS_ANNOTATION.to_owned(), self.address.clone())].into()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        };
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let Some(made) = self.leases().create(&params, &lease).await? else {
            return Ok(Leader::Unknown(String::new()));
        };
        let version = made.metadata.resource_version.unwrap_or_default();
        *observed = Some(ObservedLease { version, since: Instant::now() });
        Ok(Leader::Local)
    }

    /// Takes the Lease, or renews it.
    async fn take(&self, lease: &Lease, mine: bool) -> Result<Lease, Error> {
        let now = MicroTime(Timestamp::now());
        let mut spec = json!({"holderIdentity": self.identity, "renewTime": now, "leaseDurationSeconds": DURATION.as_secs()});
        if !mine {
            let before = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or_default();
            spec["acquireTime"] = json!(now);
            spec["leaseTransitions"] = json!(before.saturating_add(1));
        }
        self.write(lease, spec, json!(self.address)).await
    }

    /// Merges into the Lease, over the version that was read.
    async fn write(&self, lease: &Lease, spec: Value, address: Value) -> Result<Lease, Error> {
        let body = json!({"spec": spec,
            "metadata": {"resourceVersion": lease.metadata.resource_version, "annotations": {ADDRESS_ANNOTATION: address}}});
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        self.leases().patch(NAME, &params, &Patch::Merge(body)).await
    }
}

/// The time until the next step: one period, or less if the time in which a holder may act without a renewal
/// ends earlier.
fn next_pause(renewed: Option<Instant>) -> Duration {
    let left = renewed.map_or(PERIOD, |at| STEP_DOWN.saturating_sub(at.elapsed()));
    if left.is_zero() { PERIOD } else { left.min(PERIOD) }
}

fn slow_api() -> Error {
    let waiting_for = "the Kubernetes API server to answer about the lease of the autoscaler".to_owned();
    Error::Deadline { waiting_for, may_have_happened: true }
}

fn holder_of(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

fn log_change(before: &Leader, now: &Leader) {
    match now {
        _ if before == now => {}
        Leader::Local => info!("this gantryd runs the autoscaler"),
        Leader::Remote { holder, .. } => info!(%holder, "another gantryd runs the autoscaler"),
        Leader::Unknown(why) if !why.is_empty() => {
            warn!(%why, "it is not known which gantryd runs the autoscaler; this one does not");
        }
        Leader::Unknown(_) | Leader::Off => {}
    }
}
