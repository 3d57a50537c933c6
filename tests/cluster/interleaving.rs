//! Random changes at once: deploys, scalings, restarts, rollbacks and deletions of five apps by two daemons.
//! After each round the app is in a state that some order of the successful changes leads to, no change is
//! half done, and nothing prevents the next round.
//!
//! `GANTRY_TEST_ROUNDS=1000` tries that many; `GANTRY_TEST_SEED` repeats a run.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use futures::{StreamExt, future::join_all, stream};
use gantry::pb;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, Deployment},
    core::v1::Service,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api,
    api::{ListParams, ResourceExt},
};
use tonic::Status;

use crate::{
    proxy::{Fault, Proxy},
    support::{Daemon, Env, Numbers, reason, run, setting, until, web},
};

const APPS: usize = 5;

/// A change of one app.
#[derive(Clone, Debug)]
enum Change {
    Deploy {
        tag: u32,
        replicas: Option<i32>,
    },
    Scale(i32),
    Restart,
    /// To this rollout, which has this image.
    RollBack(String, String),
    Delete,
}

/// The parts of an app that the changes affect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct There {
    image: String,
    count: i32,
    /// The count was last set by a call other than a deploy.
    scaled: bool,
}

type State = Option<There>;

/// The state after a change that succeeded. `None` if the change cannot succeed in this state.
fn after(state: &State, change: &Change) -> Option<State> {
    match (change, state) {
        (Change::Delete, _) => Some(None),
        (Change::Deploy { tag, replicas }, None) => {
            Some(Some(There { image: image(*tag), count: replicas.unwrap_or(1), scaled: false }))
        }
        (Change::Deploy { tag, replicas }, Some(there)) => {
            let count = replicas.filter(|_| !there.scaled).unwrap_or(there.count);
            Some(Some(There { image: image(*tag), count, scaled: there.scaled }))
        }
        (Change::Scale(count), Some(there)) => {
            Some(Some(There { count: *count, scaled: true, ..there.clone() }))
        }
        (Change::Restart, Some(there)) => Some(Some(there.clone())),
        (Change::RollBack(_, image), Some(there)) => {
            Some(Some(There { image: image.clone(), ..there.clone() }))
        }
        (Change::Scale(_) | Change::Restart | Change::RollBack(..), None) => None,
    }
}

/// Every state that some order of the changes leads to.
fn outcomes(from: &State, changes: &[Change]) -> HashSet<State> {
    if changes.is_empty() {
        return HashSet::from([from.clone()]);
    }
    let mut all = HashSet::new();
    for (n, change) in changes.iter().enumerate() {
        if let Some(next) = after(from, change) {
            let rest: Vec<_> =
                changes.iter().enumerate().filter(|(m, _)| *m != n).map(|(_, c)| c.clone()).collect();
            all.extend(outcomes(&next, &rest));
        }
    }
    all
}

fn image(tag: u32) -> String {
    format!("web:{tag}")
}

struct Bed<'a> {
    env: &'a Env,
    daemons: [&'a Daemon; 2],
}

