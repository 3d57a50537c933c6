//! Properties that hold for every order in which rows arrive, and for the readers that follow.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::{collection::vec, option, prelude::*};

use super::{
    at, log, mk_deployment, mk_end, mk_event, mk_index, mk_pod, mk_revision, mk_set, mk_troubled, names,
    ours,
    places::{mk_node, mk_slice},
    tell,
};
use crate::{
    domain::{
        app::App,
        name::{self, Scope, Which},
        observed::{
            Deployment, EndpointSlice, Event, ExternalAutoscaler, HorizontalPodAutoscaler, Kind as Of, Node,
            Pod, ReplicaSet, Revision, ScaledObject,
        },
        spec::{Content, RolloutPolicy, Spec, Verdict},
    },
    index::{AppChange, AppFilter, ChangeCursor, Index, Kind},
};

/// The rows of the cluster, by key.
#[derive(Clone, Default)]
struct Rows {
    deployments: BTreeMap<String, Deployment>,
    sets: BTreeMap<String, ReplicaSet>,
    pods: BTreeMap<String, Pod>,
    events: BTreeMap<String, Event>,
    revisions: BTreeMap<(String, u64), Revision>,
    slices: BTreeMap<String, EndpointSlice>,
    nodes: BTreeMap<String, Node>,
    hpas: BTreeMap<String, HorizontalPodAutoscaler>,
    scaled: BTreeMap<String, ScaledObject>,
}

impl Rows {
    fn fill(&self, index: &Index) {
        index.reset_rows(Kind::Events, self.events.values().rev().cloned().collect(), at(9));
        index.reset_rows(Kind::EndpointSlices, self.slices.values().cloned().collect(), at(9));
        index.reset_rows(Kind::Pods, self.pods.values().cloned().collect(), at(9));
        index.reset_rows(Kind::Revisions, self.revisions.values().cloned().collect(), at(9));
        index.reset_rows(Kind::Deployments, self.deployments.values().cloned().collect(), at(9));
        index.reset_rows(Kind::ReplicaSets, self.sets.values().cloned().collect(), at(9));
        index.reset_rows(Kind::Nodes, self.nodes.values().cloned().collect(), at(9));
        index.reset_rows(Kind::HorizontalPodAutoscalers, self.hpas.values().cloned().collect(), at(9));
        index.reset_rows(Kind::ScaledObjects, self.scaled.values().cloned().collect(), at(9));
    }
}

/// One thing that happens in the cluster.
#[derive(Clone, Debug)]
enum Op {
    Deployment(Box<Deployment>, bool),
    Set(ReplicaSet, bool),
    Pod(Pod, bool),
    Event(Event, bool),
    Revision(Box<Revision>, bool),
    Slice(EndpointSlice, bool),
    Node(Node, bool),
    Hpa(ExternalAutoscaler, bool),
    Scaled(ExternalAutoscaler, bool),
}

fn keep<K: Ord, R>(rows: &mut BTreeMap<K, R>, key: K, row: R, there: bool) {
    if there {
        rows.insert(key, row)
    } else {
        rows.remove(&key)
    };
}

impl Op {
    fn run(self, rows: &mut Rows, index: &Index) {
        match self {
            Self::Deployment(row, there) => {
                keep(&mut rows.deployments, row.name.app.clone(), (*row).clone(), there);
                tell(index, *row, there);
            }
            Self::Set(row, there) => {
                keep(&mut rows.sets, row.name.to_string(), row.clone(), there);
                tell(index, row, there);
            }
            Self::Pod(row, there) => {
                keep(&mut rows.pods, row.name.to_string(), row.clone(), there);
                tell(index, row, there);
            }
            Self::Event(row, there) => {
                keep(&mut rows.events, row.id.to_string(), row.clone(), there);
                tell(index, row, there);
            }
            Self::Revision(row, there) => {
                keep(&mut rows.revisions, (row.app.app.clone(), row.number), (*row).clone(), there);
                tell(index, *row, there);
            }
            Self::Slice(row, there) => {
                keep(&mut rows.slices, row.name.to_string(), row.clone(), there);
                tell(index, row, there);
            }
            Self::Node(row, there) => {
                keep(&mut rows.nodes, row.name.to_string(), row.clone(), there);
                tell(index, row, there);
            }
            Self::Hpa(row, there) => {
                let row = HorizontalPodAutoscaler(row);
                keep(&mut rows.hpas, row.0.name.to_string(), row.clone(), there);
                tell(index, row, there);
            }
            Self::Scaled(row, there) => {
                let row = ScaledObject(row);
                keep(&mut rows.scaled, row.0.name.to_string(), row.clone(), there);
                tell(index, row, there);
            }
        }
    }
}

