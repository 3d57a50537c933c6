//! The requests that create no revision (for example scale and hold), stored in an annotation of the
//! Deployment, so that a repeat gets the first answer from any gantryd. Must not know what was asked for.

use jiff::{SignedDuration, Timestamp};
use kube::api::DynamicObject;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::warn;

use crate::{
    cluster::writer::{
        conflict::retry_on_conflict,
        objects::{Writer, resource_version},
    },
    domain::{
        Error, annotations,
        commands::RequestMeta,
        name,
        object::Kind,
        plan::{self, AppState},
        revision::Request,
    },
};

/// The annotation. It has one line for each request, the oldest first.
const REQUESTS_ANNOTATION: &str = "gantry.dev/requests";

/// How long a request is remembered at least. The contract promises one hour.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(2);

/// Requests that are stored at most, however recent they are. A caller that scales every ten seconds by its
/// own metrics makes 360 requests in the promised hour. A line has 103 bytes (an id of 36, a digest of 32, a
/// time of 10, a version and a number with 20 digits together, and 5 separators). So all lines take 41 KB of
/// the 256 KiB that the annotations of an object may have.
const MOST: usize = 400;

/// Bytes of the annotations that are left to those of Gantry that cannot be left out.
const FOR_OTHERS: usize = 4096;

/// Attempts before a write conflict is given up.
const ATTEMPTS: u32 = 20;

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(in crate::cluster::writer) struct Answered {
    #[serde(flatten)]
    pub(in crate::cluster::writer) request: Request,
    /// When it was answered, to the second. Only its age is needed.
    pub(in crate::cluster::writer) time: Timestamp,
    /// resourceVersion of the Deployment in the answer.
    pub(in crate::cluster::writer) version: u64,
    /// Number of the rollout in the answer.
    #[serde(default)]
    pub(in crate::cluster::writer) rollout: u64,
}

/// Returns the earlier answer to an equal request. The same id for another request is an error.
pub(in crate::cluster::writer) fn find_answer(
    object: &DynamicObject,
    meta: &RequestMeta,
) -> Result<Option<Answered>, Error> {
    let Some(request) = &meta.request else { return Ok(None) };
    match read(object).into_iter().find(|answered| answered.request.id == request.id) {
        Some(answered) if answered.request == *request => {
            // The annotation may come from a backup of another cluster whose resourceVersions were higher.
            let version = answered.version.min(resource_version(object));
            Ok(Some(Answered { version, ..answered }))
        }
        Some(_) => Err(Error::RequestIdReused { id: request.id.clone() }),
        None => Ok(None),
    }
}

/// Returns the earlier answer to an equal request that created no revision. If a request with this id created
/// a revision, that is an error.
pub(in crate::cluster::writer) fn check_answered(
    live: &AppState,
    object: &DynamicObject,
    meta: &RequestMeta,
) -> Result<Option<Answered>, Error> {
    match (plan::find_request(meta.request.as_ref(), live)?, &meta.request) {
        (Some(_), Some(request)) => Err(Error::RequestIdReused { id: request.id.clone() }),
        _ => find_answer(object, meta),
    }
}

/// Returns the annotations that store one more answer; `None` for a request without an id. Write them over
/// the version of the object that was read, because otherwise a concurrently stored answer is lost.
pub(in crate::cluster::writer) fn add_answer(
    object: &DynamicObject,
    meta: &RequestMeta,
    version: u64,
    rollout: u64,
) -> Option<Value> {
    let request = meta.request.clone()?;
    let mut all = read(object);
    all.retain(|a| a.request.id != request.id && meta.time.duration_since(a.time) < KEPT_FOR);
    all.push(Answered { request, time: meta.time, version, rollout });
    let mut others = object.metadata.annotations.clone().unwrap_or_default();
    others.remove(REQUESTS_ANNOTATION);
    // A promise about repeats is worth less than a ReplicaSet, so what does not fit is forgotten.
    let mut room = annotations::find_room(&others).saturating_sub(REQUESTS_ANNOTATION.len() + FOR_OTHERS);
    let mut lines = Vec::new();
    for line in all.iter().rev().take(MOST).map(line) {
        let Some(left) = room.checked_sub(line.len() + 1) else { break };
        room = left;
        lines.push(line);
    }
    lines.reverse();
    Some(json!({REQUESTS_ANNOTATION: (!lines.is_empty()).then(|| lines.join("\n"))}))
}

