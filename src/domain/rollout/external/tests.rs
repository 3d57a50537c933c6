//! A model of the writes when Gantry, kubectl and the Deployment controller change a Deployment in turn. Two
//! daemons see these writes by separate watches. Neither may ever take a change by Gantry for a change
//! outside it, and in the end both must know the last change. Also tests the rollout of a change outside
//! Gantry.

mod others;

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;

use super::{super::Tracker, AppRows, Origin, Rollout, State, find_origin};
use crate::domain::{
    app::App,
    diagnosis::Surroundings,
    labels::{MANAGED_BY_LABEL, MANAGER},
    name,
    observed::{
        Deployment, FieldUpdate, ReplicaSet, Revision,
        testing::{self, at},
    },
    revision::{Cause, Record},
    spec::{Content, Port, Protocol, Resources, Spec},
};

fn shop() -> name::App {
    name::App::new("prod", "shop")
}

fn mk_deployment() -> Deployment {
    Deployment {
        resource_version: 0,
        labels: [(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned())].into(),
        template_revision: 0,
        generation: 0,
        observed_generation: 0,
        deadline: Some(600),
        spec: Spec { image: "shop:1".into(), ..Spec::default() },
        ..testing::deployment(shop())
    }
}

fn mk_set(name: &str, template_revision: u64, revision: Option<u64>) -> ReplicaSet {
    ReplicaSet { template_revision, revision, ..testing::replica_set("prod", "shop", name) }
}

fn moment(version: u64) -> Timestamp {
    at(i64::try_from(version).unwrap() * 10)
}

fn mk_revision(number: u64, cause: Cause, applied: bool, version: u64) -> Revision {
    let record = Record::new(cause, Content::default(), String::new(), String::new(), moment(version));
    Revision { applied, version, ..Revision::new(shop(), number, record) }
}

/// The last write of a template: whether it was made outside Gantry, and its version.
type Writer = (bool, u64);

/// The objects in the API server, and every watch event that it sent.
#[derive(Default)]
struct Cluster {
    version: u64,
    deployment: Option<(Deployment, u8, Writer)>,
    /// By template.
    sets: BTreeMap<u8, ReplicaSet>,
    revisions: BTreeMap<u64, (Revision, u64)>,
    /// The template of each write, and whether it was made outside Gantry.
    asked: BTreeMap<u64, (u8, bool)>,
    /// Set when an earlier deploy was applied after a later one. A change outside Gantry after that cannot be
    /// recognized at once.
    disordered: bool,
    /// The remaining writes of the controller in its current round.
    round: Vec<Step>,
    told_deployment: Vec<(Deployment, Writer)>,
    told_sets: Vec<ReplicaSet>,
    told_revisions: Vec<(Revision, u64)>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The Deployment gets the number of its template.
    Number(u64),
    /// The controller reports that it has seen the newest desired state.
    Observe(i64),
}

