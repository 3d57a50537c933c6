//! Classifies a refusal to create an object by what has to be done, from the API server's message. Refusals
//! of many kinds have the same code and the same condition, so only the words distinguish them. Pure.

use super::quote_text;
use crate::domain::{name, problem::Reason};

/// The kind of object that could not be created.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// The pods of a ReplicaSet.
    Replicas,
    /// The ReplicaSet of a Deployment.
    ReplicaSet,
}

/// Why an object could not be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    /// Its reason.
    pub(super) reason: Reason,
    /// What happened, in one sentence.
    pub(super) message: String,
    /// What to do about it.
    pub(super) remedy: String,
    /// Whether each further attempt fails too.
    pub(super) fatal: bool,
}

/// Classifies a message. `None` for failures that the control plane recovers from: conflicts, its own errors,
/// overload.
pub(super) fn find_cause(words: &str, what: What, app: &name::App) -> Option<Cause> {
    let lower = words.to_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    // Admission by others comes first, because its words are theirs and may contain those of any other kind.
    if has(&["failed calling webhook", "failed to call webhook"]) {
        // Not fatal, because the webhook's replicas may be starting.
        let remedy = "Look at the webhook's own replicas; Kubernetes keeps trying.";
        return Some(told(
            "An admission webhook does not answer",
            words,
            Reason::AdmissionDenied,
            remedy,
            false,
        ));
    }
    if has(&["no params found for policy binding", "failed to find resource referenced by paramkind"]) {
        let remedy = "Create the parameters that the policy's binding names; Kubernetes keeps trying.";
        return Some(told(
            "An admission policy lacks its parameters",
            words,
            Reason::AdmissionDenied,
            remedy,
            false,
        ));
    }
    if has(&[
        "denied the request",
        "denied request",
        "denied one or more images",
        "violates podsecurity",
        " is invalid: ",
    ]) {
        return Some(denied(words, what));
    }
    // Nothing that is created now would stay.
    if has(&["because it is being terminated"]) || lower.starts_with("namespaces \"") && has(&["not found"]) {
        let remedy = "Deploy to a namespace that stays, or create it again once it is gone.";
        return Some(told("The namespace is being deleted", words, Reason::AdmissionDenied, remedy, true));
    }
    if let Some(missing) = Missing::find(words) {
        let remedy = missing.remedy(app);
        return Some(told(&missing.describe(), words, Reason::ConfigMissing, &remedy, false));
    }
    if has(&["failed quota"]) && has(&["must specify"]) {
        return Some(told(
            "A quota demands requests or limits that the replicas do not have",
            words,
            Reason::QuotaExceeded,
            &format!(
                "Set what it names, for example `gantry deploy {} --request cpu=100m,memory=128Mi --limit cpu=1,memory=256Mi`, or give the namespace a LimitRange with defaults.",
                app.app
            ),
            // The same replicas are refused each time.
            true,
        ));
    }
    if has(&["exceeded quota", "insufficient quota", "status unknown for quota"]) {
        // Not fatal, because room appears when other replicas end.
        let (said, remedy) = match what {
            What::Replicas => {
                ("A quota refuses more replicas", "Request less, or raise the quota of the namespace.")
            }
            What::ReplicaSet => (
                "A quota refuses the new ReplicaSet",
                "Raise the quota of the namespace, or delete ReplicaSets that have no replicas; Kubernetes tries again for some minutes.",
            ),
        };
        return Some(told(said, words, Reason::QuotaExceeded, remedy, false));
    }
    // An object may be called `timeout`.
    let unnamed = without_names(&lower);
    if PASSING.iter().any(|part| unnamed.contains(part)) {
        return None;
    }
    if has(&["cannot create resource"]) {
        let remedy =
            "Give the controller that right again; the API server restores its default roles when it starts.";
        let said = "Kubernetes' own controller lacks the right to create it";
        return Some(told(said, words, Reason::AdmissionDenied, remedy, true));
    }
    if has(&[" usage per container is ", " usage per pod is ", "max limit to request ratio per "]) {
        let said = "A LimitRange refuses what the replicas request";
        let remedy =
            "Change `--request` and `--limit` to what it allows, or change the LimitRange of the namespace.";
        return Some(told(said, words, Reason::AdmissionDenied, remedy, true));
    }
    Some(denied(words, what))
}

