//! Arbitrary specs, with every field of the contract. Each is deployed, read back unchanged, deployed again
//! without a write, changed in one field as its plan says, rolled back, scaled, paused, resumed and deleted,
//! and nothing is left. A patch that Kubernetes refuses is refused with its path, and nothing is written.
//!
//! `GANTRY_TEST_SPECS=1000` and `GANTRY_TEST_PATCHES=1000` try that many, `GANTRY_TEST_SEED` repeats a run,
//! and `GANTRY_TEST_CASE` together with the seed repeats one case of it.

mod any;
mod broken;
mod case;
mod kept;
mod patch;
mod shown;

use std::{
    panic::AssertUnwindSafe,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use futures::{FutureExt, StreamExt, stream};
use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::ServiceAccount};
use kube::{
    Api,
    api::{ListParams, PostParams, ResourceExt},
};
use serde_json::json;

use self::case::Case;
use crate::support::{Env, Numbers, run, setting, until};

/// Apps at once.
const AT_ONCE: usize = 8;

/// Failures after which no further case is tried.
const ENOUGH: usize = 20;

/// The cases of a run: all of them, or the one that the environment names.
fn cases(count: u64) -> std::ops::Range<u64> {
    match std::env::var("GANTRY_TEST_CASE").ok().and_then(|text| text.parse().ok()) {
        Some(one) => one..one + 1,
        None => 0..count,
    }
}

fn numbers(seed: u64, i: u64) -> Numbers {
    Numbers(seed.wrapping_mul(1_000_003).wrapping_add(i))
}

/// Runs all cases, also those after one that failed, and fails with what each said.
async fn run_all<T>(all: impl Iterator<Item = T>, one: impl AsyncFn(T)) {
    let failed = Mutex::new(Vec::new());
    let count = || failed.lock().unwrap_or_else(PoisonError::into_inner).len();
    stream::iter(all)
        .for_each_concurrent(AT_ONCE, |case| async {
            if count() >= ENOUGH {
                return;
            }
            if let Err(panic) = AssertUnwindSafe(one(case)).catch_unwind().await {
                let said = panic.downcast_ref::<String>().cloned();
                let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                failed.lock().unwrap_or_else(PoisonError::into_inner).push(said.unwrap_or_default());
            }
        })
        .await;
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(failed.is_empty(), "{} cases failed:\n{}", failed.len(), failed.join("\n\n"));
}

async fn make_accounts(env: &Env) {
    let api = Api::<ServiceAccount>::namespaced(env.client.clone(), &env.namespace);
    for name in any::ACCOUNTS {
        let account = json!({"metadata": {"name": name}});
        api.create(&PostParams::default(), &serde_json::from_value(account).unwrap()).await.unwrap();
    }
}

/// Waits until nothing of any app is left.
async fn all_is_gone(env: &Env) {
    let sets = Api::<ReplicaSet>::namespaced(env.client.clone(), &env.namespace);
    let mut left = Vec::new();
    let begun = Instant::now();
    until("everything is deleted", async || {
        left = env.objects().await;
        left.extend(sets.list(&ListParams::default()).await.unwrap().iter().map(ResourceExt::name_any));
        if begun.elapsed().as_secs() > 50 {
            eprintln!("still there: {left:?}");
        }
        left.is_empty()
    })
    .await;
}

#[tokio::test]
async fn any_spec_is_deployed_read_changed_as_planned_rolled_back_and_deleted() {
    run(|env| async move {
        let (seed, count) = (setting("GANTRY_TEST_SEED", 20_261_201), setting("GANTRY_TEST_SPECS", 100));
        env.refuse_pods().await;
        make_accounts(&env).await;
        let begun = Instant::now();
        let kept = kept::cases().into_iter().enumerate().map(|(i, case)| (format!("kept-{i}"), case));
        let drawn = cases(count).map(|i| (format!("app-{i}"), Case::draw(seed, i)));
        run_all(kept.chain(drawn), async |(app, case): (String, Case)| case.run(&env, &app).await).await;
        all_is_gone(&env).await;
        eprintln!("{count} specs with seed {seed} in {:?}", begun.elapsed());
    })
    .await;
}
