//! The requests that deleted an app, each stored as a Lease in the namespace where gantryd stores its own
//! objects. They cannot be stored in the app's objects, because those are deleted with the app, and nothing
//! of a deleted app may stay in its namespace. Must not know how an app is deleted.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::{debug, warn};

use crate::{
    cluster::{
        client::Objects,
        writer::objects::{META_MANAGER, Writer, to_annotation},
    },
    domain::{
        Error,
        labels::{MANAGED_BY_LABEL, MANAGER},
        name,
        revision::Request,
    },
};

/// The label by which these Leases are listed.
const KEEPS_LABEL: &str = "gantry.dev/keeps";

/// The value of the label.
const DELETION: &str = "deletion";

/// The annotation that stores the deletion: the app, the request and the uid of the Deployment.
const DELETION_ANNOTATION: &str = "gantry.dev/deletion";

/// How long a deletion is remembered at least. The contract promises one hour.
const KEPT_FOR: Duration = Duration::from_hours(2);

/// Page size of the list of expired Leases, and the number of pages read in one round of garbage collection.
const A_PAGE: u32 = 500;
const PAGES: usize = 20;

/// Leases that one round deletes at most, and how many at once. Rounds are short, so a large number of Leases
/// takes several.
const A_ROUND: usize = 200;
const AT_ONCE: usize = 8;

/// A deletion that was requested with a request id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cluster::writer) struct Deletion {
    /// The app's resource name, for example `namespaces/prod/apps/shop`.
    pub(in crate::cluster::writer) app: String,
    #[serde(flatten)]
    pub(in crate::cluster::writer) request: Request,
    /// uid of the Deployment that is deleted. A later Deployment of the same name has another uid.
    pub(in crate::cluster::writer) uid: String,
    pub(in crate::cluster::writer) time: Timestamp,
    /// When the deletion was stored, by the API server's clock.
    #[serde(skip)]
    pub(in crate::cluster::writer) kept: Option<Timestamp>,
}

