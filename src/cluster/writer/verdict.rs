//! Stores the verdict of a rollout with its revision, and the evidence if the rollout failed.

use kube::Resource;
use serde_json::json;

use super::{
    objects::{Writer, to_annotation},
    revisions::patch_revision,
    secret_values::read_secret_values,
};
use crate::{
    cluster::{
        decode::{self, Decode},
        last_log_lines::last_log_lines,
    },
    domain::{
        Error,
        evidence::Evidence,
        name,
        revision::{End, object_name},
    },
};

impl Writer {
    /// Stores a verdict with its revision, unless there is one already. For a failure it also stores the
    /// evidence, limited in size and without values of Secrets. Returns whether the rollout had no verdict.
    pub async fn record_verdict(
        &self,
        app: name::App,
        number: u64,
        end: End,
        evidence: Option<Evidence>,
    ) -> Result<bool, Error> {
        let object = object_name(&app, number);
        let found = self.cluster.namespaced::<decode::Revision>(&app.namespace).get(&object).await?;
        let version = found.meta().resource_version.clone();
        // The first verdict stands; only that its replicas ran since may be added to a success at zero
        // replicas. A verdict on an earlier app of the same name does not apply to this one. A revision that
        // cannot be read gets no verdict.
        let is_due = |stored: &End| stored.is_untried() && !end.is_untried();
        let row = found.into_row().filter(|row| row.created <= end.time);
        let Some(row) = row.filter(|row| row.end.as_ref().is_none_or(is_due)) else { return Ok(false) };
        let is_first = row.end.is_none();
        if row.form.is_stuck(row.applied) {
            // The revision is written again under the next number, and gets its verdict after that.
            return Err(Error::WriteConflict { object });
        }
        let annotations = match evidence {
            Some(evidence) => {
                let secrets = read_secret_values(self, &app, &row.content, end.time).await?;
                let evidence = evidence.without_secrets(&secrets).bounded();
                let end = evidence.complete(end, &secrets);
                json!({decode::VERDICT_ANNOTATION: to_annotation("verdict", &end)?, decode::EVIDENCE_ANNOTATION: to_annotation("verdict", &evidence)?})
            }
            None => json!({decode::VERDICT_ANNOTATION: to_annotation("verdict", &end)?}),
        };
        // The resourceVersion makes the API server refuse the patch if another client changed the revision in
        // between.
        let metadata = json!({"resourceVersion": version, "annotations": annotations});
        patch_revision(self, &app.namespace, &object, metadata).await?;
        Ok(is_first)
    }

    /// Returns the last lines that a container of a pod logged, oldest first. If the container is not
    /// running, they are from its last run. An empty name means the pod's default container.
    pub async fn last_log_lines(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
    ) -> Result<Vec<String>, Error> {
        last_log_lines(&self.cluster, namespace, pod, container).await
    }
}
