//! Finds what is wrong with one pod, by cause: image, configuration, crashes, probes, volumes, node. Pure.

use jiff::Timestamp;

use super::surroundings::{NodeState, Surroundings, is_echo, pick_events, quote_text};
use crate::domain::{
    observed::{About, Event, Exit, Kind, Pod, Trouble, TroubleKind, Wait},
    problem::{Problem, Reason},
    spec::Policy,
};

/// Returns the most important problem of one pod, if it has one.
pub fn diagnose_pod(pod: &Pod, around: Surroundings<'_>, policy: &Policy) -> Option<Problem> {
    // The common case, so it is checked first.
    if pod.trouble.is_none() && pod.ready {
        return None;
    }
    // The state of a container on a lost node is out of date.
    let lost = lost_node(pod, around);
    let trouble = pod.trouble.as_deref().filter(|_| lost.is_none());
    let about = About { namespace: pod.namespace.clone(), kind: Kind::Pod, name: pod.name.clone() };
    let mut seen = (around.events)(&about);
    let since = trouble.map_or_else(|| pod.unready_since(), |t| t.since);
    let mut container = trouble.map(|t| t.container.clone()).unwrap_or_default();
    keep_about(&mut seen, std::slice::from_ref(&container));
    let (reason, message, remedy, fatal) = match trouble.map(|t| (t.kind, t)) {
        Some((TroubleKind::Image, t)) => image(t, &seen),
        Some((TroubleKind::Config, t)) => config(t),
        Some((TroubleKind::Crash, t)) => crash(t, &seen, policy),
        Some((TroubleKind::Unschedulable, t)) => unschedulable(t),
        None if let Some(said) = lost => node_lost(&said),
        None => match pod.waits.as_deref() {
            Some(Wait::Gates(gates)) => held(gates),
            Some(Wait::Conditions(conditions)) => waits_for(conditions),
            Some(Wait::Init { .. }) => volume(&seen)?,
            waits if waits.is_some() || pod.running => {
                let named = waits.map(Wait::containers).unwrap_or_default();
                keep_about(&mut seen, named);
                let check = seen.iter().rev().find_map(|event| Check::read(event))?;
                container =
                    check.container.map(str::to_owned).or_else(|| named.first().cloned()).unwrap_or_default();
                probe(&container, &check)
            }
            _ => volume(&seen)?,
        },
    };
    Some(Problem {
        container,
        events: pick_events(&seen),
        start: since.or(Some(pod.created)),
        ..Problem::new(reason, message, remedy, format!("pod/{}", pod.name), fatal)
    })
}

/// Returns whether something after this moment shows the problem of a pod. Kubernetes' times are whole
/// seconds, so what is from the same second may be older.
pub(super) fn is_shown_since(
    pod: &Pod,
    problem: &Problem,
    around: Surroundings<'_>,
    begin: Timestamp,
) -> bool {
    let is_later = |time: Timestamp| time.as_second() > begin.as_second();
    let trouble = pod.trouble.as_deref();
    let finished = trouble.and_then(|trouble| trouble.exit.as_ref()?.finished);
    if pod.created.as_second() >= begin.as_second() || finished.is_some_and(is_later) {
        return true;
    }
    let about = About { namespace: pod.namespace.clone(), kind: Kind::Pod, name: pod.name.clone() };
    let mut seen = (around.events)(&about);
    keep_about(&mut seen, std::slice::from_ref(&problem.container));
    // A back-off repeats an old result without a new attempt.
    seen.iter().any(|event| event.warning && is_later(event.time) && !is_echo(&event.note))
}

/// Keeps the events about these containers and those about the whole pod. Without containers, keeps all.
fn keep_about(events: &mut Vec<&Event>, containers: &[String]) {
    let named = |name: &str| containers.iter().any(|container| container == name);
    if containers.iter().any(|name| !name.is_empty()) {
        events.retain(|event| event.container.as_deref().is_none_or(named));
    }
}

