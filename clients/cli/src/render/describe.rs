//! One app, one rollout, and the daemon, in full and for people. Pure: must not know clocks nor terminals.

pub(crate) mod autoscaler;

use gantry_client::{name, v1};

use crate::render::{
    outcome, plan, problem, rows, table,
    text::{self, Paint},
};

/// Describes an app, with its rollout if that could be read.
pub(crate) fn app(app: &v1::App, rollout: Option<&v1::Rollout>, now: i64, paint: Paint) -> Vec<String> {
    let (spec, status) = (app.spec.clone().unwrap_or_default(), app.status.clone().unwrap_or_default());
    let mut fields = vec![("Name", app.name.clone()), ("State", state(&status, paint))];
    fields.push(("Message", status.message.clone()));
    fields.push((
        "Replicas",
        format!(
            "{} of {} ready, {} updated, {} in all{}",
            status.ready_replicas,
            status.desired_replicas,
            status.updated_replicas,
            status.current_replicas,
            status.replica_owner.as_ref().map_or_else(String::new, |o| format!("; {}", owner(o))),
        ),
    ));
    fields.push(("Image", spec.image.clone()));
    fields.push(("Ports", joined(spec.ports.iter().map(port))));
    let resources = spec.resources.clone().unwrap_or_default();
    fields.push(("Requests", joined(resources.requests.iter().map(|(k, v)| format!("{k}={v}")))));
    fields.push(("Limits", joined(resources.limits.iter().map(|(k, v)| format!("{k}={v}")))));
    fields.push(("Labels", joined(app.labels.iter().map(|(k, v)| format!("{k}={v}")))));
    fields.push(("Rollout", rollout.map_or_else(|| revision(&status.rollout), rollout_line)));
    fields.push(("Managed by", status.managed_by.clone()));
    fields.push(("Age", text::age(app.create_time.as_ref(), now)));
    fields.push(("Etag", app.etag.clone()));
    let mut lines = in_columns(&fields, paint);
    if !status.problems.is_empty() {
        lines.push(paint.bold("Problems:"));
    }
    for problem in &status.problems {
        let since = text::age(problem.start_time.as_ref(), now);
        let since = if since.is_empty() { since } else { format!(" for {since}") };
        let headline = problem::headline(problem);
        lines.push(if problem.fatal { paint.bad(&headline) } else { paint.warn(&headline) } + &since);
        lines.extend(problem::evidence(problem, paint));
    }
    lines
}

/// Says until when the count is held over the autoscaler, if it is held.
pub(crate) fn hold(app: &v1::App) -> Option<String> {
    let held = app.status.as_ref()?.replica_owner.as_ref()?;
    (held.kind() == v1::ReplicaOwnerKind::Hold).then(|| format!("the count is {}", owner(held)))
}

/// Describes a rollout, with what it changed and the evidence stored when it failed.
pub(crate) fn rollout(rollout: &v1::Rollout, now: i64, paint: Paint) -> Vec<String> {
    let progress = rollout.progress.unwrap_or_default();
    let image = rollout.spec.as_ref().map(|spec| spec.image.clone()).unwrap_or_default();
    let ago = text::age(rollout.start_time.as_ref(), now);
    let mut lines = in_columns(
        &[
            ("Rollout", rollout.name.clone()),
            ("State", text::bare(rollout.state().as_str_name(), "ROLLOUT_STATE_").to_owned()),
            ("Message", text::line(&rollout.message)),
            (
                "Replicas",
                format!(
                    "{} of {} ready, {} updated, {} old, {} draining",
                    progress.ready, progress.desired, progress.updated, progress.old, progress.draining
                ),
            ),
            ("Image", image),
            ("Cause", text::bare(rollout.cause().as_str_name(), "ROLLOUT_CAUSE_").to_owned()),
            ("Returns to", revision(&rollout.source_rollout)),
            ("Actor", text::line(&rollout.actor)),
            ("Reason", text::line(&rollout.reason)),
            ("Started", if ago.is_empty() { ago } else { format!("{ago} ago") }),
            ("Took", outcome::duration(rollout).map_or_else(String::new, text::took)),
            ("Digest", rollout.digest.clone()),
        ],
        paint,
    );
    if !rollout.changes.is_empty() {
        lines.push(paint.bold("Changes:"));
        lines.extend(plan::changes(&rollout.changes, paint).into_iter().map(|line| format!("  {line}")));
    }
    if let Some(error) = &rollout.error {
        lines.push(paint.bad(&text::line(&format!("{}: {}", error.reason, error.message))));
        lines.extend(error.problem.iter().flat_map(|problem| problem::evidence(problem, paint)));
    }
    if let Some(failure) = &rollout.failure {
        lines.push(paint.bold("When it failed:"));
        for problem in &failure.problems {
            lines.push(format!("  {}", problem::headline(problem)));
        }
        let replicas: Vec<_> =
            failure.replicas.iter().map(|replica| rows::replicas::row(replica, now)).collect();
        if !replicas.is_empty() {
            let painted = |column: usize, cell: &str| rows::replicas::painted(column, cell, paint);
            let table = table::render(&rows::replicas::HEADINGS, &replicas, painted);
            lines.extend(table.into_iter().map(|line| format!("  {line}")));
        }
        let events = problem::distinct(&failure.events);
        lines.extend(events.into_iter().map(|event| format!("  {}", text::line(event))));
    }
    lines
}