/// Parts of messages for temporary failures of the control plane, or for a request that is already being
/// carried out.
const PASSING: &[&str] = &[
    "already exists",
    "an error on the server",
    "being deleted",
    "being terminated",
    "client connection lost",
    "connection refused",
    "connection reset",
    "context canceled",
    "could not find the requested resource",
    "deadline exceeded",
    "etcdserver",
    "internal error occurred",
    "network is unreachable",
    "no such host",
    "not yet",
    "object has been modified",
    "please try again",
    "provide credentials",
    "retry after",
    "shutting down",
    "timed out",
    "timeout",
    "too many requests",
    "try again later",
    "unable to handle the request",
    "unexpected eof",
];

/// An object that the replicas name and that does not exist. Anyone may create it at any moment, and
/// Kubernetes tries again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Missing<'a> {
    /// Its kind, as Kubernetes writes it in a message.
    kind: &'a str,
    name: &'a str,
}

impl<'a> Missing<'a> {
    /// Parses `error looking up service account prod/shop: serviceaccount "shop" not found`, `no
    /// PriorityClass with name high was found`, `pod rejected: RuntimeClass "gvisor" not found`, and the same
    /// words about other kinds.
    fn find(words: &'a str) -> Option<Self> {
        if let Some((before, after)) = words.split_once(" with name ") {
            let (name, rest) = after.split_once(' ')?;
            let kind = before.rsplit_once("no ").map(|(_, kind)| kind)?;
            return rest.starts_with("was found").then_some(Self { kind, name });
        }
        let (before, _) = words.rsplit_once("\" not found")?;
        let (before, name) = before.rsplit_once('"')?;
        let kind = before.trim_end().rsplit([' ', ':']).next().filter(|kind| !kind.is_empty())?;
        Some(Self { kind, name })
    }

    /// Returns the kind in its usual spelling.
    fn kind(&self) -> &'a str {
        match self.kind.to_lowercase().as_str() {
            "serviceaccount" | "serviceaccounts" => "ServiceAccount",
            "priorityclass" | "priorityclass.scheduling.k8s.io" => "PriorityClass",
            "runtimeclass" | "runtimeclass.node.k8s.io" => "RuntimeClass",
            _ => self.kind,
        }
    }

    fn describe(&self) -> String {
        format!("{} \"{}\" does not exist, and the replicas name it", self.kind(), self.name)
    }

    fn remedy(&self, app: &name::App) -> String {
        let Self { name, .. } = self;
        match self.kind() {
            // Each namespace gets this one by itself.
            "ServiceAccount" if *name == "default" => {
                "Wait; the controller manager of the cluster creates it in each namespace.".to_owned()
            }
            "ServiceAccount" => format!(
                "Create it: `kubectl create serviceaccount {name} --namespace {}`; Kubernetes keeps trying.",
                app.namespace
            ),
            "PriorityClass" => format!(
                "Create it: `kubectl create priorityclass {name} --value 1000`, or name one that `kubectl get priorityclasses` lists."
            ),
            "RuntimeClass" => format!(
                "Create RuntimeClass {name} with `kubectl apply`, or name one that `kubectl get runtimeclasses` lists."
            ),
            _ => {
                "Create what is missing, or correct the reference to it; Kubernetes keeps trying.".to_owned()
            }
        }
    }
}

fn told(said: &str, words: &str, reason: Reason, remedy: &str, fatal: bool) -> Cause {
    let message = format!("{said}: {}", quote_text(words));
    Cause { reason, message, remedy: remedy.to_owned(), fatal }
}

fn denied(words: &str, what: What) -> Cause {
    let said = match what {
        What::Replicas => "Kubernetes refuses to create the replicas",
        What::ReplicaSet => "Kubernetes refuses to create the new ReplicaSet",
    };
    let remedy = if words.contains(" is invalid: ") {
        "Correct what the message names."
    } else {
        "Change the rejected fields, or the admission policy."
    };
    told(said, words, Reason::AdmissionDenied, remedy, true)
}

/// Returns the text without what stands in double quotes.
fn without_names(text: &str) -> String {
    text.split('"').step_by(2).collect::<Vec<_>>().join("\"")
}
