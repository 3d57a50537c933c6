//! What this server does by itself: it carries out what the autoscaler decided, completes what was cut off, keeps verdicts and
//! changes that were made outside Gantry, and deletes what need not be remembered any more.

use std::time::Duration;

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;

use super::{
    deploy, external_revision,
    idempotency::lease::delete_expired,
    objects::Writer,
    revision_owners::repair_owners,
    set_replicas::{complete_hold, create_hold, set_replicas},
    verdict,
};
use crate::{
    cluster::last_log_lines::last_log_lines,
    domain::{
        Error,
        commands::{ScaleOutcome, Scaler, SetReplicas},
        evidence::Evidence,
        name,
        revision::{End, Record},
    },
};

impl Scaler for Writer {
    fn set_replicas(&self, request: SetReplicas) -> BoxFuture<'_, Result<ScaleOutcome, Error>> {
        async move { set_replicas(&self.on_behalf_of(&request.caller), request).await }.boxed()
    }

    fn create_hold(&self, app: name::App, length: Duration) -> BoxFuture<'_, Result<ScaleOutcome, Error>> {
        create_hold(self, app, length).boxed()
    }

    fn complete_hold(&self, app: name::App) -> BoxFuture<'_, Result<ScaleOutcome, Error>> {
        complete_hold(self, app).boxed()
    }
}

impl Writer {
    /// Keeps a verdict with its revision, and what was seen if it is a failure: as much of it as can be kept, without values of Secrets.
    pub async fn record_verdict(
        &self,
        app: name::App,
        number: u64,
        end: End,
        evidence: Option<Evidence>,
    ) -> Result<(), Error> {
        verdict::record_verdict(self, app, number, end, evidence).await
    }

    /// The last lines that a container of a pod wrote, oldest first: of the run that ended last, if it does not run. An empty name means
    /// the container that the pod says is meant.
    pub async fn last_log_lines(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
    ) -> Result<Vec<String>, Error> {
        last_log_lines(&self.cluster, namespace, pod, container).await
    }

    /// Carries out the newest revision of an app, if whoever wrote it did not come to that.
    pub async fn resume_incomplete(&self, app: name::App) -> Result<(), Error> {
        deploy::resume_incomplete(self, app).await
    }

    /// Gives the revisions of an app that were applied and have lost their owner to its Deployment, and takes it from those that
    /// Kubernetes cannot take it from itself, if the Deployment is deleted without what it owns.
    pub async fn repair_revision_owners(&self, app: name::App) -> Result<(), Error> {
        repair_owners(self, app).await
    }

    /// Keeps a change that was made outside Gantry as a revision of this number, unless there is one already.
    pub async fn record_external_change(
        &self,
        app: name::App,
        number: u64,
        record: Record,
    ) -> Result<(), Error> {
        external_revision::record_external_change(self, app, number, record).await
    }

    /// Deletes the ids of deletions that need not be remembered any more at this time.
    pub async fn collect_garbage(&self, now: Timestamp) -> Result<(), Error> {
        delete_expired(self, now).await
    }
}
