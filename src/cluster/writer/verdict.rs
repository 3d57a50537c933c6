//! Keeps the verdict of a rollout with its revision, and what was seen if it is a failure.

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
    /// Keeps a verdict with its revision, unless there is one already, and with a failure as much of what was seen as can be kept,
    /// without values of Secrets.
    pub async fn record_verdict(
        &self,
        app: name::App,
        number: u64,
        end: End,
        evidence: Option<Evidence>,
    ) -> Result<(), Error> {
        let object = object_name(&app, number);
        let found = self.cluster.namespaced::<decode::Revision>(&app.namespace).get(&object).await?;
        let version = found.meta().resource_version.clone();
        // The first verdict stands, and one on an earlier app of the name is none on this one. What cannot be read is not ours to end.
        let Some(row) = found.into_row().filter(|row| row.end.is_none() && row.created <= end.time) else {
            return Ok(());
        };
        if row.form.is_stuck(row.applied) {
            // It is written again under the next number, and then it gets its verdict.
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
        // Refused if anybody wrote meanwhile.
        let metadata = json!({"resourceVersion": version, "annotations": annotations});
        patch_revision(self, &app.namespace, &object, metadata).await
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
}