/// Generates any row of a few apps. No verdict is reached, because a verdict stays and would then depend on
/// the order.
fn mk_op() -> impl Strategy<Value = Op> {
    let app = || prop_oneof![Just("x"), Just("y")];
    let set = || prop_oneof![Just("s1"), Just("s2"), Just("s3")];
    let pod = || prop_oneof![Just("p1"), Just("p2"), Just("p3")];
    let there = || prop::bool::weighted(0.7);
    let revision = prop_oneof![Just(None), Just(Some(1)), Just(Some(3))];
    let about = prop_oneof![
        app().prop_map(|name| (Of::Deployment, name)),
        set().prop_map(|name| (Of::ReplicaSet, name)),
        pod().prop_map(|name| (Of::Pod, name)),
    ];
    let scaler = || {
        (app(), "[hk]", there()).prop_map(|(target, name, there)| {
            (
                ExternalAutoscaler {
                    namespace: "a".into(),
                    name: name.as_str().into(),
                    target: target.into(),
                },
                there,
            )
        })
    };
    prop_oneof![
        (app(), 0..2, revision, 0u64..3, any::<bool>(), there()).prop_map(
            |(app, ready, revision, number, is_ours, there)| {
                let row = Deployment { template_revision: number, ..mk_deployment(app, ready) };
                let ours_is = |row| Deployment { labels: ours(app), revision, desired: 3, ..row };
                let others_is = |row| Deployment {
                    // Never complete by its counts, because a verdict on the way would stay.
                    desired: 3,
                    // The end of an earlier rollout is known only to an index that saw it.
                    template_revision: 2,
                    deadline: Some(600),
                    // `x` is always complete, `y` is never taken up by the controller.
                    completed: (app == "x").then(|| at(5)),
                    generation: if app == "x" { 1 } else { 2 },
                    ..row
                };
                let row = if is_ours { ours_is(row) } else { others_is(row) };
                Op::Deployment(row.into(), there)
            }
        ),
        (app(), set(), 1u64..4, 1u64..3, there()).prop_map(|(app, name, revision, number, there)| {
            let row = mk_set(app, name);
            Op::Set(ReplicaSet { revision: Some(revision), template_revision: number, ..row }, there)
        }),
        scaler().prop_map(|(row, there)| Op::Hpa(row, there)),
        scaler().prop_map(|(row, there)| Op::Scaled(row, there)),
        (set(), pod(), any::<[bool; 3]>(), there()).prop_map(
            |(set, name, [well, deleting, placed], there)| {
                let pod = if well { mk_pod(set, name) } else { mk_troubled(set, name) };
                let address = placed.then_some([10, 0, 0, 1].into());
                Op::Pod(Pod { deleting, address, node: placed.then(|| "n".into()), ..pod }, there)
            }
        ),
        (vec((pod(), any::<bool>()), 0..4), "v[12]", there())
            .prop_map(|(pods, name, there)| Op::Slice(mk_slice(&name, &pods), there)),
        (option::of("z[12]"), there())
            .prop_map(|(zone, there)| Op::Node(mk_node("n", zone.as_deref()), there)),
        (about, "e[1-5]", 0i64..5, there()).prop_map(|((kind, name), id, second, there)| Op::Event(
            mk_event(&id, kind, name, second),
            there
        )),
        (app(), 1u64..4, there()).prop_map(|(app, number, there)| {
            let mut row = mk_revision(app, number, (number != 2).then(mk_end));
            let policy = RolloutPolicy { verdict: Verdict::Wait, ..RolloutPolicy::default() };
            let spec = Spec { rollout_policy: Some(policy), ..Spec::default() };
            row.content = Content { spec, ..Content::default() }.into();
            Op::Revision(row.into(), there)
        }),
    ]
}