/// Describes the daemon, the caller's identity there, and the settings of this program.
pub(crate) fn server(
    settings: &[(&'static str, String)],
    info: &v1::GetServerInfoResponse,
    paint: Paint,
) -> Vec<String> {
    let oldest = info.cache_ages.iter().max_by_key(|(_, age)| (age.seconds, age.nanos));
    let freshness = oldest.map_or_else(String::new, |(kind, age)| {
        format!("all {} kinds heard from within {} ({kind})", info.cache_ages.len(), text::span(age))
    });
    let ages = joined(info.cache_ages.iter().map(|(kind, age)| format!("{kind} {}", text::span(age))));
    let mut lines = in_columns(settings, paint);
    lines.extend(in_columns(
        &[
            ("Version", format!("{} (this client: {})", info.version, env!("CARGO_PKG_VERSION"))),
            ("Kubernetes", info.kubernetes_version.clone()),
            ("You are", info.caller.clone()),
            ("Cache", format!("{} apps, {} pods", info.apps, info.pods)),
            ("Freshness", freshness),
            ("Heard from", ages),
            ("Autoscaler", if info.leader { "runs here" } else { "does not run here" }.to_owned()),
            ("Load from", joined(info.load_sources.iter().cloned())),
        ],
        paint,
    ));
    lines
        .extend(info.warnings.iter().map(|warning| paint.warn(&format!("warning: {}", text::line(warning)))));
    lines
}

/// Formats `NAME:  value`, with empty values left out.
pub(crate) fn in_columns(fields: &[(&str, String)], paint: Paint) -> Vec<String> {
    let set = fields.iter().filter(|(_, value)| !value.is_empty());
    set.map(|(name, value)| format!("{} {value}", paint.dim(&format!("{:<12}", format!("{name}:")))))
        .collect()
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    text::line(&parts.collect::<Vec<_>>().join(", "))
}

fn state(status: &v1::AppStatus, paint: Paint) -> String {
    let word = rows::state(status);
    let word = match status.state() {
        v1::AppState::Active => paint.good(word),
        v1::AppState::Degraded | v1::AppState::Failed => paint.bad(word),
        v1::AppState::Updating | v1::AppState::Deleting => paint.warn(word),
        v1::AppState::Unspecified | v1::AppState::Stopped => word.to_owned(),
    };
    if status.reconciling { format!("{word}, a change is under way") } else { word }
}

/// Says who sets the count, and until when if that has an end.
fn owner(owner: &v1::ReplicaOwner) -> String {
    let reason =
        if owner.reason.is_empty() { String::new() } else { format!(" ({})", text::line(&owner.reason)) };
    let who =
        |words: &str| if owner.owner.is_empty() { String::new() } else { format!("{words}{}", owner.owner) };
    match owner.kind() {
        v1::ReplicaOwnerKind::Unspecified => format!("set by an unknown owner{reason}"),
        v1::ReplicaOwnerKind::Caller => format!("set by callers{}{reason}", who(", last by ")),
        v1::ReplicaOwnerKind::Autoscaler => format!("set by the autoscaler{reason}"),
        v1::ReplicaOwnerKind::Hold => {
            let end = owner.hold_end_time.as_ref();
            let end = end.map_or_else(String::new, |end| format!(" until {}", text::instant(end)));
            format!("held{end}{}{reason}, then set by the autoscaler", who(" by "))
        }
        v1::ReplicaOwnerKind::Foreign => {
            format!("set by {}, not managed by Gantry{reason}", owner.owner)
        }
    }
}

fn port(port: &v1::Port) -> String {
    let protocol = text::bare(port.protocol().as_str_name(), "PROTOCOL_").to_lowercase();
    let protocol = if protocol == "unspecified" { String::new() } else { format!("/{protocol}") };
    format!("{}={}{protocol}", port.name, port.number)
}

fn revision(rollout: &str) -> String {
    name::Rollout::parse(rollout).map_or_else(|_| rollout.to_owned(), |rollout| rollout.revision)
}

fn rollout_line(rollout: &v1::Rollout) -> String {
    let state = text::bare(rollout.state().as_str_name(), "ROLLOUT_STATE_");
    let took = outcome::duration(rollout).map_or_else(String::new, |t| format!(" after {}", text::took(t)));
    let why = rollout
        .error
        .as_ref()
        .map_or_else(String::new, |error| format!(" ({}): {}", error.reason, error.message));
    let reason = if rollout.reason.is_empty() {
        String::new()
    } else {
        format!("; deployed because: {}", rollout.reason)
    };
    text::line(&format!("{} {state}{took}{why}{reason}", revision(&rollout.name)))
}

#[cfg(test)]
mod tests;