/// Returns what a replica without a problem waits for, as far as rows show it, and the container whose log
/// may explain it.
pub fn describe_wait(pod: &Pod) -> Option<(String, String)> {
    let since = |time: &Option<Timestamp>| time.map_or_else(String::new, |time| format!(" since {time}"));
    let message = match pod.waits.as_deref()? {
        Wait::Gates(gates) => held(gates).1,
        Wait::Conditions(conditions) => waits_for(conditions).1,
        Wait::Init { container, since: time } => {
            format!("Init container \"{container}\" runs{}; the replica starts when it ends.", since(time))
        }
        Wait::Sidecar { container, since: time } => format!(
            "Sidecar \"{container}\" runs{} and does not pass its startup probe; the replica starts when it does.",
            since(time)
        ),
        Wait::Containers(containers) => {
            let all: Vec<_> = containers.iter().map(|name| format!("\"{name}\"")).collect();
            match all.as_slice() {
                [one] => format!("Container {one} runs but does not pass its probes."),
                several => format!("Containers {} run but do not pass their probes.", several.join(", ")),
            }
        }
    };
    let container = pod.waits.as_deref().and_then(|waits| waits.containers().first().cloned());
    Some((message, container.unwrap_or_default()))
}

/// Returns how far a replica has come that is not ready, of which nothing else is known: in one sentence, and
/// with the events that matter.
pub fn describe_pending(pod: &Pod, around: Surroundings<'_>) -> (String, Vec<String>) {
    let about = About { namespace: pod.namespace.clone(), kind: Kind::Pod, name: pod.name.clone() };
    let events = pick_events(&(around.events)(&about));
    let stands = match &pod.node {
        None => "no scheduler has looked for a node yet".to_owned(),
        Some(_) if pod.running => "its containers run and it is not ready".to_owned(),
        Some(node) => format!("its containers are being started on node {node}"),
    };
    let last = events.last().map_or_else(String::new, |event| format!("; the last event is {event}"));
    (format!("Replica {}: {stands}{last}.", pod.name), events)
}

/// Returns what a replica waits for before its own containers are started: an init container or a sidecar.
pub fn describe_start(pod: &Pod) -> Option<String> {
    let starts = matches!(pod.waits.as_deref(), Some(Wait::Init { .. } | Wait::Sidecar { .. }));
    describe_wait(pod).filter(|_| starts && !pod.deleting).map(|(message, _)| message)
}

type Finding = (Reason, String, &'static str, bool);

fn held(gates: &[String]) -> Finding {
    let (noun, verb) = if gates.len() == 1 { ("gate", "holds") } else { ("gates", "hold") };
    (
        Reason::Unschedulable,
        format!("Scheduling {noun} {} {verb} the replica, so no node is looked for.", quoted(gates)),
        "Find out why the controller that set the gate does not remove it.",
        false,
    )
}

fn waits_for(conditions: &[String]) -> Finding {
    let noun = if conditions.len() == 1 { "condition" } else { "conditions" };
    (
        Reason::ProbeFailing,
        format!(
            "All containers are ready; the replica waits for {noun} {} of its readiness gates.",
            quoted(conditions)
        ),
        "Find out why the controller that sets the condition does not set it to True.",
        // A load balancer takes a while to set it.
        false,
    )
}

/// Returns names as a list within a sentence.
fn quoted(names: &[String]) -> String {
    let all: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    quote_text(&all.join(", "))
}

fn image(trouble: &Trouble, events: &[&Event]) -> Finding {
    // Before Kubernetes 1.32 the container state shows only the back-off. The cause is in the event.
    let cause = events
        .iter()
        .rev()
        .map(|e| &*e.note)
        .find(|note| note.contains("Failed to pull image"))
        .unwrap_or_default();
    let text = format!("{} {}", without_names(&trouble.message), without_names(cause)).to_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| text.contains(w));
    let detail = quote_text(innermost(if text.contains("back-off") && !cause.is_empty() {
        cause
    } else {
        &trouble.message
    }));
    let (what, remedy, fatal) = if trouble.reason == "InvalidImageName" {
        ("the image name is invalid", "Correct the image's name.", true)
    } else if trouble.reason == "ErrImageNeverPull" {
        (
            "the image is not on the node and may not be pulled",
            "Load the image onto the nodes, or change the pull policy.",
            true,
        )
    } else if has(&["denied", "unauthorized", "authentication required", "forbidden", "authorization failed"])
    {
        (
            "the registry refuses access to the image, or it does not exist",
            "Check the image's name, and that the service account or the nodes have credentials for the registry.",
            true,
        )
    } else if has(&["not found", "manifest unknown", "does not exist", "name unknown"]) {
        (
            "the image does not exist",
            "Check the image's name and tag, push the image, or deploy one that exists.",
            true,
        )
    } else if has(&["429", "too many requests", "toomanyrequests"]) {
        (
            "the registry limits the rate of requests",
            "Pull with credentials for the registry, or use a mirror; Kubernetes keeps trying.",
            false,
        )
    } else {
        (
            "the image cannot be pulled",
            "Check that the nodes reach the registry; Kubernetes keeps trying.",
            false,
        )
    };
    (Reason::ImagePullFailed, format!("Container \"{}\": {what}: {detail}", trouble.container), remedy, fatal)
}