/// Returns everything that a reader can see.
fn seen(index: &Index) -> impl PartialEq + std::fmt::Debug + use<> {
    let of = |text: &str| {
        let app = name::App::new("a", text);
        let which = [Which::Latest, Which::Number(1), Which::Number(2), Which::Number(3)];
        let rollouts = which.map(|revision| index.get_rollout(&name::Rollout { app: app.clone(), revision }));
        let listed = index.list_rollouts(&app, None, 9);
        let mut log: Vec<_> = log(index, text, 0).into_iter().map(|line| line.event).collect();
        log.sort_by(|one, other| one.id.cmp(&other.id));
        (
            index.get_app(&app),
            rollouts,
            listed,
            index.autoscaler_of(&app),
            log,
            index.get_endpoints(&app),
            index.list_replicas(&app, None, 9),
        )
    };
    (
        of("x"),
        of("y"),
        names(index, 9),
        index.size(),
        index.unrecorded_verdicts().len(),
        index.unrecorded_external_changes(),
    )
}

fn change_of(change: &AppChange) -> &name::App {
    match change {
        AppChange::Updated(app) => &app.name,
        AppChange::Deleted(name) => name,
    }
}

/// A reader of changes that remembers what it was sent.
struct Reader {
    scope: Scope,
    limit: usize,
    token: Option<String>,
    apps: BTreeMap<name::App, Arc<App>>,
    fresh: usize,
}

impl Reader {
    fn new(scope: Scope, limit: usize) -> Self {
        Self { scope, limit, token: None, apps: BTreeMap::new(), fresh: 0 }
    }

    /// Reads one batch. Returns whether more follow.
    fn read(&mut self, index: &Index) -> bool {
        let batch =
            index.changes_after(&self.scope, self.token.as_deref().and_then(ChangeCursor::parse), self.limit);
        assert!(batch.changes.len() <= self.limit);
        if batch.fresh {
            self.apps.clear();
            self.fresh += 1;
        }
        let told: BTreeSet<_> = batch.changes.iter().map(|(_, change)| change_of(change).clone()).collect();
        assert_eq!(told.len(), batch.changes.len(), "each app once");
        for (_, change) in batch.changes {
            match change {
                AppChange::Updated(app) => drop(self.apps.insert(app.name.clone(), app)),
                AppChange::Deleted(name) => drop(self.apps.remove(&name)),
            }
        }
        self.token = Some(batch.next.to_string());
        batch.more
    }

    fn read_all(&mut self, index: &Index) {
        let batches = (0..100).take_while(|_| self.read(index)).count();
        assert!(batches < 100, "does not end");
    }
}

fn all(index: &Index, scope: &Scope) -> Vec<Arc<App>> {
    index.list_apps(scope, &AppFilter::default(), None, 1000).0
}

