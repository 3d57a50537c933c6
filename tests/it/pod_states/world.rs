//! A valid state of one app's objects, and the objects of Kubernetes that show it. Judges nothing; says only
//! what is true of the state.

use serde_json::{Value, json};

use super::texts::{ENDED, ENDS, EVENTS, REFUSALS, WAITING};

/// The moment at which the rollout began, in seconds since 1970.
pub const START: i64 = 1_767_323_045;

/// The state of a container.
#[derive(Clone, Debug)]
pub enum At {
    /// Not started: an index of [`WAITING`].
    Waiting(usize),
    /// It runs, since so many seconds after the start of the rollout.
    Running { ready: bool, started: bool, since: i64 },
    /// It has ended: an index of [`ENDS`], and when.
    Ended(usize, i64),
}

/// A container of a pod.
#[derive(Clone, Debug)]
pub struct Container {
    pub at: At,
    pub restarts: i32,
    pub last: Option<(usize, i64)>,
}

/// How far a pod has come.
#[derive(Clone, Debug)]
pub enum Phase {
    /// No node was found. The text is the scheduler's, or there is none yet.
    Unplaced(Option<&'static str>),
    /// A scheduling gate holds it.
    Gated,
    /// It is on a node. The kubelet has said nothing yet.
    Bound,
    /// Its init container and its native sidecar decide.
    Initializing,
    /// Its containers decide.
    Started,
    /// It has ended: an index of [`ENDED`], and when.
    Ended(usize, i64),
}

#[derive(Clone, Debug)]
pub struct Pod {
    /// Which ReplicaSet owns it: 2 is the current one, 1 the previous one, 0 none.
    pub set: u8,
    pub created: i64,
    pub phase: Phase,
    pub node: u8,
    pub app: Container,
    /// A container beside the app's.
    pub proxy: Option<Container>,
    /// An init container that has to end.
    pub migrate: Option<Container>,
    /// An init container that keeps running.
    pub mesh: Option<Container>,
    /// A condition of a readiness gate, and whether it is met.
    pub gate: Option<bool>,
    /// The seconds at which it was told to stop, its grace and whether a finalizer holds it.
    pub stop: Option<(i64, i64, bool)>,
    /// Indexes of [`EVENTS`], each with its second and whether it names the app's container.
    pub events: Vec<(usize, i64, bool)>,
}

#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // independent facts
pub struct World {
    pub desired: i32,
    /// The count at the beginning.
    pub began_with: Option<i32>,
    pub probed: bool,
    pub waits: bool,
    pub paused: bool,
    pub recreate: bool,
    /// Whether the controller has observed the newest generation.
    pub observed: bool,
    /// Whether the current ReplicaSet exists.
    pub has_set: bool,
    /// An index of [`REFUSALS`], and since when.
    pub refused: Option<(usize, i64)>,
    /// The condition `Progressing` of the Deployment: its status and reason.
    pub progressing: (&'static str, &'static str),
    /// Whether each of three nodes exists, and is ready.
    pub nodes: [Option<bool>; 3],
    pub pods: Vec<Pod>,
}

fn time(second: i64) -> Value {
    json!(jiff::Timestamp::from_second(START + second).unwrap().to_string())
}

// === impl Container ===

impl Container {
    pub fn is_fine(&self) -> bool {
        matches!(self.at, At::Running { ready: true, .. }) && self.restarts == 0
    }

    fn ended(&(end, second): &(usize, i64)) -> Value {
        let (reason, code, signal) = ENDS[end];
        json!({"terminated": {"reason": reason, "exitCode": code, "signal": signal, "finishedAt": time(second)}})
    }

    fn status(&self, name: &str) -> Value {
        let state = match &self.at {
            At::Waiting(n) => json!({"waiting": {"reason": WAITING[*n].0, "message": WAITING[*n].1}}),
            At::Running { since, .. } => json!({"running": {"startedAt": time(*since)}}),
            At::Ended(end, second) => Self::ended(&(*end, *second)),
        };
        let ready = matches!(self.at, At::Running { ready: true, .. });
        let started = matches!(self.at, At::Running { started: true, .. });
        let last = self.last.as_ref().map_or_else(|| json!({}), Self::ended);
        json!({"name": name, "ready": ready, "started": started, "restartCount": self.restarts,
            "state": state, "lastState": last})
    }
}

// === impl Pod ===

impl Pod {
    /// Its containers with their names.
    fn containers(&self) -> Vec<(&'static str, &Container)> {
        let all = [
            ("app", Some(&self.app)),
            ("proxy", self.proxy.as_ref()),
            ("migrate", self.migrate.as_ref()),
            ("mesh", self.mesh.as_ref()),
        ];
        all.into_iter().filter_map(|(name, container)| Some((name, container?))).collect()
    }

