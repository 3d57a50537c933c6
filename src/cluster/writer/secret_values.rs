//! Reads the values of the Secrets that an app refers to. They have one purpose: to be removed from the
//! evidence of a failed rollout. They are used nowhere else and are dropped after that.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;
use tracing::{debug, warn};

use super::objects::Writer;
use crate::domain::{
    Error,
    checks::references::{self, Kind as Referred},
    evidence::Secrets,
    manifest::{self, RenderContext},
    name,
    object::Kind,
    revision::RENDERER,
    spec::Content,
};

/// How long after the verdict the read of a Secret is retried. Until then the verdict is not stored, and so
/// the rollout is not rolled back either.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);

/// Returns the values of all Secrets that the current Deployment and the failed rollout refer to. The two
/// differ if the Deployment was changed since. Secrets that do not exist or that gantryd may not read are
/// skipped. What is stored is then redacted by patterns alone. Another read error is returned until 30 s
/// after the verdict. After that the values count as unknown, and every text in the verdict and its evidence
/// is redacted.
pub(super) async fn read_secret_values(
    writer: &Writer,
    app: &name::App,
    wanted: &Content,
    end: Timestamp,
) -> Result<Secrets, Error> {
    let deployment = writer.get_object(Kind::Deployment, app).await?;
    let deployed = deployment.map(|object| names(&object.data["spec"]["template"])).unwrap_or_default();
    let context = RenderContext {
        revision: 0,
        renderer: RENDERER,
        replicas: None,
        selector: BTreeMap::new(),
        restarted: None,
    };
    // Content that cannot be rendered was never applied.
    let wanted = manifest::render_template(app, wanted, &context).map(|template| names(&template));
    let all: BTreeSet<_> = deployed.into_iter().chain(wanted.unwrap_or_default()).collect();
    match try_join_all(all.into_iter().map(|name| read(writer, app, name))).await {
        Ok(all) => Ok(Secrets::new(all.into_iter().flatten())),
        Err(error) if Timestamp::now().duration_since(end) > PATIENCE => {
            warn!(%app, %error, "cannot read a Secret of a failed rollout; every text in its verdict and evidence is redacted");
            Ok(Secrets::unreadable())
        }
        Err(error) => Err(error),
    }
}

/// The Secrets that a template refers to. Names that no Secret can have are skipped.
fn names(template: &Value) -> Vec<String> {
    let possible = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    let all = references::references_of(template).into_iter().filter(|r| r.kind == Referred::Secret);
    all.map(|r| r.name).filter(|name| possible(name)).collect()
}

async fn read(writer: &Writer, app: &name::App, name: String) -> Result<Vec<Vec<u8>>, Error> {
    match writer.cluster.namespaced::<Secret>(&app.namespace).get_opt(&name).await {
        Ok(secret) => {
            let data = secret.and_then(|secret| secret.data).unwrap_or_default();
            Ok(data.into_values().map(|value| value.0).collect())
        }
        Err(error @ Error::DaemonForbidden { .. }) => {
            debug!(%app, %error, "cannot read a Secret; its values cannot be removed from the evidence");
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}
