//! Turns a request into an intent: checks who manages the app and whether the request is still current, and
//! computes the new content.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    AppState, Intent, StoredRevision,
    ports::with_ports,
    refusal::{PATCH, of_patch},
    render::count_at_start,
};
use crate::{
    autoscale::{Mode, Policy},
    domain::{
        Error,
        check::{Check, Finding, Kind as CheckKind},
        commands::{Deploy, RequestMeta, Restart, Rollback},
        error::{Missing, Violation},
        image::Image,
        labels::APP_LABEL,
        manifest::{self, RenderContext},
        mask::Mask,
        name,
        object::Kind,
        pod_template_patch,
        revision::{Cause, Outcome, RENDERER, Record, Request},
        spec::Content,
    },
};

/// Decides on a deploy.
pub fn decide_deploy(request: &Deploy, live: &AppState) -> Result<Intent, Error> {
    let name = &request.name;
    check_ownership(request, live)?;
    let newest = live.newest();
    let wanted = live.last_requested();
    let merge = |base: Option<&Content>| {
        let merged = request.mask.merge(&base.cloned().unwrap_or_default(), &request.content);
        merged.map_err(|error| Error::Bug(format!("merging content: {error}")))
    };
    let adopted = live.deployment.as_ref().filter(|d| !d.is_ours());
    let mut base = adopted.map(|d| &d.content).or_else(|| wanted.map(|past| &past.record.content));
    if request.meta.etag.is_some() && live.deployment.is_none() && base.is_none() {
        let (kind, name) = (Missing::AppOfEtag, name.to_string());
        return Err(Error::NotFound { kind, name, did_you_mean: None });
    }
    if let Err(mismatch) = check_etag(request.meta.etag.as_deref(), base) {
        // A client that retries an interrupted deploy sends the etag of its first attempt. That attempt may
        // have stored its revision already, so the etag is also compared with the content before it.
        let before = wanted.filter(|past| !past.applied).and_then(|past| earlier(live, past.number));
        let content = before.map(|past| &past.record.content);
        check_etag(request.meta.etag.as_deref(), content).map_err(|_| mismatch.clone())?;
        let merged = merge(content)?;
        if wanted.is_none_or(|past| !past.record.content.is_same_as(&merged)) {
            return Err(mismatch);
        }
        base = content;
    }
    let mut content = merge(base)?;
    keep_container(&mut content, base, live);
    check_images(&content, base)?;
    check_content(&content, base.is_some())?;
    check_patch(&content, base)?;
    if let (Mask::Everything, Some(unmodelled)) =
        (&request.mask, live.deployment.as_ref().map(|d| &d.unmodelled).filter(|u| !u.is_empty()))
    {
        return Err(Error::invalid(
            "update_mask",
            format!(
                "* would drop fields that AppSpec cannot express: {}; name the fields to change, or carry these over in \
                 pod_template_patch",
                unmodelled.join(", ")
            ),
        ));
    }
    // The same content after a failure is a new attempt, because the image may have been pushed meanwhile.
    // The same content over a change made outside Gantry is no repeat either.
    let repeats = newest.filter(|past| {
        // A revision that cannot be marked as applied is written again. So is one that is older than the
        // revision in the Deployment's annotation.
        let newest = past.number == live.highest_number() && !past.is_stuck();
        let goes_on = adopted.is_none() && newest && past.outcome != Some(Outcome::Failed);
        goes_on && wanted.is_some_and(|w| w.number == past.number) && past.record.content.is_same_as(&content)
    });
    let named = request.mask.names("spec.replicas") || request.mask.names("spec");
    let takes_count = named && content.spec.replicas.is_some();
    if let Some(past) = repeats {
        // The content is the same, but this request decides how it is spelled, and what may be taken over
        // from other field managers. The cause is a deploy, also for the replica count, whatever created the
        // revision.
        let record = Record {
            content,
            cause: Cause::Deploy,
            force: request.force,
            adopt: request.adopt,
            takes_count,
            ..past.record.clone()
        };
        return Ok(Intent {
            name: name.clone(),
            number: past.number,
            record,
            notes: Vec::new(),
            is_new: false,
        });
    }
    if let (true, Some(newest), Some(_)) = (request.reject_concurrent, newest, wanted)
        && newest.outcome.is_none()
    {
        return Err(Error::RolloutInProgress { rollout: name.rollout(newest.number) });
    }
    let remarks = had_before(name, live, &content).into_iter().collect();
    let (renderer, restarted) = how_to_render(name, live, &content, request.meta.time);
    let record = Record {
        renderer,
        restarted,
        force: request.force,
        adopt: request.adopt,
        takes_count,
        ..record(Cause::Deploy, content, &request.meta)
    };
    Ok(Intent { notes: remarks, ..new_intent(name, live, record, None) })
}