proptest! {
    #[test]
    fn every_way_to_the_same_rows_ends_in_the_same_views(ops in vec(mk_op(), 0..60), filled in 0usize..60) {
        let (index, mut rows) = (Index::new(7), Rows::default());
        let mut follower = None;
        for (i, op) in ops.into_iter().enumerate() {
            if i == filled {
                rows.fill(&index);
            }
            op.run(&mut rows, &index);
            if index.is_filled() && follower.is_none() {
                follower = Some(index.watch_endpoints(&name::App::new("a", "x")));
            }
        }
        if !index.is_filled() {
            prop_assert_eq!(names(&index, 9), Vec::<String>::new());
            rows.fill(&index);
        }
        let direct = Index::new(8);
        rows.fill(&direct);
        prop_assert_eq!(seen(&index), seen(&direct));
        let now = direct.get_endpoints(&name::App::new("a", "x")).ok();
        if let Some(follower) = &mut follower {
            prop_assert_eq!(follower.borrow_and_update().clone(), now, "a follower ends with the current state");
        }
        // Reading the cluster once more changes nothing.
        let before = index.changes_after(&Scope::All, None, 99).next;
        rows.fill(&index);
        prop_assert_eq!(index.changes_after(&Scope::All, Some(before), 99).changes, vec![]);
        prop_assert!(follower.is_none_or(|f| !f.has_changed().unwrap()));
        prop_assert_eq!(seen(&index), seen(&direct));
    }

    #[test]
    fn a_reader_ends_with_the_apps_that_exist_in_their_latest_state(
        ops in vec((mk_op(), any::<[bool; 2]>()), 0..60), start in 0usize..60, limit in 1usize..4, one in option::of("x|y"),
    ) {
        let (index, mut rows) = (mk_index(), Rows::default());
        let scope = one.map_or(Scope::All, |app| Scope::App(name::App::new("a", app)));
        let mut reader = Reader::new(scope.clone(), limit);
        let (mut logged, mut lines) = (0, BTreeMap::new());
        for (i, (mut op, [reads, logs])) in ops.into_iter().enumerate() {
            // The events of a rollout are those of its ReplicaSet. If two ReplicaSets claimed to be it, one
            // would have events that the other does not have.
            if let Op::Set(row, _) = &mut op {
                row.template_revision = row.name.trim_start_matches('s').parse().unwrap();
                row.revision = Some(row.template_revision);
            }
            op.run(&mut rows, &index);
            if reads && i >= start {
                reader.read(&index);
            }
            // A rollout that does not exist cannot be followed.
            let first = name::Rollout { app: name::App::new("a", "x"), revision: Which::Number(1) };
            let follows = logs && index.get_rollout(&first).is_ok();
            for line in log(&index, "x", logged).into_iter().filter(|_| follows) {
                prop_assert!(line.sequence > logged, "a line twice, or not in order");
                logged = line.sequence;
                lines.insert(line.event.id.clone(), line.event);
            }
        }
        reader.read_all(&index);
        prop_assert_eq!(reader.apps.into_values().collect::<Vec<_>>(), all(&index, &scope));
        prop_assert_eq!(reader.fresh, 1);
        lines.extend(log(&index, "x", logged).into_iter().map(|line| (line.event.id.clone(), line.event)));
        for line in log(&index, "x", 0) {
            prop_assert_eq!(lines.get(&line.event.id), Some(&line.event), "a line was lost");
        }
    }

    #[test]
    fn pages_follow_the_names_without_gap_or_repeat(apps in prop::collection::btree_set(("[a-c]-?[a-c]", "[a-c.]{1,3}"), 0..30), size in 1usize..9) {
        let index = mk_index();
        let named = |(namespace, app): &(String, String)| Deployment { name: name::App::new(namespace, app), ..mk_deployment("", 1) };
        index.update_rows(apps.iter().map(named).collect(), vec![], at(9));
        let expected: Vec<_> = apps.iter().map(|(namespace, app)| format!("namespaces/{namespace}/apps/{app}")).collect();
        prop_assert_eq!(names(&index, size), expected.clone());
        let part = Scope::Namespace("a".into());
        let of: Vec<_> = expected.into_iter().filter(|name| name.starts_with("namespaces/a/")).collect();
        prop_assert_eq!(all(&index, &part).iter().map(|app| app.name.to_string()).collect::<Vec<_>>(), of);
    }
}

#[test]
fn a_cursor_that_cannot_be_followed_gives_a_fresh_snapshot() {
    let index = mk_index();
    index.update_rows(vec![mk_deployment("x", 1), mk_deployment("y", 1)], vec![], at(9));
    let mut reader = Reader::new(Scope::All, 9);
    reader.read_all(&index);
    let known = reader.token.clone().unwrap();
    for token in
        [known.replacen("w1.7", "w1.8", 1), "w1.7.99".into(), "w1.7".into(), "nonsense".into(), String::new()]
    {
        let batch = index.changes_after(&Scope::All, ChangeCursor::parse(&token), 9);
        assert!(batch.fresh && batch.changes.len() == 2, "{token}");
    }
    let followed = index.changes_after(&Scope::All, ChangeCursor::parse(&known), 9);
    assert!(!followed.fresh && followed.changes.is_empty());
}

#[test]
fn a_reader_too_far_behind_begins_anew_and_a_snapshot_ends_however_much_was_deleted() {
    let index = mk_index();
    index.update_rows(vec![mk_deployment("x", 1), mk_deployment("y", 1)], vec![], at(9));
    let mut reader = Reader::new(Scope::All, 9);
    reader.read_all(&index);
    let crowd = || (0..10_001).map(|i| mk_deployment(&format!("z{i}"), 1));
    index.update_rows(crowd().collect(), vec![], at(9));
    index.update_rows::<Deployment>(vec![], crowd().map(|d| d.name).collect(), at(9));
    reader.read_all(&index);
    assert_eq!((reader.fresh, reader.apps.len()), (2, 2));

    let mut new = Reader::new(Scope::All, 1);
    assert!(new.read(&index));
    tell(&index, mk_deployment("x", 1), false);
    new.read_all(&index);
    assert_eq!((new.fresh, new.apps.into_values().collect::<Vec<_>>()), (1, all(&index, &Scope::All)));
}