fn config(trouble: &Trouble) -> Finding {
    // On a busy node the kubelet may not have read the object yet, or the runtime was slow. The kubelet tries
    // again, and that is enough.
    let passing =
        ["timed out", "deadline exceeded", "is reserved for"].iter().any(|w| trouble.message.contains(w));
    let unstarted =
        matches!(trouble.reason.as_str(), "StartError" | "ContainerCannotRun" | "RunContainerError");
    let remedy = if passing {
        "Wait, and look at the node if the problem stays; Kubernetes keeps trying."
    } else if unstarted {
        "Correct the command, or use an image that contains it as an executable."
    } else {
        "Create what is missing, or correct the reference to it."
    };
    (
        Reason::ConfigMissing,
        if unstarted {
            format!(
                "Container \"{}\" cannot be started: {}",
                trouble.container,
                quote_text(from_exec(&trouble.message))
            )
        } else {
            format!("Container \"{}\" cannot be created: {}", trouble.container, quote_text(&trouble.message))
        },
        remedy,
        // Fatal although the kubelet keeps trying, because only a person creates the missing object.
        !passing,
    )
}

/// Returns the cause at the end of a runtime's message, after the steps that led to it: `... unable to start
/// container process: exec: "/x": no such file`.
fn from_exec(message: &str) -> &str {
    message.find("exec: ").map_or(message, |at| &message[at..])
}

/// The answer to a probe.
struct Check<'a> {
    /// The probe, as Kubernetes names it: `Readiness`, `Liveness` or `Startup`.
    which: &'a str,
    answer: &'a str,
    container: Option<&'a str>,
    time: Timestamp,
}

impl<'a> Check<'a> {
    /// Parses the note of an event: `Readiness probe failed: HTTP probe failed with statuscode: 503`.
    fn read(event: &'a Event) -> Option<Self> {
        let (which, said) =
            event.note.split_once(" probe ").filter(|_| &*event.reason == "Unhealthy" && event.warning)?;
        let answer = said.split_once(": ").map_or(said, |(_, answer)| answer);
        Some(Self { which, answer, container: event.container.as_deref(), time: event.time })
    }

    /// Returns whether Kubernetes ends containers that fail this probe.
    fn ends_containers(&self) -> bool {
        matches!(self.which, "Liveness" | "Startup")
    }
}

/// Diagnoses a replica that runs and is not ready. Without such a check it may only be starting slowly.
fn probe(container: &str, check: &Check<'_>) -> Finding {
    let (which, answer) = (check.which.to_lowercase(), quote_text(check.answer));
    let message = if container.is_empty() {
        format!("The {which} probe does not pass: {answer}")
    } else {
        format!("Container \"{container}\": the {which} probe does not pass: {answer}")
    };
    // A slow start looks the same.
    (
        Reason::ProbeFailing,
        message,
        "Check what the probe asks for, and read the log of the container.",
        false,
    )
}