/// Returns the version of the renderer and the time of the last restart for new content. An app keeps both
/// until its replicas are replaced anyway.
fn how_to_render(
    name: &name::App,
    live: &AppState,
    content: &Content,
    now: Timestamp,
) -> (u32, Option<Timestamp>) {
    if let Some(adopted) = live.deployment.as_ref().filter(|d| !d.is_ours()) {
        // Its pod template may hold the time of an earlier restart by Gantry.
        return (RENDERER, adopted.restarted);
    }
    let Some(wanted) = live.last_requested() else { return (RENDERER, None) };
    let Record { renderer, restarted, content: ref was, .. } = wanted.record;
    let render = |content| template(name, live, content, renderer, restarted);
    if render(was) != render(content) {
        return (RENDERER, restarted);
    }
    // The replicas of a failed attempt may wait for their next try for minutes. New ones try at once.
    let failed = wanted.outcome == Some(Outcome::Failed) && wanted.number == live.newest_number();
    let ready = live.deployment.as_ref().is_some_and(|d| d.all_ready);
    if failed && !ready { (RENDERER, Some(now)) } else { (renderer, restarted) }
}

/// Returns a check that names the earlier rollout with the same content, if there is one. The content of the
/// current rollout counts only if that failed.
fn had_before(name: &name::App, live: &AppState, content: &Content) -> Option<Check> {
    let wanted = live.last_requested()?;
    let etag = content.etag();
    let same = |past: &&StoredRevision| past.record.content.etag() == etag;
    if wanted.record.content.etag() == etag {
        let failed = wanted.outcome == Some(Outcome::Failed) && wanted.number == live.newest_number();
        let rollout = name.rollout(wanted.number);
        let message = format!("This is the content of {rollout}, which failed; it is tried again.");
        return failed.then(|| Check::new(CheckKind::History, Finding::Warn, message));
    }
    let past = live.revisions.iter().rev().filter(|past| past.record.cause != Cause::External).find(same)?;
    let (finding, ended) = match past.outcome {
        Some(Outcome::Failed) => (Finding::Warn, ", which failed"),
        Some(Outcome::Succeeded) if past.untried => {
            (Finding::Pass, ", which succeeded at 0 replicas, so nothing has run it yet")
        }
        Some(Outcome::Succeeded) => (Finding::Pass, ", which succeeded"),
        Some(Outcome::Superseded) | None => (Finding::Pass, ""),
    };
    let message = format!("This is the content of {}{ended}.", name.rollout(past.number));
    Some(Check::new(CheckKind::History, finding, message))
}

/// Returns the same deploy as a new intent with the next number.
pub fn as_new_rollout(intent: &Intent, live: &AppState, meta: &RequestMeta) -> Intent {
    let Record { renderer, restarted, force, adopt, takes_count, ref content, .. } = intent.record;
    let kept = record(Cause::Deploy, content.clone(), meta);
    let record = Record { renderer, restarted, force, adopt, takes_count, ..kept };
    Intent { notes: intent.notes.clone(), ..new_intent(&intent.name, live, record, None) }
}

/// Decides on a restart of an app that Gantry manages.
pub fn decide_restart(request: &Restart, live: &AppState) -> Result<Intent, Error> {
    let deployment = check_managed(&request.name, live)?;
    let wanted = live.last_requested().ok_or_else(|| Error::no_app(&request.name))?;
    check_etag(request.meta.etag.as_deref(), Some(&wanted.record.content))?;
    if deployment.paused {
        return Err(Error::RolloutPaused { app: request.name.to_string() });
    }
    let record = Record {
        restarted: Some(request.meta.time),
        ..record(Cause::Restart, wanted.record.content.clone(), &request.meta)
    };
    Ok(new_intent(&request.name, live, record, None))
}