impl Cluster {
    fn next(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// Changes the Deployment. `template` is the new template, and whether it is set outside Gantry.
    fn write(&mut self, template: Option<(u8, bool)>, change: impl FnOnce(&mut Deployment)) -> u64 {
        let version = self.next();
        let fresh = (mk_deployment(), 0, (false, 0));
        let (mut row, mut is, mut writer) = self.deployment.take().unwrap_or(fresh);
        change(&mut row);
        row.resource_version = version;
        if let Some((id, others)) = template {
            (is, writer) = (id, (others, version));
            self.asked.insert(version, (id, others));
            row.generation += 1;
            row.template = u64::from(id);
            self.round.clear();
            if others {
                row.template_by = Some(FieldUpdate { manager: "kubectl".into(), time: moment(version) });
            }
        }
        self.told_deployment.push((row.clone(), writer));
        self.deployment = Some((row, is, writer));
        version
    }

    fn keep(&mut self, revision: Revision, of: u64) {
        self.told_revisions.push((revision.clone(), of));
        self.revisions.insert(revision.number, (revision, of));
    }

    /// A deploy, rollback or restart by Gantry: writes the intent, the Deployment, and the applied mark.
    fn deploy(&mut self, template: u8, steps: &mut dyn FnMut(&mut Self)) {
        let number = self.revisions.keys().next_back().map_or(1, |n| n + 1);
        let version = self.next();
        self.keep(mk_revision(number, Cause::Deploy, false, version), u64::MAX);
        steps(self);
        let of = self.write(Some((template, false)), |d| d.revision = Some(number));
        steps(self);
        self.adopt(number, of);
    }

    /// Marks a revision as applied. It began when it was written.
    fn adopt(&mut self, number: u64, of: u64) {
        let version = self.next();
        let created = self.revisions[&number].0.created;
        self.keep(Revision { created, ..mk_revision(number, Cause::Deploy, true, version) }, of);
    }

    /// Two concurrent deploys: the later one is applied first, and each is marked as applied before the other
    /// one is applied.
    fn deploy_at_once(&mut self, template: u8, steps: &mut dyn FnMut(&mut Self)) {
        self.disordered = true;
        let number = self.revisions.keys().next_back().map_or(1, |n| n + 1);
        for number in [number, number + 1] {
            let version = self.next();
            self.keep(mk_revision(number, Cause::Deploy, false, version), u64::MAX);
            self.adopt(number, 0);
        }
        for (number, template) in [(number + 1, template), (number, (template + 1) % 5)] {
            let of = self.write(Some((template, false)), |d| d.revision = Some(number));
            steps(self);
            self.adopt(number, of);
        }
        // In the end the content of the later deploy must run.
        self.deploy(template, steps);
    }

    /// Returns whether Kubernetes has taken up the last write.
    fn is_taken_up(&self) -> bool {
        let Some((row, template, _)) = &self.deployment else { return false };
        self.runs(*template) && self.sets.get(template).is_some_and(|set| set.revision == row.revision)
    }

    /// Returns whether Kubernetes has made this template the current one.
    fn runs(&self, template: u8) -> bool {
        let number = |set: &ReplicaSet| set.template_revision;
        self.sets.get(&template).map(number) == self.sets.values().map(number).max()
    }

    fn kubectl_set(&mut self, template: u8) {
        if self.is_taken_up() && self.deployment.as_ref().is_some_and(|(_, is, _)| *is != template) {
            self.write(Some((template, true)), |_| ());
        }
    }

    /// Restores a template with the annotations of its ReplicaSet, even one that was never taken up.
    fn kubectl_undo(&mut self, which: u8) {
        let Some((_, is, (by_others, write))) = &self.deployment else { return };
        let others: Vec<_> = self.sets.iter().filter(|(t, _)| *t != is).collect();
        let Some((template, set)) = others.get(usize::from(which) % others.len().max(1)) else { return };
        let (template, revision) = (**template, set.revision);
        // After several unseen changes outside Gantry, an undo may leave no trace of them.
        let seen = !by_others || self.revisions.values().next_back().is_some_and(|(_, of)| of == write);
        if seen && (self.is_taken_up() || !self.runs(*is)) {
            self.write(Some((template, true)), |d| d.revision = revision);
        }
    }

    /// Makes one write of the Deployment controller. Returns false if it has nothing to do.
    fn control(&mut self) -> bool {
        let Some((row, template, _)) = self.deployment.clone() else { return false };
        if let Some(step) = self.round.pop() {
            self.write(None, |d| match step {
                Step::Number(number) => d.template_revision = number,
                Step::Observe(generation) => d.observed_generation = generation,
            });
            return true;
        }
        let others = self.sets.iter().filter(|(t, _)| **t != template);
        let number = others.map(|(_, s)| s.template_revision).max().unwrap_or(0) + 1;
        let observe = Step::Observe(row.generation);
        match self.sets.get(&template).cloned() {
            None => {
                let set = ReplicaSet {
                    template: row.template,
                    ..mk_set(&format!("t{template}"), number, row.revision)
                };
                self.told_sets.push(set.clone());
                self.sets.insert(template, set);
                self.round = vec![observe, Step::Number(number)];
            }
            // A reused ReplicaSet gets its number one round before the Deployment does.
            Some(set) if set.template_revision < number || set.revision != row.revision => {
                let number = number.max(set.template_revision);
                let set = ReplicaSet { template_revision: number, revision: row.revision, ..set };
                self.told_sets.push(set.clone());
                self.sets.insert(template, set);
                self.round = vec![observe];
            }
            Some(set) if set.template_revision != row.template_revision => {
                self.round = vec![observe, Step::Number(set.template_revision)];
                return self.control();
            }
            Some(_) if row.observed_generation < row.generation => {
                self.round = vec![observe];
                return self.control();
            }
            Some(_) => return false,
        }
        true
    }
}

/// A daemon: how many events of each watch it has seen.
#[derive(Default)]
struct Server {
    deployment: usize,
    sets: usize,
    revisions: usize,
}

impl Server {
    fn see(&mut self, cluster: &Cluster, which: u8, more: usize) {
        let step = |seen: &mut usize, all: usize| *seen = (*seen + more).min(all);
        match which % 3 {
            0 => step(&mut self.deployment, cluster.told_deployment.len()),
            1 => step(&mut self.sets, cluster.told_sets.len()),
            _ => step(&mut self.revisions, cluster.told_revisions.len()),
        }
    }