/// Returns the failed probe for which Kubernetes ended the container, if that is why it ended.
fn ended_by<'a>(events: &[&'a Event], exit: Option<&Exit>) -> Option<Check<'a>> {
    /// The longest time in seconds from the failed probe to the end of the container, which gets a grace
    /// period.
    const LATEST: i64 = 60;
    let check = events.iter().rev().filter_map(|event| Check::read(event)).find(Check::ends_containers)?;
    let finished = exit.and_then(|exit| exit.finished)?.as_second();
    (0..=LATEST).contains(&(finished - check.time.as_second())).then_some(check)
}

fn crash(trouble: &Trouble, events: &[&Event], policy: &Policy) -> Finding {
    let crashes = trouble.crashes();
    let times = if crashes == 1 { "once".to_owned() } else { format!("{crashes} times") };
    let fatal = crashes > policy.tolerated_restarts;
    match &trouble.exit {
        Some(exit) if exit.reason == "OOMKilled" => (
            Reason::OutOfMemory,
            format!(
                "Container \"{}\" was killed for using more memory than its limit, {times}.",
                trouble.container
            ),
            "Raise the memory limit, or make the program use less.",
            fatal,
        ),
        exit if let Some(check) = ended_by(events, exit.as_ref()) => (
            Reason::ProbeFailing,
            format!(
                "Container \"{}\" was ended {times}, because its {} probe failed: {}",
                trouble.container,
                check.which.to_lowercase(),
                quote_text(check.answer)
            ),
            "Check what the probe asks for, or give the container more time.",
            fatal,
        ),
        _ if trouble.reason == "PostStartHookError" => (
            Reason::CrashLoop,
            format!(
                "Container \"{}\" was ended {times}, because its postStart hook failed: {}",
                trouble.container,
                quote_text(&trouble.message)
            ),
            "Correct the hook, or what it needs.",
            fatal,
        ),
        exit => (
            Reason::CrashLoop,
            format!("Container \"{}\" ended {times}, {}.", trouble.container, ended(exit.as_ref())),
            "Read the log of the container before its last restart.",
            fatal,
        ),
    }
}

/// Returns what is wrong with the node of a pod, as the beginning of a sentence.
pub(super) fn lost_node(pod: &Pod, around: Surroundings<'_>) -> Option<String> {
    let node = pod.node.as_deref()?;
    match (around.node)(node) {
        NodeState::Answers => None,
        NodeState::Silent => Some(format!("Node {node} does not answer")),
        NodeState::Gone => Some(format!("Node {node} does not exist any more")),
    }
}

/// Diagnoses a replica whose node does not answer. Kubernetes replaces the replica after five minutes, unless
/// the app sets another toleration.
fn node_lost(said: &str) -> Finding {
    (
        Reason::NodeLost,
        format!("{said}, so the state of the replica on it is unknown."),
        "Look at the node; Kubernetes replaces the replica when it gives the node up.",
        false,
    )
}

/// Diagnoses a replica whose containers wait for a volume, as far as events show that.
fn volume(events: &[&Event]) -> Option<Finding> {
    let is_about = |e: &&&Event| {
        e.warning && matches!(&*e.reason, "FailedMount" | "FailedAttachVolume" | "FailedMapVolume")
    };
    // The kubelet also reports that it waits for volumes, without a cause.
    let causes: Vec<_> = events.iter().rev().filter(is_about).collect();
    let named = causes.iter().find(|e| !e.note.starts_with("Unable to attach or mount volumes"));
    let note = &named.or_else(|| causes.first())?.note;
    let missing = [
        "configmap \"",
        "secret \"",
        "references non-existent",
        "non-existent config key",
        "non-existent secret key",
    ];
    if missing.iter().any(|word| note.contains(word)) {
        let message = format!("A volume cannot be filled: {}", quote_text(last_part(note)));
        let remedy = "Create what is missing, or correct the reference to it.";
        // Fatal as for a container's configuration, because only a person creates the missing object. A cache
        // of the kubelet may be out of date for a moment.
        let passing = ["timed out", "failed to sync"].iter().any(|word| note.contains(word));
        return Some((Reason::ConfigMissing, message, remedy, !passing));
    }
    let message = format!("A volume cannot be mounted: {}", quote_text(note));
    let remedy = "Look at the volume, its claim and its storage; Kubernetes keeps trying.";
    Some((Reason::VolumeFailed, message, remedy, false))
}