/// Decides on a rollback. `None` if the app already has what it would bring back.
pub fn decide_rollback(request: &Rollback, live: &AppState) -> Result<Option<Intent>, Error> {
    let name = &request.name;
    check_managed(name, live)?;
    let wanted = live.last_requested().ok_or_else(|| Error::no_app(name))?;
    check_etag(request.meta.etag.as_deref(), Some(&wanted.record.content))?;
    let newest = live.newest().map_or(wanted.number, |past| past.number);
    let runs = live.newest().unwrap_or(wanted);
    if request.failed.is_some_and(|failed| failed != newest) {
        // A later change must not be undone.
        return Ok(None);
    }
    let source = match request.to {
        Some(number) => live.revisions.iter().find(|past| past.number == number).ok_or_else(|| {
            Error::NotFound { kind: Missing::Rollout, name: name.rollout(number), did_you_mean: None }
        })?,
        None => live
            .revisions
            .iter()
            .rev()
            .filter(|past| past.number != newest && past.is_good())
            .find(|past| !is_same(past, runs))
            .ok_or_else(|| Error::NoEarlierRollout { app: name.to_string() })?,
    };
    let mut remarks = Vec::new();
    let brings = policy_to_bring(request, source.number, live).filter(|policy| {
        let against = live.other_autoscaler.as_ref().filter(|_| policy.owns_count(request.meta.time));
        // An external autoscaler added since then keeps control of the count.
        if let Some(autoscaler) = against {
            let message = format!(
                "The autoscaler's earlier policy is not restored, because {autoscaler} decides the count."
            );
            remarks.push(Check::new(CheckKind::Autoscaler, Finding::Warn, message));
        }
        against.is_none()
    });
    if let Some(policy) = &brings {
        let now = live.policy();
        remarks.push(policy_check(&name.rollout(source.number), &now, policy, request.meta.time));
    }
    let same = is_same(source, runs) && runs.outcome != Some(Outcome::Failed);
    if source.number == newest || (same && brings.is_none()) {
        return Ok(None);
    }
    if source.outcome == Some(Outcome::Failed) {
        let message = format!(
            "{} failed when it was rolled out; `gantry rollouts` shows why.",
            name.rollout(source.number)
        );
        remarks.push(Check::new(CheckKind::History, Finding::Warn, message));
    }
    if source.untried {
        let message =
            format!("{} succeeded at 0 replicas, so nothing has run it yet.", name.rollout(source.number));
        remarks.push(Check::new(CheckKind::History, Finding::Warn, message));
    }
    let cause = if request.failed.is_some() { Cause::AutoRollback } else { Cause::Rollback };
    // A rollback never restores the replica count, because it may have been changed for good reasons since.
    let mut content = source.record.content.clone();
    content.spec.replicas = wanted.record.content.spec.replicas;
    let record = Record {
        // A rollout that Gantry did not render has no version.
        renderer: if source.record.cause == Cause::External { RENDERER } else { source.record.renderer },
        restarted: source.record.restarted,
        source: Some(source.number),
        force: request.force,
        ..record(cause, content, &request.meta)
    };
    Ok(Some(Intent { notes: remarks, ..new_intent(name, live, record, brings) }))
}

/// Returns the policy that a rollback sets, if it differs from the one in force. If the mode changes, it acts
/// for the caller of the rollback from then on, as with any other change of the mode.
fn policy_to_bring(request: &Rollback, source: u64, live: &AppState) -> Option<Policy> {
    let (then, now) = (live.policy_of(source).filter(|_| !request.keep_autoscaler)?, live.policy());
    let acts_for =
        if then.mode_at(request.meta.time) == now.mode { &now.acts_for } else { &request.meta.caller.user };
    let then = Policy { acts_for: acts_for.clone(), ..then.at_time(request.meta.time) };
    (then != now).then_some(then)
}

/// Says what a rollback does to the autoscaler, which a caller who thinks of the content alone does not
/// expect.
fn policy_check(source: &str, now: &Policy, then: &Policy, time: Timestamp) -> Check {
    let (mode, earlier) = (now.mode_at(time), then.mode_at(time));
    let remedy = "Set keep_autoscaler to leave it unchanged.";
    let (result, message) = match (mode, earlier) {
        _ if mode == earlier => {
            (Finding::Pass, format!("The autoscaler's policy becomes that of {source} again. {remedy}"))
        }
        (_, Mode::Off) => {
            let mode = mode.as_str();
            (
                Finding::Warn,
                format!("The autoscaler, now {mode}, is switched off, as it was at {source}. {remedy}"),
            )
        }
        _ => {
            let (mode, earlier) = (mode.as_str(), earlier.as_str());
            let message = format!(
                "The autoscaler's mode becomes {earlier} again, as it was at {source}; now it is {mode}. {remedy}"
            );
            (Finding::Warn, message)
        }
    };
    Check::new(CheckKind::Autoscaler, result, message)
}