/// Stores an answer in a separate write, after the write that it is about. If that fails, a repeat makes the
/// change again. So the failure is only logged.
pub(in crate::cluster::writer) async fn store_answer(
    writer: &Writer,
    name: &name::App,
    meta: &RequestMeta,
    version: u64,
) {
    if meta.request.is_some()
        && let Err(error) = write(writer, name, meta, version).await
    {
        warn!(app = %name, %error, "cannot store a request id; a repeat makes the change again");
    }
}

async fn write(writer: &Writer, name: &name::App, meta: &RequestMeta, version: u64) -> Result<(), Error> {
    retry_on_conflict(ATTEMPTS, || async {
        let Some(object) = writer.get_object(Kind::Deployment, name).await? else { return Ok(()) };
        let Some(added) = add_answer(&object, meta, version, 0) else { return Ok(()) };
        let metadata = json!({"resourceVersion": object.metadata.resource_version, "annotations": added});
        writer.patch_deployment(name, metadata).await.map(drop)
    })
    .await
}

fn line(answered: &Answered) -> String {
    let Answered { request: Request { id, digest }, time, version, rollout } = answered;
    format!("{id} {digest} {} {version} {rollout}", time.as_second())
}

fn read_line(line: &str) -> Option<Answered> {
    let mut parts = line.split(' ');
    let request = Request { id: parts.next()?.to_owned(), digest: parts.next()?.to_owned() };
    let time = Timestamp::from_second(parts.next()?.parse().ok()?).ok()?;
    let (version, rollout) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(Answered { request, time, version, rollout })
}

