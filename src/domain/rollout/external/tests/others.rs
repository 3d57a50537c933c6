//! Rollouts of Deployments that Gantry does not manage: their labels, and the etag of their content.

use super::*;

/// The rows of an app that Gantry does not manage, without pods.
fn mk_facts<'a>(deployment: &'a Deployment, set: &'a ReplicaSet) -> AppRows<'a> {
    AppRows {
        deployment: Some(deployment),
        managed: false,
        replica_sets: vec![set],
        pods: vec![],
        ended: Vec::new(),
        around: Surroundings::nothing(),
        autoscaler: None,
    }
}

/// Writes compute the etag of such an app from its Deployment, and reads from the view.
#[test]
fn an_app_of_others_has_one_etag_whether_its_rollout_is_known_or_not() {
    let labels =
        [("tier", "web"), (MANAGED_BY_LABEL, "Helm")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let deployment = Deployment { labels, template_revision: 1, ..mk_deployment() };
    let set = mk_set("shop-1", 1, None);
    let facts = mk_facts(&deployment, &set);
    let rollout = Rollout::latest(None, &facts).unwrap();
    let etag = |rollout| App::new(&deployment, None, rollout, &facts, Timestamp::UNIX_EPOCH).etag;
    let content = Content::of_unmanaged(&deployment.labels, &deployment.spec);
    assert_eq!(etag(Some(&rollout)), content.etag());
    assert_eq!(etag(None), content.etag());
    assert_eq!(content.labels, [("tier".to_owned(), "web".to_owned())].into());
}

#[test]
fn an_app_of_others_has_the_labels_that_its_deployer_may_set() {
    let labels = [(MANAGED_BY_LABEL, "Helm"), ("app.kubernetes.io/name", "shop"), ("team", "web")];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let deployment = Deployment { labels, template_revision: 5, ..mk_deployment() };
    let set = mk_set("a", 5, None);
    let facts = mk_facts(&deployment, &set);
    let rollout = Rollout::latest(None, &facts).unwrap();
    // The etag that a deploy compares is computed from the same labels.
    assert_eq!(rollout.content.labels, [("team".to_owned(), "web".to_owned())].into());
}