/// Returns the intent of the newest revision, for the daemon that resumes it.
pub fn intent_of(name: &name::App, past: &StoredRevision) -> Intent {
    Intent {
        name: name.clone(),
        number: past.number,
        record: past.record.clone(),
        notes: Vec::new(),
        is_new: false,
    }
}

/// Returns whether a later change was already applied. Fails if the Deployment is being deleted, or if it
/// `existed` when the intent was decided and is gone now: otherwise the app would be recreated after a caller
/// had deleted it.
pub fn is_superseded(intent: &Intent, existed: bool, live: &AppState) -> Result<bool, Error> {
    match &live.deployment {
        Some(deployment) if !deployment.deleting => {
            Ok(deployment.is_ours() && deployment.revision.is_some_and(|applied| applied > intent.number))
        }
        None if !existed => Ok(false),
        _ => Err(Error::BeingDeleted { what: intent.name.to_string() }),
    }
}

/// Returns the revision that an earlier, equal request wrote. The same id for a different request is an
/// error.
pub fn find_request<'a>(
    request: Option<&Request>,
    live: &'a AppState,
) -> Result<Option<&'a StoredRevision>, Error> {
    let Some(request) = request else { return Ok(None) };
    let same_id = |past: &&StoredRevision| past.record.request.as_ref().is_some_and(|r| r.id == request.id);
    match live.revisions.iter().rev().find(same_id) {
        Some(past) if past.record.request.as_ref() != Some(request) => {
            Err(Error::RequestIdReused { id: request.id.clone() })
        }
        found => Ok(found),
    }
}

/// Returns an error if the etag is not that of the current content. Callers check first that the app exists.
pub fn check_etag(expected: Option<&str>, content: Option<&Content>) -> Result<(), Error> {
    let Some(expected) = expected else { return Ok(()) };
    if content.is_some_and(|content| content.has_etag(expected)) {
        return Ok(());
    }
    Err(Error::EtagMismatch { etag: content.map(Content::etag).unwrap_or_default() })
}

/// Returns the pod template of the content. `None` if it cannot be rendered, which is reported when the
/// objects are rendered.
fn template(
    name: &name::App,
    live: &AppState,
    content: &Content,
    renderer: u32,
    restarted: Option<Timestamp>,
) -> Option<Value> {
    let context =
        RenderContext { revision: 0, renderer, replicas: None, selector: live.selector(name), restarted };
    manifest::render_template(name, content, &context).ok()
}

fn is_same(a: &StoredRevision, b: &StoredRevision) -> bool {
    a.record.content.etag() == b.record.content.etag() && b.record.cause != Cause::External
        || a.number == b.number
}

fn earlier(live: &AppState, than: u64) -> Option<&StoredRevision> {
    live.revisions.iter().rev().find(|past| past.number < than && past.record.cause != Cause::External)
}

fn record(cause: Cause, content: Content, meta: &RequestMeta) -> Record {
    Record {
        request: meta.request.clone(),
        ..Record::new(cause, content, meta.caller.user.clone(), meta.reason.clone(), meta.time)
    }
}

fn new_intent(name: &name::App, live: &AppState, record: Record, brings: Option<Policy>) -> Intent {
    let record = with_ports(record.under(live.policy(), brings), live);
    let number = live.highest_number() + 1;
    let mut intent = Intent { name: name.clone(), number, record, notes: Vec::new(), is_new: true };
    intent.record.count = count_at_start(&intent, live);
    intent
}

/// Returns the intent of a stuck revision under the next number and with the present time, so that its
/// content is written again.
pub fn rewrite_stuck(name: &name::App, past: &StoredRevision, live: &AppState, now: Timestamp) -> Intent {
    let record = with_ports(Record { time: now, ..past.record.clone() }, live);
    Intent { number: live.highest_number() + 1, record, is_new: true, ..intent_of(name, past) }
}