impl Bed<'_> {
    async fn do_it(&self, app: &str, change: Change, daemon: usize) -> (Change, Result<(), Status>) {
        let (daemon, name) = (self.daemons[daemon], self.env.name(app));
        let done = match &change {
            Change::Deploy { tag, replicas } => {
                let spec = pb::AppSpec { image: image(*tag), replicas: *replicas, ..web() };
                daemon.deploy_app(self.env.deploy_request(app, spec)).await.map(drop)
            }
            Change::Scale(count) => {
                let request = pb::ScaleAppRequest { name, replicas: Some(*count), ..Default::default() };
                daemon.scale_app(request).await.map(drop)
            }
            Change::Restart => {
                let request = pb::RestartAppRequest { name, ..Default::default() };
                daemon.restart_app(request).await.map(drop)
            }
            Change::RollBack(rollout, _) => {
                let request = pb::RollbackAppRequest { name, rollout: rollout.clone(), ..Default::default() };
                daemon.rollback_app(request).await.map(drop)
            }
            Change::Delete => {
                let request = pb::DeleteAppRequest { name, allow_missing: true, ..Default::default() };
                daemon.delete_app(request).await.map(drop)
            }
        };
        (change, done)
    }

    /// The state of the app once nothing is under way.
    async fn settled(&self, app: &str) -> State {
        let (client, namespace) = (&self.env.client, &self.env.namespace);
        let deployments = Api::<Deployment>::namespaced(client.clone(), namespace);
        let revisions = Api::<ControllerRevision>::namespaced(client.clone(), namespace);
        let services = Api::<Service>::namespaced(client.clone(), namespace);
        let budgets = Api::<PodDisruptionBudget>::namespaced(client.clone(), namespace);
        let of_app = ListParams::default().labels(&format!("gantry.dev/revisions-of={app}"));
        let (mut found, begun) = (None, Instant::now());
        until(&format!("{app} is settled"), async || {
            let (deployment, all) = tokio::join!(deployments.get_opt(app), revisions.list(&of_app));
            let (service, budget) = tokio::join!(services.get_opt(app), budgets.get_opt(app));
            let belongings = usize::from(service.unwrap().is_some()) + usize::from(budget.unwrap().is_some());
            let all = all.unwrap().items;
            if begun.elapsed().as_secs() > 50 {
                let told: Vec<_> = all.iter().map(|r| (r.name_any(), &r.metadata.owner_references)).collect();
                let deployment = deployment.as_ref().unwrap().as_ref().map(|d| &d.metadata);
                eprintln!("{app} does not settle: {belongings} belongings, {told:?} {deployment:?}");
            }
            let Some(deployment) = deployment.unwrap() else {
                found = Some(None);
                return all.is_empty() && belongings == 0;
            };
            let uid = deployment.uid();
            let owned =
                |r: &ControllerRevision| r.owner_references().iter().any(|o| Some(&o.uid) == uid.as_ref());
            let spec = deployment.spec.as_ref().unwrap();
            let scaled = deployment.managed_fields().iter().any(|m| {
                m.manager.as_deref() == Some("gantry-scale") && m.subresource.as_deref() == Some("scale")
            });
            found = Some(Some(There {
                image: spec.template.spec.as_ref().unwrap().containers[0].image.clone().unwrap(),
                count: spec.replicas.unwrap(),
                scaled,
            }));
            deployment.metadata.deletion_timestamp.is_none() && all.iter().all(owned) && belongings == 2
        })
        .await;
        found.unwrap()
    }

    /// The rollouts that a rollback may name, each with its image.
    async fn history(&self, app: &str) -> Vec<(String, String)> {
        let request = pb::ListRolloutsRequest {
            parent: self.env.name(app),
            view: pb::RolloutView::Full.into(),
            ..Default::default()
        };
        let listed = self.daemons[0].list_rollouts(request).await;
        let listed = listed.map(|l| l.rollouts).unwrap_or_default();
        listed.into_iter().map(|r| (r.name, r.spec.unwrap_or_default().image)).collect()
    }

    async fn rounds(&self, n: usize, rounds: usize, mut numbers: Numbers) -> usize {
        let app = format!("web-{n}");
        let (mut state, mut refused) = (None, 0);
        for round in 0..rounds {
            let history = self.history(&app).await;
            let mut changes = Vec::new();
            for _ in 0..=numbers.below(3) {
                let deletes = changes.iter().any(|change| matches!(change, Change::Delete));
                changes.push(match numbers.below(10) {
                    0..4 => Change::Deploy {
                        tag: u32::try_from(numbers.below(4)).unwrap(),
                        replicas: (numbers.below(2) == 0).then(|| numbers.small(6)),
                    },
                    4..6 => Change::Scale(numbers.small(6)),
                    6 => Change::Restart,
                    7 | 8 if !history.is_empty() && !deletes => {
                        let at = usize::try_from(numbers.below(history.len() as u64)).unwrap();
                        let (rollout, image) = history[at].clone();
                        Change::RollBack(rollout, image)
                    }
                    _ => Change::Delete,
                });
            }
            if changes.iter().any(|change| matches!(change, Change::Delete)) {
                // After a deletion the same number may name a different rollout of the next app of this name.
                changes.retain(|change| !matches!(change, Change::RollBack(..)));
            }
            let told = changes.clone();
            let doing = changes.into_iter().map(|change| {
                let daemon = usize::try_from(numbers.below(2)).unwrap();
                self.do_it(&app, change, daemon)
            });
            let done = join_all(doing.collect::<Vec<_>>()).await;
            let mut succeeded = Vec::new();
            for (change, outcome) in done {
                match outcome {
                    Ok(()) => succeeded.push(change),
                    Err(status) => {
                        refused += 1;
                        let reason = reason(&status);
                        let known = ["APP_NOT_FOUND", "BEING_DELETED", "ROLLOUT_NOT_FOUND", "WRITE_CONFLICT"];
                        assert!(
                            known.contains(&reason.as_str()),
                            "{app} round {round}: {change:?}: {status:?}"
                        );
                    }
                }
            }
            let found = self.settled(&app).await;
            let possible = outcomes(&state, &succeeded);
            assert!(
                possible.contains(&found),
                "{app} round {round}: {told:?} of {state:?}, of which {succeeded:?} succeeded, left {found:?}"
            );
            state = found;
        }
        refused
    }
}