/// Returns the cause after the name of the volume: `MountVolume.SetUp failed for volume "x" : configmap "y"
/// not found`.
fn last_part(note: &str) -> &str {
    note.split_once("\" : ").map_or(note, |(_, cause)| cause)
}

fn unschedulable(trouble: &Trouble) -> Finding {
    if trouble.message.contains("persistentvolumeclaim") || trouble.message.contains("PersistentVolumeClaim")
    {
        return (
            Reason::VolumeFailed,
            format!("No node takes the replica because of a volume: {}", quote_text(&trouble.message)),
            "Create the PersistentVolumeClaim, or find out why it is not bound.",
            false,
        );
    }
    (
        Reason::Unschedulable,
        format!("No node takes the replica: {}", quote_text(&trouble.message)),
        "Request less, add nodes, or correct placement.",
        false,
    )
}

/// Describes how a container ended, as the end of a sentence.
pub(super) fn ended(exit: Option<&Exit>) -> String {
    match exit {
        None => "for a reason that Kubernetes does not report".to_owned(),
        Some(exit) if exit.signal != 0 => format!("last by {}", signal(exit.signal)),
        // Shells and runtimes report death by signal N as 128 + N.
        Some(exit) if (129..=165).contains(&exit.code) => {
            format!("last with status {} ({})", exit.code, signal(exit.code - 128))
        }
        Some(Exit { code: 0, .. }) => {
            "last with status 0, which means that it finished; a replica must keep running".to_owned()
        }
        // Statuses of shells, from POSIX "Exit Status for Commands".
        Some(Exit { code: 126, .. }) => "last with status 126 (the command cannot be executed)".to_owned(),
        Some(Exit { code: 127, .. }) => "last with status 127 (the command was not found)".to_owned(),
        Some(exit) => format!("last with status {}", exit.code),
    }
}

/// Describes a signal, with the numbers of Linux.
fn signal(number: i32) -> String {
    let words = match number {
        1 => "SIGHUP",
        2 => "SIGINT, interrupted",
        3 => "SIGQUIT",
        4 => "SIGILL, an instruction that the processor does not have",
        6 => "SIGABRT, it aborted itself",
        7 => "SIGBUS, a bad memory access",
        8 => "SIGFPE, an arithmetic error",
        9 => "SIGKILL, killed from outside",
        11 => "SIGSEGV, a bad memory access",
        13 => "SIGPIPE, it wrote to a closed pipe or connection",
        15 => "SIGTERM, asked to stop",
        31 => "SIGSYS, a forbidden system call",
        _ => return format!("signal {number}"),
    };
    format!("signal {number}: {words}")
}

/// Returns the cause at the end of a container runtime's message, in which each step quotes the image again:
/// `... reference "x": x: not found`.
fn innermost(message: &str) -> &str {
    message.rsplit_once("\": ").map_or(message, |(_, cause)| cause)
}

/// Returns the text without image names, because an image may be called `access-denied`.
fn without_names(text: &str) -> String {
    let parts: Vec<_> = text.split('"').collect();
    let named = |before: &str| before.ends_with("image ") || before.ends_with("reference ");
    let names = parts.windows(2).filter(|pair| named(pair[0])).map(|pair| pair[1]);
    names.fold(text.to_owned(), |text, name| {
        let text = text.replace(&format!("\"{name}\""), "");
        if name.contains(['/', ':']) { text.replace(name, "") } else { text }
    })
}