fn read(object: &DynamicObject) -> Vec<Answered> {
    let text = object.metadata.annotations.as_ref().and_then(|a| a.get(REQUESTS_ANNOTATION));
    let text = text.map(String::as_str).unwrap_or_default();
    // Earlier versions wrote a JSON list.
    if text.starts_with('[') {
        return serde_json::from_str(text).unwrap_or_default();
    }
    text.lines().filter_map(read_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::caller::Caller;

    const DIGEST: &str = "0123456789abcdef0123456789abcdef";

    fn mk_asked(n: u32, time: i64) -> RequestMeta {
        let id = format!("6f1a2c1e-0000-4000-8000-{n:012}");
        RequestMeta {
            caller: Caller::default(),
            reason: String::new(),
            time: Timestamp::from_second(time).unwrap(),
            request: Some(Request { id, digest: DIGEST.to_owned() }),
            validate_only: false,
            etag: None,
        }
    }

    fn mk_object(text: &str) -> DynamicObject {
        let metadata = json!({"name": "shop", "resourceVersion": "20000000000", "annotations": {REQUESTS_ANNOTATION: text}});
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    fn text_of(annotations: &Value) -> String {
        annotations[REQUESTS_ANNOTATION].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_scaling_each_ten_seconds_is_remembered_for_an_hour_and_takes_little_room() {
        let (mut object, start) = (mk_object(""), 1_800_000_000);
        for n in 0..1000_u32 {
            let meta = mk_asked(n, start + 10 * i64::from(n));
            object = mk_object(&text_of(
                &add_answer(&object, &meta, u64::from(n) + 10_000_000_000, 99_999).unwrap(),
            ));
        }
        let text = &object.metadata.annotations.as_ref().unwrap()[REQUESTS_ANNOTATION];
        assert!(text.len() <= 103 * MOST && text.len() < 42_000, "{}", text.len());
        let first = mk_asked(999 - 360, 0);
        assert_eq!(find_answer(&object, &first).unwrap().unwrap().version, 10_000_000_639);
        assert_eq!(find_answer(&object, &mk_asked(999 - 400, 0)), Ok(None));
    }

    #[test]
    fn what_others_annotated_leaves_less_room_and_is_never_pushed_over_the_limit() {
        let with = |size: usize, text: &str| {
            let mut object = mk_object(text);
            object.metadata.annotations.as_mut().unwrap().insert("other".to_owned(), "x".repeat(size));
            object
        };
        let mut text = String::new();
        for n in 0..400_u32 {
            let object = with(240_000, &text);
            text = text_of(&add_answer(&object, &mk_asked(n, 1_800_000_000 + i64::from(n)), 1, 0).unwrap());
        }
        let full = with(240_000, &text);
        assert!(annotations::find_room(full.metadata.annotations.as_ref().unwrap()) >= FOR_OTHERS);
        assert!(text.lines().count() > 100 && find_answer(&full, &mk_asked(399, 0)).unwrap().is_some());
        let none = add_answer(&with(261_000, &text), &mk_asked(400, 1_800_000_400), 1, 0).unwrap();
        assert_eq!(none, json!({REQUESTS_ANNOTATION: null}));
    }

    #[test]
    fn what_is_older_than_two_hours_goes_and_a_repeat_takes_one_place() {
        let object = mk_object(&text_of(&add_answer(&mk_object(""), &mk_asked(1, 100), 5, 0).unwrap()));
        let again = text_of(&add_answer(&object, &mk_asked(1, 200), 6, 0).unwrap());
        assert_eq!(again.lines().count(), 1);
        let later = text_of(&add_answer(&object, &mk_asked(2, 100 + 2 * 3600), 7, 0).unwrap());
        assert_eq!(later.lines().count(), 1);
        assert_eq!(find_answer(&mk_object(&later), &mk_asked(1, 0)), Ok(None));
    }

    #[test]
    fn an_id_for_something_else_is_an_error() {
        let object = mk_object(&text_of(&add_answer(&mk_object(""), &mk_asked(1, 100), 5, 3).unwrap()));
        let answered = find_answer(&object, &mk_asked(1, 100)).unwrap().unwrap();
        assert_eq!((answered.version, answered.rollout), (5, 3));
        let mut other = mk_asked(1, 100);
        other.request.as_mut().unwrap().digest = "another".to_owned();
        assert!(matches!(find_answer(&object, &other), Err(Error::RequestIdReused { .. })));
    }

    #[test]
    fn a_position_is_none_that_this_cluster_has_not_reached() {
        let object =
            mk_object(&text_of(&add_answer(&mk_object(""), &mk_asked(1, 100), 30_000_000_000, 3).unwrap()));
        assert_eq!(find_answer(&object, &mk_asked(1, 100)).unwrap().unwrap().version, 20_000_000_000);
    }

    #[test]
    fn the_form_of_earlier_versions_is_read_and_written_anew() {
        let id = "6f1a2c1e-0000-4000-8000-000000000001";
        let text = format!(
            r#"[{{"id":"{id}","digest":"{DIGEST}","time":"2027-01-15T08:00:00.25Z","version":12}},
                {{"id":"x","digest":"y","time":"2027-01-15T08:00:01Z","version":13,"rollout":4}}]"#
        );
        let object = mk_object(&text);
        assert_eq!(find_answer(&object, &mk_asked(1, 0)).unwrap().unwrap().version, 12);
        let anew = text_of(&add_answer(&object, &mk_asked(2, 1_800_000_100), 14, 0).unwrap());
        let expected = format!(
            "{id} {DIGEST} 1800000000 12 0\nx y 1800000001 13 4\n{} {DIGEST} 1800000100 14 0",
            mk_asked(2, 0).request.unwrap().id
        );
        assert_eq!(anew, expected);
        assert!(read(&mk_object("not a list")).is_empty());
    }
}
