//! Reads the values of the Secrets that an app refers to, for one purpose: taking them out of what is kept when it failed. They go
//! nowhere else, and are gone when that is done.

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
    spec::Content,
};

/// How long after the verdict a Secret that cannot be read is tried again, while nothing is kept and nothing undone.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);

/// Those of the app as it is deployed, and as the rollout that failed wanted it: it may have been changed since. None of a Secret that is not
/// there, or that this server may not read: then what is kept is judged by its words alone. If one cannot be read for another reason
/// until some time after the verdict, they are not known, and then nothing that others wrote is kept.
pub(super) async fn read_secret_values(
    writer: &Writer,
    app: &name::App,
    wanted: &Content,
    end: Timestamp,
) -> Result<Secrets, Error> {
    let deployment = writer.get_object(Kind::Deployment, app).await?;
    let deployed = deployment.map(|object| names(&object.data["spec"]["template"])).unwrap_or_default();
    let context = RenderContext { revision: 0, replicas: None, selector: BTreeMap::new(), restarted: None };
    // What cannot be rendered was never applied.
    let wanted = manifest::render_deployment(app, wanted, &context)
        .map(|object| names(&object.manifest["spec"]["template"]));
    let all: BTreeSet<_> = deployed.into_iter().chain(wanted.unwrap_or_default()).collect();
    match try_join_all(all.into_iter().map(|name| read(writer, app, name))).await {
        Ok(all) => Ok(Secrets::new(all.into_iter().flatten())),
        Err(error) if Timestamp::now().duration_since(end) > PATIENCE => {
            warn!(%app, %error, "a Secret of a rollout that failed cannot be read; nothing that others wrote is kept of it");
            Ok(Secrets::unreadable())
        }
        Err(error) => Err(error),
    }
}

/// The Secrets that a template refers to. Of a name that none can have there is nothing to be read.
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
            debug!(%app, %error, "its values cannot be taken out of what is kept");
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}