/// Preserves the container name of an adopted app, also under a mask that clears it, because fields that
/// `AppSpec` cannot express belong to that container. An adopted Deployment is recognized by its selector: it
/// lacks Gantry's label, and a selector never changes.
fn keep_container(content: &mut Content, base: Option<&Content>, live: &AppState) {
    let adopted = live.deployment.as_ref().is_some_and(|d| !d.selector.contains_key(APP_LABEL));
    if let Some(base) = base.filter(|_| adopted && content.spec.container.is_empty()) {
        content.spec.container.clone_from(&base.spec.container);
    }
}

/// Returns an error for each image that the request brings and that no kubelet accepts. An image that the app
/// has already is left alone, so that its other fields can be changed.
fn check_images(content: &Content, base: Option<&Content>) -> Result<(), Error> {
    let had: Vec<_> = base.into_iter().flat_map(named_images).map(|(_, image)| image).collect();
    let new =
        named_images(content).into_iter().filter(|(_, image)| !image.is_empty() && !had.contains(image));
    let wrong: Vec<_> = new
        .filter_map(|(field, image)| {
            let why = Image::parse(&image).err()?;
            let description = format!(
                "{image:?} is not a valid image name: {why}; expected one such as registry.example/team/web:1.2"
            );
            Some(Violation { field, description })
        })
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(Error::Invalid(wrong)) }
}

/// Returns the images of the content, each with its field.
fn named_images(content: &Content) -> Vec<(String, String)> {
    let mut images = vec![("app.spec.image".to_owned(), content.spec.image.clone())];
    let Some(patch) = &content.spec.pod_template_patch else { return images };
    for (list, field) in
        [("initContainers", "/image"), ("containers", "/image"), ("volumes", "/image/reference")]
    {
        let entries = patch["spec"][list].as_array().into_iter().flatten();
        images.extend(entries.enumerate().filter_map(|(i, entry)| {
            let image = entry.pointer(field)?.as_str()?;
            Some((format!("{PATCH}.spec.{list}[{i}]{}", field.replace('/', ".")), image.to_owned()))
        }));
    }
    images
}

/// Returns an error for a patch in which two entries of a list have one key, unless the app has that patch.
fn check_patch(content: &Content, base: Option<&Content>) -> Result<(), Error> {
    let patch = content.spec.pod_template_patch.as_ref();
    let had = base.and_then(|base| base.spec.pod_template_patch.as_ref());
    match patch.filter(|patch| Some(*patch) != had).and_then(pod_template_patch::find_fault) {
        Some((path, fault)) => Err(Error::invalid(of_patch(&path), fault)),
        None => Ok(()),
    }
}

fn check_content(content: &Content, exists: bool) -> Result<(), Error> {
    if content.spec.image.is_empty() {
        let said = if exists { "cannot be cleared" } else { "is required for a new app" };
        return Err(Error::invalid(
            "app.spec.image",
            format!("{said}; an image looks like registry/name:tag"),
        ));
    }
    if content.spec.resources.as_ref().is_some_and(|r| r.requests.is_empty() && r.limits.is_empty()) {
        return Err(Error::invalid(
            "app.spec.resources",
            "is set but empty; leave it out, or give requests or limits",
        ));
    }
    content.spec.check()
}

/// Returns the Deployment, if Gantry may restart it or roll it back.
fn check_managed<'a>(name: &name::App, live: &'a AppState) -> Result<&'a super::Deployment, Error> {
    let deployment = live.deployment.as_ref().ok_or_else(|| Error::no_app(name))?;
    if deployment.deleting {
        return Err(Error::BeingDeleted { what: name.to_string() });
    }
    if !deployment.is_ours() {
        return Err(Error::NotManaged { name: name.to_string(), by: deployment.managed_by.clone() });
    }
    Ok(deployment)
}

/// Returns an error if the Deployment is being deleted, or if Gantry does not manage it and the caller did
/// not ask to adopt it. The owner of the Service and the PodDisruptionBudget is checked later, when they are
/// rendered.
fn check_ownership(request: &Deploy, live: &AppState) -> Result<(), Error> {
    let Some(deployment) = &live.deployment else { return Ok(()) };
    if !deployment.is_ours() && !request.adopt {
        return Err(Error::taken(Kind::Deployment, &request.name, &deployment.managed_by));
    }
    if deployment.deleting {
        return Err(Error::BeingDeleted { what: request.name.to_string() });
    }
    Ok(())
}