#[tokio::test]
async fn a_deletion_of_nothing_takes_no_history_of_an_app_that_came_meanwhile() {
    run(|env| async move {
        let (deploys, deletes) =
            (Proxy::start(env.client.clone()).await, Proxy::start(env.client.clone()).await);
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let deployer = deploys.daemon(dirs[0].path()).await;
        let deleter = deletes.daemon(dirs[1].path()).await;
        // The deletion finds a revision without a Deployment, and deletes it when the deploy is done.
        deploys.spoil(Fault::Late(Duration::from_secs(3)), |call| {
            call.starts_with("PATCH") && call.contains("/deployments/web") && !call.contains("dryRun=All")
        });
        deletes.spoil(Fault::Late(Duration::from_secs(6)), |call| {
            call.starts_with("DELETE") && call.contains("/controllerrevisions/gantry-web-1")
        });
        let delete = async {
            let revisions = Api::<ControllerRevision>::namespaced(env.client.clone(), &env.namespace);
            until("the revision is written", async || {
                revisions.get_opt("gantry-web-1").await.unwrap().is_some()
            })
            .await;
            let request =
                pb::DeleteAppRequest { name: env.name("web"), allow_missing: true, ..Default::default() };
            deleter.delete_app(request).await.map(drop)
        };
        let (deployed, deleted) = tokio::join!(deployer.deploy_app(env.deploy_request("web", web())), delete);
        deployed.unwrap();
        deleted.unwrap();
        let request = pb::DeleteAppRequest { name: env.name("web"), ..Default::default() };
        env.daemon.delete_app(request).await.expect("Gantry manages what it deployed");
    })
    .await;
}

#[tokio::test]
async fn whatever_is_done_at_once_ends_as_some_order_of_it_would() {
    run(|env| async move {
        let (rounds, seed) = (setting("GANTRY_TEST_ROUNDS", 60), setting("GANTRY_TEST_SEED", 20_261_129));
        env.refuse_pods().await;
        let second = Daemon::start().await;
        let bed = Bed { env: &env, daemons: [&env.daemon, &second] };
        let begun = Instant::now();
        let each = usize::try_from(rounds).unwrap().div_ceil(APPS);
        let running = (0..APPS).map(|n| bed.rounds(n, each, Numbers(seed + n as u64)));
        let refused: usize =
            stream::iter(running).buffer_unordered(APPS).collect::<Vec<_>>().await.iter().sum();
        eprintln!(
            "{} rounds with seed {seed} in {:?}; {refused} changes were refused",
            each * APPS,
            begun.elapsed()
        );
    })
    .await;
}