    /// Whether an init container keeps the others from being started.
    fn is_blocked(&self) -> bool {
        let done = |c: &Container| matches!(c.at, At::Ended(0, _));
        let started = |c: &Container| matches!(c.at, At::Running { started: true, .. });
        !self.migrate.as_ref().is_none_or(done) || !self.mesh.as_ref().is_none_or(started)
    }

    /// Whether something may be said of this container: it is there, and not as it should be.
    pub fn is_in_trouble(&self, name: &str) -> bool {
        let all = self.containers();
        let Some((_, container)) = all.iter().find(|(known, _)| *known == name) else { return false };
        match (name, &self.phase) {
            ("migrate", phase) => matches!(phase, Phase::Initializing),
            // They have not been started.
            ("app" | "proxy", Phase::Initializing) => false,
            _ => !container.is_fine(),
        }
    }

    pub fn is_placed(&self) -> bool {
        !matches!(self.phase, Phase::Unplaced(_) | Phase::Gated)
    }

    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(..))
    }

    fn own(&self) -> impl Iterator<Item = &Container> {
        [Some(&self.app), self.proxy.as_ref(), self.mesh.as_ref()].into_iter().flatten()
    }

    pub fn is_ready(&self) -> bool {
        let is_ready = |c: &Container| matches!(c.at, At::Running { ready: true, .. });
        matches!(self.phase, Phase::Started) && self.own().all(is_ready) && self.gate != Some(false)
    }

    pub fn name(&self, id: usize) -> String {
        format!("web-{}-{id}", self.set)
    }

    fn json(&self, id: usize) -> Value {
        let mut metadata = json!({"name": self.name(id), "namespace": "prod", "uid": format!("p{id}"), "creationTimestamp": time(self.created)});
        if self.set > 0 {
            metadata["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("web-{}", self.set), "uid": "u", "controller": true}]);
        }
        if let Some((told, grace, held)) = self.stop {
            metadata["deletionTimestamp"] = time(told + grace);
            metadata["deletionGracePeriodSeconds"] = json!(grace);
            if held {
                metadata["finalizers"] = json!(["acme.io/drain"]);
            }
        }
        let mut spec = json!({"containers": [{"name": "app"}], "initContainers": []});
        if self.proxy.is_some() {
            spec["containers"].as_array_mut().unwrap().push(json!({"name": "proxy"}));
        }
        let inits = spec["initContainers"].as_array_mut().unwrap();
        if self.mesh.is_some() {
            inits.push(json!({"name": "mesh", "restartPolicy": "Always"}));
        }
        if self.migrate.is_some() {
            inits.push(json!({"name": "migrate"}));
        }
        if self.is_placed() {
            spec["nodeName"] = json!(format!("node-{}", self.node));
        }
        if self.gate.is_some() {
            spec["readinessGates"] = json!([{"conditionType": "acme.io/ready"}]);
        }
        if matches!(self.phase, Phase::Gated) {
            spec["schedulingGates"] = json!([{"name": "acme.io/hold"}]);
        }
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": self.status()})
    }

    fn status(&self) -> Value {
        let condition = |kind: &str, is: bool, second: i64| json!({"type": kind, "status": if is { "True" } else { "False" }, "lastTransitionTime": time(second)});
        let mut conditions = Vec::new();
        let phase = match &self.phase {
            Phase::Unplaced(words) => {
                if let Some(words) = words {
                    conditions.push(json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words, "lastTransitionTime": time(self.created)}));
                }
                return json!({"phase": "Pending", "conditions": conditions});
            }
            Phase::Gated => {
                conditions.push(json!({"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "lastTransitionTime": time(self.created)}));
                return json!({"phase": "Pending", "conditions": conditions});
            }
            Phase::Bound => {
                return json!({"phase": "Pending", "conditions": [condition("PodScheduled", true, self.created)]});
            }
            Phase::Initializing => "Pending",
            Phase::Started => "Running",
            Phase::Ended(0, _) if matches!(self.app.at, At::Ended(0, _)) => "Succeeded",
            Phase::Ended(..) => "Failed",
        };
        let since = self
            .own()
            .filter_map(|c| match c.at {
                At::Running { since, .. } => Some(since),
                _ => None,
            })
            .max();
        conditions.push(condition("PodScheduled", true, self.created));
        conditions.push(condition("Initialized", !matches!(self.phase, Phase::Initializing), self.created));
        conditions.push(condition(
            "Ready",
            self.is_ready(),
            if self.is_ready() { since.unwrap_or(0) } else { self.created },
        ));
        if let Some(met) = self.gate {
            conditions.push(condition("acme.io/ready", met, 2));
        }
        // Before it is initialized, its own containers wait.
        let own = |name: &str, container: &Container| match self.phase {
            Phase::Initializing => Container { at: At::Waiting(16), restarts: 0, last: None }.status(name),
            _ => container.status(name),
        };
        let mut status = json!({"phase": phase, "conditions": conditions, "startTime": time(self.created), "podIP": "10.0.0.1"});
        let mut list = vec![own("app", &self.app)];
        list.extend(self.proxy.as_ref().map(|c| own("proxy", c)));
        status["containerStatuses"] = json!(list);
        let mut inits = Vec::new();
        inits.extend(self.mesh.as_ref().map(|c| c.status("mesh")));
        // A container that has to end has ended well once the others are started.
        let done = Container { at: At::Ended(0, 0), restarts: 0, last: None };
        inits.extend(self.migrate.as_ref().map(|c| match self.phase {
            Phase::Initializing => c.status("migrate"),
            _ => done.status("migrate"),
        }));
        status["initContainerStatuses"] = json!(inits);
        if let Phase::Ended(why, second) = self.phase {
            status["reason"] = json!(ENDED[why]);
            status["message"] = json!("The node says so.");
            conditions_of(&mut status).push(
                json!({"type": "DisruptionTarget", "status": "True", "lastTransitionTime": time(second)}),
            );
        }
        status
    }
}

fn conditions_of(status: &mut Value) -> &mut Vec<Value> {
    status["conditions"].as_array_mut().unwrap()
}

// === impl World ===

impl World {
    /// The state with what cannot be so made valid.
    pub fn valid(mut self) -> Self {
        for pod in &mut self.pods {
            if !self.has_set && pod.set == 2 {
                pod.set = 1;
            }
            // A container that has to end is never ready. What is not initialized has one that is not done.
            if let Some(Container { at: At::Running { ready, .. }, .. }) = &mut pod.migrate {
                *ready = false;
            }
            if matches!(pod.phase, Phase::Initializing) && !pod.is_blocked() {
                pod.phase = Phase::Bound;
            }
            // The restartable ones keep running while the others are started.
            if matches!(pod.phase, Phase::Ended(..)) {
                let end = |c: &mut Container| {
                    if !matches!(c.at, At::Ended(..)) {
                        c.at = At::Ended(1, 4);
                    }
                };
                end(&mut pod.app);
                pod.proxy.iter_mut().for_each(end);
                pod.mesh.iter_mut().for_each(end);
            }
        }
        self
    }

    /// The replicas of the newest template.
    pub fn current(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(|pod| pod.set == 2 && pod.stop.is_none() && !pod.is_ended())
    }

    fn old(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(|pod| pod.set == 1 && pod.stop.is_none() && !pod.is_ended())
    }

    /// Whether its condition says that it is ready.
    pub fn is_ready(&self, pod: &Pod) -> bool {
        pod.is_ready() && self.nodes[usize::from(pod.node)] != Some(false)
    }

    /// Whether everything that is wanted runs as wanted, since long enough, and nothing else does.
    pub fn is_healthy(&self) -> bool {
        let ended = |pod: &Pod| pod.set == 2 && pod.is_ended();
        self.observed
            && self.has_set
            && i32::try_from(self.current().count()).unwrap() == self.desired
            && self.current().all(|pod| pod.is_ready() && pod.own().all(Container::is_fine))
            && self.current().all(|pod| self.nodes[usize::from(pod.node)] == Some(true))
            && self.old().count() == 0
            && self.refused.is_none()
            && !self.pods.iter().any(ended)
    }

    fn template() -> Value {
        json!({"metadata": {"labels": {"gantry.dev/app": "web"}}, "spec": {"containers": [{"name": "app", "image": "shop:9"}]}})
    }

    pub fn deployment(&self) -> Value {
        let count = |pods: &mut dyn Iterator<Item = &Pod>| pods.count();
        let (updated, old) = (count(&mut self.current()), count(&mut self.old()));
        let ready = |pods: &mut dyn Iterator<Item = &Pod>| pods.filter(|pod| self.is_ready(pod)).count();
        let ready = ready(&mut self.current()) + ready(&mut self.old());
        let (status, reason) = self.progressing;
        let mut progressing = json!({"type": "Progressing", "status": status, "reason": reason, "lastUpdateTime": time(1), "lastTransitionTime": time(1)});
        if reason == "ReplicaSetCreateError" {
            progressing["message"] = json!(
                "Failed to create new replica set \"web-2\": replicasets.apps \"web-2\" is forbidden: exceeded quota: sets"
            );
        }
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "prod", "uid": "u", "resourceVersion": "9", "generation": 2,
                "creationTimestamp": time(-900),
                "labels": {"app.kubernetes.io/managed-by": "gantry", "gantry.dev/app": "web"},
                "annotations": {"gantry.dev/revision": "2", "deployment.kubernetes.io/revision": if self.has_set { "2" } else { "1" }}},
            "spec": {"replicas": self.desired, "paused": self.paused, "progressDeadlineSeconds": 60, "template": Self::template(),
                "strategy": {"type": if self.recreate { "Recreate" } else { "RollingUpdate" }}},
            "status": {"observedGeneration": if self.observed { 2 } else { 1 }, "replicas": updated + old,
                "updatedReplicas": updated, "readyReplicas": ready, "availableReplicas": ready, "conditions": [progressing]}})
    }

    pub fn replica_sets(&self) -> Vec<Value> {
        let set = |number: u8, template: Value| {
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
                "metadata": {"name": format!("web-{number}"), "namespace": "prod", "uid": format!("s{number}"), "creationTimestamp": time(if number == 2 { 0 } else { -900 }),
                    "annotations": {"gantry.dev/revision": number.to_string(), "deployment.kubernetes.io/revision": number.to_string()},
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "u", "controller": true}]},
                "spec": {"template": template}, "status": {}})
        };
        let mut old = Self::template();
        old["spec"]["containers"][0]["image"] = json!("shop:8");
        let mut all = vec![set(1, old)];
        if self.has_set {
            let mut new = set(2, Self::template());
            if let Some((words, since)) = self.refused {
                new["status"]["conditions"] = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
                    "message": REFUSALS[words], "lastTransitionTime": time(since)}]);
            }
            all.push(new);
        }
        all
    }

    pub fn nodes(&self) -> Vec<Value> {
        let node = |(id, ready): (usize, &Option<bool>)| {
            let status = if (*ready)? { "True" } else { "Unknown" };
            Some(
                json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("node-{id}")}, "status": {"conditions": [{"type": "Ready", "status": status}]}}),
            )
        };
        self.nodes.iter().enumerate().filter_map(node).collect()
    }

    pub fn pods(&self) -> Vec<Value> {
        let json = |(id, pod): (usize, &Pod)| {
            let mut object = pod.json(id);
            // The node controller takes the readiness of pods whose node is silent.
            if pod.is_placed() && self.nodes[usize::from(pod.node)] == Some(false) {
                for condition in object["status"]["conditions"].as_array_mut().unwrap() {
                    if condition["type"] == "Ready" {
                        condition["status"] = json!("False");
                    }
                }
            }
            object
        };
        self.pods.iter().enumerate().map(json).collect()
    }

    pub fn events(&self) -> Vec<Value> {
        let of_pod = |(id, pod): (usize, &Pod)| {
            let name = pod.name(id);
            let event = move |(n, (event, second, of_app)): (usize, &(usize, i64, bool))| {
                let (kind, reason, note) = EVENTS[*event];
                let path = if *of_app { "spec.containers{app}" } else { "" };
                json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": format!("{name}-{n}"), "namespace": "prod"},
                    "involvedObject": {"kind": "Pod", "name": name, "fieldPath": path},
                    "type": kind, "reason": reason, "message": note, "count": 1, "lastTimestamp": time(*second)})
            };
            pod.events.iter().enumerate().map(event).collect::<Vec<_>>()
        };
        self.pods.iter().enumerate().flat_map(of_pod).collect()
    }

    /// The pod of this name.
    pub fn pod(&self, name: &str) -> Option<&Pod> {
        self.pods.iter().enumerate().find(|(id, pod)| pod.name(*id) == name).map(|(_, pod)| pod)
    }
}