    /// Judges the rows seen so far, and stores a change outside Gantry as a revision. An error is a false
    /// claim.
    fn observe(&self, cluster: &mut Cluster) -> Result<Option<State>, String> {
        let Some((row, writer)) = self.deployment.checked_sub(1).map(|i| cluster.told_deployment[i].clone())
        else {
            return Ok(None);
        };
        let revisions: BTreeMap<_, _> =
            cluster.told_revisions[..self.revisions].iter().map(|r| (r.0.number, r.clone())).collect();
        let Some((newest, of)) = revisions.into_values().next_back() else { return Ok(None) };
        let sets: BTreeMap<_, _> =
            cluster.told_sets[..self.sets].iter().map(|rs| (rs.name.clone(), rs.clone())).collect();
        let facts = AppRows {
            deployment: Some(&row),
            managed: true,
            replica_sets: sets.values().collect(),
            pods: vec![],
            ended: Vec::new(),
            around: Surroundings::nothing(),
            autoscaler: None,
        };
        let number = match find_origin(&newest, &facts) {
            Origin::Current => return Ok(Some(State::Running)),
            Origin::Pending => return Ok(Some(State::Pending)),
            // The same change may be reported twice if it was made, undone and made again within one round of
            // the controller.
            Origin::External(_) if !writer.0 || writer.1 < of => {
                return Err(format!("{:?}\nafter {newest:?}\nby {writer:?}, not {of}", facts.replica_sets));
            }
            // The row of the Deployment may be one change ahead of its number.
            Origin::External(rs)
                if !cluster.disordered
                    && !cluster
                        .asked
                        .range(of..=writer.1)
                        .any(|(_, (template, others))| *others && *rs.name == format!("t{template}")) =>
            {
                return Err(format!(
                    "{} does not run what {writer:?} asked for, after {} of {of}: template {}, revision {:?}; {:?}; {:?}",
                    rs.name,
                    newest.number,
                    row.template_revision,
                    row.revision,
                    facts.replica_sets,
                    cluster.asked
                ));
            }
            Origin::External(rs) => rs.template_revision,
        };
        let Some(rollout) = Rollout::latest(Some(&newest), &facts) else { return Ok(None) };
        if (rollout.number, rollout.cause) != (newest.number + 1, Cause::External) {
            return Err(format!("{rollout:?}"));
        }
        if !cluster.revisions.contains_key(&rollout.number) {
            let version = cluster.next();
            let noted = mk_revision(rollout.number, Cause::External, true, version);
            let set = rollout.set.map(|(name, _)| name);
            let created = rollout.start;
            let noted = Revision { replica_set: set, template_revision: Some(number), created, ..noted };
            cluster.keep(noted, writer.1);
        }
        Ok(None)
    }
}

fn take_turns(turns: &[(u8, u8)]) -> Result<(), String> {
    let mut cluster = Cluster::default();
    let mut servers = [Server::default(), Server::default()];
    for (i, (turn, pick)) in turns.iter().copied().enumerate() {
        match turn {
            0 => {
                // The controller and kubectl may write between any two writes of a deploy.
                cluster.deploy(pick % 5, &mut |cluster| {
                    if pick > 200 {
                        cluster.kubectl_set(pick % 3);
                    }
                    for _ in 0..(pick / 5 % 5) {
                        cluster.control();
                    }
                });
            }
            1 => cluster.kubectl_set(pick % 5),
            2 => cluster.kubectl_undo(pick),
            3 => cluster.deploy_at_once(pick % 5, &mut |cluster| {
                for _ in 0..(pick / 5 % 5) {
                    cluster.control();
                }
            }),
            4..=9 => drop(cluster.control()),
            _ => {
                let server = &mut servers[i % 2];
                server.see(&cluster, turn, usize::from(pick % 4));
                server.observe(&mut cluster)?;
            }
        }
    }
    while cluster.control() {}
    for _ in 0..4 {
        for server in &mut servers {
            (0..3).for_each(|which| server.see(&cluster, which, usize::MAX / 2));
            server.observe(&mut cluster)?;
        }
    }
    let Some((_, _, (others, write))) = &cluster.deployment else { return Ok(()) };
    let (newest, of) = cluster.revisions.values().next_back().unwrap();
    // A change outside Gantry that was undone before any daemon saw it leaves no trace.
    if of != write && !(*others && cluster.asked[of].0 == cluster.asked[write].0) {
        return Err(format!("{newest:?} of {of} is not the last write {write}, outside Gantry: {others}"));
    }
    for server in &servers {
        if server.observe(&mut cluster)? != Some(State::Running) {
            return Err("a daemon that has seen everything does not know what runs".to_owned());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn who_was_last_is_known_in_the_end_and_nobody_is_blamed_before(turns in proptest::collection::vec((0u8..19, any::<u8>()), 0..120)) {
        if let Err(error) = take_turns(&turns) {
            prop_assert!(false, "{}", error);
        }
    }
}

/// Revision 2 ran with number 4. Another ReplicaSet is current now.
fn mk_changed(spec: Spec, live: Spec) -> Rollout {
    let content = Content { spec, ..Content::default() };
    let revision =
        Revision { content: content.into(), created: at(10), ..mk_revision(2, Cause::Deploy, true, 1) };
    let deployment = Deployment {
        revision: Some(2),
        template_revision: 5,
        template_by: Some(FieldUpdate { manager: "kubectl-set".into(), time: at(50) }),
        spec: live,
        ..mk_deployment()
    };
    let (old, new) = (mk_set("a", 4, Some(2)), ReplicaSet { created: at(50), ..mk_set("b", 5, Some(2)) });
    let facts = AppRows {
        deployment: Some(&deployment),
        managed: true,
        replica_sets: vec![&old, &new],
        pods: vec![],
        ended: Vec::new(),
        around: Surroundings::nothing(),
        autoscaler: None,
    };
    let tracker = &mut Tracker::default();
    Rollout::latest(Some(&revision), &facts).unwrap().judged(&facts, None, tracker, at(60).into())
}

#[test]
fn a_change_past_this_server_says_who_what_and_when() {
    let quantities =
        |cpu: &str| Resources { requests: [("cpu".to_owned(), cpu.to_owned())].into(), limits: [].into() };
    let port = |protocol| Port { name: "http".into(), number: 80, protocol };
    let asked = Spec {
        image: "shop:1".into(),
        args: vec!["-v".into()],
        ports: vec![port(Protocol::Grpc)],
        resources: Some(quantities("0.5")),
        replicas: Some(3),
        ..Spec::default()
    };
    let live = Spec {
        image: "shop:2".into(),
        ports: vec![port(Protocol::Tcp)],
        resources: Some(quantities("500m")),
        replicas: Some(7),
        container: "app".into(),
        ..Spec::default()
    };
    let rollout = mk_changed(asked.clone(), live.clone());
    assert_eq!((rollout.number, rollout.cause, rollout.actor.as_str()), (3, Cause::External, "kubectl-set"));
    assert_eq!((rollout.start, rollout.set.clone()), (at(50), Some(("b".into(), 5))));
    assert_eq!(rollout.message, "Changed outside Gantry by kubectl-set: 0 of 1 replica is ready.");
    let expected = Spec { image: "shop:2".into(), args: vec![], ..asked.clone() };
    assert_eq!(rollout.content.spec, expected, "what only looks different is as it was asked for");
    assert_eq!(rollout.digest, rollout.content.digest());

    // Fields that a pod template patch adds are no change outside Gantry.
    let patched = Spec { pod_template_patch: Some(serde_json::json!({})), ..asked };
    let rollout = mk_changed(patched.clone(), live);
    assert_eq!(rollout.content.spec, Spec { image: "shop:2".into(), ..patched });
}
