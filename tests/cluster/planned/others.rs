//! What others do to the objects of an app between two deploys: callers by other methods, people with kubectl, controllers.

use gantry::pb;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service, policy::v1::PodDisruptionBudget};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::Bed;
use crate::support::{Numbers, until};

/// Does something, or nothing; its name is for messages.
pub async fn act(bed: &Bed<'_>, numbers: &mut Numbers) -> &'static str {
    let (client, namespace, app) = (&bed.env.client, &bed.env.namespace, bed.app.as_str());
    let deployments = Api::<Deployment>::namespaced(client.clone(), namespace);
    let services = Api::<Service>::namespaced(client.clone(), namespace);
    let budgets = Api::<PodDisruptionBudget>::namespaced(client.clone(), namespace);
    let name = bed.env.name(app);
    let Some(there) = deployments.get_opt(app).await.unwrap() else {
        return if numbers.percent(60) { foreign(bed, numbers).await } else { "nothing: it is new" };
    };
    let container = there.spec.unwrap().template.spec.unwrap().containers[0].name.clone();
    let by = |manager: &str| PatchParams { field_manager: Some(manager.to_owned()), ..Default::default() };
    let in_pod = |fields: Value| {
        let mut fields = fields;
        fields["name"] = json!(container);
        Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": [fields]}}}}))
    };
    let mut apps = bed.env.daemon.apps().await;
    let what = numbers.below(40);
    let value = numbers.of(&["1", "2", "kubectl"]);
    match what {
        0 | 1 => {
            // Refused while it is paused.
            drop(apps.restart_app(pb::RestartAppRequest { name, ..Default::default() }).await);
            "a restart"
        }
        2 | 3 => {
            let replicas = Some(numbers.small(6));
            drop(apps.scale_app(pb::ScaleAppRequest { name, replicas, ..Default::default() }).await);
            "ScaleApp"
        }
        4 | 5 => {
            let scale = Patch::Merge(json!({"spec": {"replicas": numbers.below(6)}}));
            deployments.patch_scale(app, &by("kubectl"), &scale).await.unwrap();
            "kubectl scale"
        }
        6 | 7 => {
            let env = in_pod(json!({"env": [{"name": numbers.of(&["A", "B", "OTHER"]), "value": value}]}));
            deployments.patch(app, &by("kubectl-set"), &env).await.unwrap();
            "kubectl set env"
        }
        8 => {
            let image = in_pod(json!({"image": numbers.of(&["web:1", "web:7"])}));
            deployments.patch(app, &by("kubectl-set"), &image).await.unwrap();
            "kubectl set image"
        }
        9 => {
            let note = Patch::Merge(
                json!({"metadata": {"annotations": {"note": value}, "labels": {"team": value}}}),
            );
            deployments.patch(app, &by("kubectl-annotate"), &note).await.unwrap();
            "kubectl annotate and label"
        }
        10 | 11 if services.get_opt(app).await.unwrap().is_some() => {
            let port = json!({"name": "extra", "port": 7000 + numbers.below(2)});
            let ports =
                Patch::Strategic(json!({"spec": {"ports": [port]}, "metadata": {"labels": {"team": value}}}));
            // The name or the number may be taken.
            drop(services.patch(app, &by("kubectl-edit"), &ports).await);
            "kubectl edit service"
        }
        12 if services.get_opt(app).await.unwrap().is_some() => {
            services.delete(app, &DeleteParams::default()).await.unwrap();
            "kubectl delete service"
        }
        13 if budgets.get_opt(app).await.unwrap().is_some() => {
            budgets.delete(app, &DeleteParams::default()).await.unwrap();
            "kubectl delete pdb"
        }
        14..=16 => {
            let other = format!("other-{app}");
            if budgets.get_opt(&other).await.unwrap().is_some() {
                budgets.delete(&other, &DeleteParams::default()).await.unwrap();
                return "another budget goes";
            }
            let budget = json!({"metadata": {"name": other}, "spec": {"maxUnavailable": 1,
                "selector": {"matchLabels": {"gantry.dev/app": app}}}});
            budgets.create(&PostParams::default(), &serde_json::from_value(budget).unwrap()).await.unwrap();
            "another budget comes"
        }
        17 => {
            let paused = Patch::Merge(json!({"spec": {"paused": true}}));
            deployments.patch(app, &by("kubectl-rollout"), &paused).await.unwrap();
            "kubectl rollout pause"
        }
        18 => {
            let strategy = Patch::Merge(
                json!({"spec": {"minReadySeconds": numbers.below(3), "revisionHistoryLimit": 3}}),
            );
            deployments.patch(app, &by("kubectl-edit"), &strategy).await.unwrap();
            "kubectl edit deployment"
        }
        19 => {
            let min = Patch::Merge(json!({"spec": {"minAvailable": null, "maxUnavailable": 2}}));
            if budgets.get_opt(app).await.unwrap().is_some() {
                budgets.patch(app, &by("kubectl-edit"), &min).await.unwrap();
            }
            "kubectl edit pdb"
        }
        20 | 21 => {
            let delete = pb::DeleteAppRequest { name, ..Default::default() };
            if apps.delete_app(delete).await.is_err() {
                return "a deletion of what others made";
            }
            // One that others made stays.
            drop(services.delete(app, &DeleteParams::default()).await);
            until("all of it is gone", async || bed.objects().await.is_empty()).await;
            until("the name is free", async || deployments.get_opt(app).await.unwrap().is_none()).await;
            "a deletion"
        }
        _ => "nothing",
    }
}

/// A Deployment of the app's name that the server did not make, with what it has no fields for and what it has; now and then a Service.
async fn foreign(bed: &Bed<'_>, numbers: &mut Numbers) -> &'static str {
    let (client, namespace, app) = (&bed.env.client, &bed.env.namespace, bed.app.as_str());
    let deployments = Api::<Deployment>::namespaced(client.clone(), namespace);
    let labels = json!({"run": app, "tier": "a"});
    let mut container =
        json!({"name": numbers.of(&["app", "main"]), "image": numbers.of(&["web:1", "web:9"])});
    let mut spec = json!({"replicas": numbers.below(4), "selector": {"matchLabels": {"run": app}}});
    if numbers.percent(50) {
        container["env"] = json!([{"name": "A", "value": "1"}, {"name": "OTHER", "value": "z"}]);
    }
    if numbers.percent(50) {
        container["ports"] = json!([{"containerPort": 8080, "name": numbers.of(&["http", "web"])}]);
        container["readinessProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 3});
    }
    if numbers.percent(50) {
        container["resources"] = json!({"requests": {"cpu": "100m"}});
        container["lifecycle"] = json!({"preStop": {"exec": {"command": ["true"]}}});
    }
    if numbers.percent(50) {
        container["volumeMounts"] = json!([{"name": "tmp", "mountPath": "/cache"}]);
    }
    if numbers.percent(50) {
        spec["minReadySeconds"] = json!(2);
        spec["strategy"] = json!({"rollingUpdate": {"maxSurge": 2, "maxUnavailable": 1}});
    }
    spec["template"] = json!({"metadata": {"labels": labels, "annotations": {"example.com/note": "z"}}, "spec": {
        "containers": [container], "volumes": [{"name": "tmp", "emptyDir": {}}]}});
    let metadata = json!({"name": app, "labels": {"team": "kubectl"}, "annotations": {"note": "kubectl"}});
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec});
    if numbers.percent(30) {
        let service =
            json!({"metadata": {"name": app}, "spec": {"ports": [{"port": 8080}], "selector": labels}});
        let services = Api::<Service>::namespaced(client.clone(), namespace);
        services.create(&PostParams::default(), &serde_json::from_value(service).unwrap()).await.unwrap();
    }
    if numbers.percent(50) {
        let params = PatchParams::apply("argocd-controller");
        deployments.patch(app, &params, &Patch::Apply(object)).await.unwrap();
        return "another's apply";
    }
    let params =
        PostParams { field_manager: Some("kubectl-client-side-apply".to_owned()), ..PostParams::default() };
    deployments.create(&params, &serde_json::from_value(object).unwrap()).await.unwrap();
    "kubectl create"
}
