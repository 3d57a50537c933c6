//! Finds the objects that a pod template refers to, and checks whether they exist with their keys. Knows
//! names and keys, never values.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::domain::check::{Check, Finding, Kind as CheckKind};

/// Kinds of objects that a pod template refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
    /// A Secret with credentials for an image registry.
    PullSecret,
    /// A `ServiceAccount`.
    ServiceAccount,
    /// A `PersistentVolumeClaim`.
    Claim,
    /// A `PriorityClass`.
    PriorityClass,
}

/// An object that the pod template refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Keys that it must have.
    pub keys: BTreeSet<String>,
    /// Whether the replicas start without it.
    pub optional: bool,
}

/// What the cluster has of a referenced object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It does not exist.
    Absent,
    /// It exists, with these keys.
    There(BTreeSet<String>),
    /// It is a `PersistentVolumeClaim`.
    Claim {
        /// Whether it is bound to a volume.
        bound: bool,
        /// Whether its volume is lost.
        lost: bool,
        /// Whether several nodes may mount it.
        shared: bool,
    },
    /// It could not be read, for this reason.
    Unknown(String),
}

/// Returns the objects that a pod template refers to, each once.
pub fn references_of(template: &Value) -> Vec<Reference> {
    let mut all = References::default();
    let spec = &template["spec"];
    let list = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
    for container in list(&spec["initContainers"]).iter().chain(&list(&spec["containers"])) {
        for variable in list(&container["env"]) {
            let from = &variable["valueFrom"];
            all.key(Kind::Secret, &from["secretKeyRef"]);
            all.key(Kind::ConfigMap, &from["configMapKeyRef"]);
        }
        for source in list(&container["envFrom"]) {
            all.whole(Kind::Secret, &source["secretRef"], "name");
            all.whole(Kind::ConfigMap, &source["configMapRef"], "name");
        }
    }
    for volume in list(&spec["volumes"]) {
        all.files(Kind::Secret, &volume["secret"], "secretName");
        all.files(Kind::ConfigMap, &volume["configMap"], "name");
        all.whole(Kind::Claim, &volume["persistentVolumeClaim"], "claimName");
        for source in list(&volume["projected"]["sources"]) {
            all.files(Kind::Secret, &source["secret"], "name");
            all.files(Kind::ConfigMap, &source["configMap"], "name");
        }
    }
    for secret in list(&spec["imagePullSecrets"]) {
        all.whole(Kind::PullSecret, &secret, "name");
    }
    all.whole(Kind::ServiceAccount, spec, "serviceAccountName");
    all.whole(Kind::PriorityClass, spec, "priorityClassName");
    all.0
        .into_iter()
        .map(|((kind, name), (keys, needed))| Reference { kind, name, keys, optional: !needed })
        .collect()
}

/// References by kind and name: the required keys, and whether the object itself is required.
#[derive(Default)]
struct References(BTreeMap<(Kind, String), (BTreeSet<String>, bool)>);

impl References {
    fn add(&mut self, kind: Kind, name: &Value, keys: Vec<String>, optional: bool) {
        let Some(name) = name.as_str().filter(|name| !name.is_empty()) else { return };
        let entry = self.0.entry((kind, name.to_owned())).or_default();
        if !optional {
            entry.0.extend(keys);
            entry.1 = true;
        }
    }

    fn whole(&mut self, kind: Kind, source: &Value, name: &str) {
        self.add(kind, &source[name], Vec::new(), source["optional"] == true);
    }

    fn key(&mut self, kind: Kind, source: &Value) {
        let key = source["key"].as_str().map(ToOwned::to_owned);
        self.add(kind, &source["name"], key.into_iter().collect(), source["optional"] == true);
    }

    fn files(&mut self, kind: Kind, source: &Value, name: &str) {
        let items = source["items"].as_array().into_iter().flatten();
        let keys = items.filter_map(|item| item["key"].as_str().map(ToOwned::to_owned)).collect();
        self.add(kind, &source[name], keys, source["optional"] == true);
    }
}

/// Checks whether the object that was found satisfies the reference. `surges` says that new replicas start
/// while old ones still run.
pub fn check_reference(reference: &Reference, found: &Found, surges: bool) -> Check {
    let Reference { kind, name, keys, optional } = reference;
    let object = format!("{}/{name}", kind.prefix());
    let what = kind.as_str();
    let says = |result, message: String| Check::new(CheckKind::References, result, message).of(&object);
    match found {
        Found::Unknown(why) => says(Finding::Skipped, format!("{what} {name} was not checked: {why}")),
        Found::Absent if *optional => {
            says(Finding::Pass, format!("{what} {name} does not exist, and is optional."))
        }
        Found::Absent if *kind == Kind::PullSecret => says(
            Finding::Warn,
            format!(
                "Secret {name} does not exist: images of a private registry cannot be pulled. Create it, or remove it from image_pull_secrets."
            ),
        ),
        Found::Absent => says(
            Finding::Fail,
            format!("{what} {name} does not exist: no replica can start. Create it first."),
        ),
        Found::There(there) => {
            let missing: Vec<_> = keys.difference(there).cloned().collect();
            if missing.is_empty() {
                return says(
                    Finding::Pass,
                    format!("{what} {name} exists and has all keys that are needed."),
                );
            }
            let missing = missing.join(", ");
            says(
                Finding::Fail,
                format!(
                    "{what} {name} lacks {missing}: no replica can start. Add what is missing, or refer to another key."
                ),
            )
        }
        Found::Claim { lost: true, .. } => says(
            Finding::Fail,
            format!(
                "The volume of claim {name} is lost: no replica can start. Delete the claim and create it again."
            ),
        ),
        Found::Claim { shared: false, .. } if surges => says(
            Finding::Warn,
            format!(
                "Only one node may mount claim {name}: a new replica on another node waits for the old one to stop, and the old one waits for the new one. Use the strategy RECREATE, or a claim with ReadWriteMany."
            ),
        ),
        Found::Claim { bound, .. } => {
            let state = if *bound { "is bound" } else { "gets its volume with the first replica" };
            says(Finding::Pass, format!("Claim {name} {state}."))
        }
    }
}

impl Kind {
    /// Returns the name of the kind as people write it.
    const fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret | Self::PullSecret => "Secret",
            Self::ServiceAccount => "ServiceAccount",
            Self::Claim => "PersistentVolumeClaim",
            Self::PriorityClass => "PriorityClass",
        }
    }

    /// Returns the prefix of the kind in object names of the API.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret | Self::PullSecret => "secret",
            Self::ServiceAccount => "serviceaccount",
            Self::Claim => "persistentvolumeclaim",
            Self::PriorityClass => "priorityclass.scheduling.k8s.io",
        }
    }
}