/// The name of the Lease for this request id and app. Every gantryd computes the same name.
fn object_name(app: &str, id: &str) -> String {
    let digest = Sha256::digest(format!("{app}\n{id}"));
    digest.iter().take(16).fold("gantry-deletion-".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

fn read(lease: &Lease) -> Option<Deletion> {
    let deletion: Deletion =
        serde_json::from_str(lease.metadata.annotations.as_ref()?.get(DELETION_ANNOTATION)?).ok()?;
    Some(Deletion { kept: lease.metadata.creation_timestamp.as_ref().map(|time| time.0), ..deletion })
}

/// Whether the Lease has expired. A Lease without a time or a duration never does.
fn is_over(lease: &Lease, now: Timestamp) -> bool {
    let Some(spec) = &lease.spec else { return false };
    let (Some(since), Some(seconds)) = (&spec.renew_time, spec.lease_duration_seconds) else { return false };
    now.duration_since(since.0).as_secs() > i64::from(seconds)
}

impl Deletion {
    fn to_lease(&self) -> Result<Lease, Error> {
        let labels = [(MANAGED_BY_LABEL, MANAGER), (KEEPS_LABEL, DELETION)];
        let time = MicroTime(self.time);
        Ok(Lease {
            metadata: ObjectMeta {
                name: Some(object_name(&self.app, &self.request.id)),
                labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
                annotations: Some(
                    [(DELETION_ANNOTATION.to_owned(), to_annotation("deletion", self)?)].into(),
                ),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                lease_duration_seconds: i32::try_from(KEPT_FOR.as_secs()).ok(),
                acquire_time: Some(time.clone()),
                renew_time: Some(time),
                ..LeaseSpec::default()
            }),
        })
    }
}

fn leases(writer: &Writer) -> Objects<Lease> {
    writer.cluster.namespaced(&writer.lease_namespace)
}

/// Returns the deletion of this app that was requested with this id, unless it has expired. Returns `None` if
/// gantryd may not read Leases.
pub(in crate::cluster::writer) async fn find_deletion(
    writer: &Writer,
    name: &name::App,
    id: &str,
) -> Result<Option<Deletion>, Error> {
    let lease = look(writer, name, id).await?.filter(|lease| !is_over(lease, Timestamp::now()));
    Ok(lease.as_ref().and_then(read))
}

async fn look(writer: &Writer, name: &name::App, id: &str) -> Result<Option<Lease>, Error> {
    let object = object_name(&name.to_string(), id);
    match leases(writer).get_opt(&object).await {
        Err(error) if is_out_of_reach(&error) => {
            debug!(app = %name, %error, "cannot look for an earlier deletion");
            Ok(None)
        }
        lease => lease,
    }
}

/// Stores a deletion before anything is deleted. Returns the deletion that was stored before under the same
/// id. If it cannot be stored, the deletion goes on, because that is what the caller asked for. Then only a
/// repeat that reaches another gantryd does not find it.
pub(in crate::cluster::writer) async fn record_deletion(
    writer: &Writer,
    name: &name::App,
    deletion: &Deletion,
) -> Result<Option<Deletion>, Error> {
    let lease = deletion.to_lease()?;
    if create(writer, name, &lease).await? {
        return Ok(None);
    }
    match look(writer, name, &deletion.request.id).await? {
        Some(earlier) if is_over(&earlier, deletion.time) => {
            let_go(writer, earlier).await?;
            create(writer, name, &lease).await.map(|_| None)
        }
        earlier => Ok(earlier.as_ref().and_then(read)),
    }
}

/// Returns whether the name was free.
async fn create(writer: &Writer, name: &name::App, lease: &Lease) -> Result<bool, Error> {
    let params = PostParams { field_manager: Some(META_MANAGER.to_owned()), ..PostParams::default() };
    match leases(writer).create(&params, lease).await {
        Err(error) if is_out_of_reach(&error) => {
            warn!(app = %name, %error, "cannot store the request id of a deletion; a repeat after a restart counts as a new request");
            Ok(true)
        }
        created => Ok(created?.is_some()),
    }
}

/// Whether Leases cannot be used here: gantryd lacks the rights, the writes are refused, or the namespace
/// does not exist. That is for the operator to fix, and no reason to fail the call.
fn is_out_of_reach(error: &Error) -> bool {
    matches!(
        error,
        Error::DaemonForbidden { .. }
            | Error::NotAllowed { .. }
            | Error::NotFound { .. }
            | Error::ObjectMissing { .. }
            | Error::Quota { .. }
            | Error::Admission { .. }
            | Error::BeingDeleted { .. }
            | Error::WriteConflict { .. }
    )
}

impl Writer {
    /// Deletes the Leases of deletions that have expired by `now`, a bounded number of them.
    pub async fn collect_garbage(&self, now: Timestamp) -> Result<(), Error> {
        let mut params = ListParams::default().labels(&format!("{KEEPS_LABEL}={DELETION}")).limit(A_PAGE);
        let mut over = Vec::new();
        for _ in 0..PAGES {
            let page = leases(self).list(&params).await?;
            over.extend(page.items.into_iter().filter(|lease| is_over(lease, now)));
            let next = page.metadata.continue_.filter(|token| !token.is_empty());
            if over.len() >= A_ROUND || next.is_none() {
                break;
            }
            params.continue_token = next;
        }
        over.truncate(A_ROUND);
        let all = stream::iter(over).map(|lease| let_go(self, lease)).buffer_unordered(AT_ONCE);
        all.try_collect::<()>().await
    }
}

async fn let_go(writer: &Writer, lease: Lease) -> Result<(), Error> {
    let (object, uid) = (lease.metadata.name.unwrap_or_default(), lease.metadata.uid);
    let preconditions = Some(Preconditions { uid, resource_version: None });
    let params = DeleteParams { preconditions, ..DeleteParams::default() };
    match leases(writer).delete(&object, &params).await {
        // Another gantryd deleted it first, and the deletion was stored again.
        Err(Error::WriteConflict { .. }) => Ok(()),
        deleted => deleted.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_deletion(time: i64) -> Deletion {
        Deletion {
            app: "namespaces/prod/apps/shop".to_owned(),
            request: Request { id: "a".to_owned(), digest: "b".to_owned() },
            uid: "c".to_owned(),
            time: Timestamp::from_second(time).unwrap(),
            kept: None,
        }
    }

    #[test]
    fn what_is_kept_is_read_back_under_a_name_that_every_server_knows() {
        let deletion = mk_deletion(1_800_000_000);
        let lease = deletion.to_lease().unwrap();
        assert_eq!(read(&lease), Some(deletion));
        let name = lease.metadata.name.unwrap();
        assert_eq!(name, object_name("namespaces/prod/apps/shop", "a"));
        assert!(name.len() < 64 && name.starts_with("gantry-deletion-"), "{name}");
        for (app, id) in [("namespaces/prod/apps/shop", "b"), ("namespaces/prod/apps/shop2", "a")] {
            assert_ne!(object_name(app, id), name);
        }
    }

    #[test]
    fn it_is_remembered_for_two_hours_and_what_does_not_say_stays() {
        let lease = mk_deletion(1_800_000_000).to_lease().unwrap();
        let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        assert!(!is_over(&lease, at(7200)) && is_over(&lease, at(7201)));
        // A clock that is behind.
        assert!(!is_over(&lease, at(-100_000)));
        assert!(!is_over(&Lease::default(), at(100_000)));
        assert_eq!(read(&Lease::default()), None);
    }
}
