//! Changes of an app's objects between two deploys: calls of other methods, kubectl, and a Deployment that is
//! not managed by Gantry.

use gantry::pb;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service, policy::v1::PodDisruptionBudget};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::Bed;
use crate::support::{Numbers, until};

async fn restart(bed: &Bed<'_>) -> &'static str {
    let request = pb::RestartAppRequest { name: bed.env.name(&bed.app), ..Default::default() };
    // Refused while the Deployment is paused.
    drop(bed.env.daemon.apps().await.restart_app(request).await);
    "a restart"
}

async fn scale(bed: &Bed<'_>, replicas: i32) -> &'static str {
    let name = bed.env.name(&bed.app);
    let request = pb::ScaleAppRequest { name, replicas: Some(replicas), ..Default::default() };
    drop(bed.env.daemon.apps().await.scale_app(request).await);
    "ScaleApp"
}

async fn delete(bed: &Bed<'_>, kubectl: &Kubectl) -> &'static str {
    let request = pb::DeleteAppRequest { name: bed.env.name(&bed.app), ..Default::default() };
    if bed.env.daemon.apps().await.delete_app(request).await.is_err() {
        return "a deletion of an app not managed by Gantry";
    }
    // A Service that Gantry did not make stays.
    drop(kubectl.services.delete(&bed.app, &DeleteParams::default()).await);
    until("all of it is gone", async || bed.objects().await.is_empty()).await;
    until("the name is free", async || kubectl.deployments.get_opt(&bed.app).await.unwrap().is_none()).await;
    "a deletion"
}

/// The objects of an app that exists, written outside Gantry as `kubectl` writes them.
struct Kubectl {
    app: String,
    /// The name of the app's own container.
    container: String,
    deployments: Api<Deployment>,
    services: Api<Service>,
    budgets: Api<PodDisruptionBudget>,
}

impl Kubectl {
    /// Returns None if there is no Deployment of the app's name.
    async fn new(bed: &Bed<'_>) -> Option<Self> {
        let (client, namespace) = (&bed.env.client, &bed.env.namespace);
        let deployments = Api::<Deployment>::namespaced(client.clone(), namespace);
        let deployment = deployments.get_opt(&bed.app).await.unwrap()?;
        Some(Self {
            app: bed.app.clone(),
            container: deployment.spec.unwrap().template.spec.unwrap().containers[0].name.clone(),
            deployments,
            services: Api::namespaced(client.clone(), namespace),
            budgets: Api::namespaced(client.clone(), namespace),
        })
    }

    fn by(manager: &str) -> PatchParams {
        PatchParams { field_manager: Some(manager.to_owned()), ..Default::default() }
    }

    async fn patch(&self, manager: &str, patch: Patch<Value>) {
        self.deployments.patch(&self.app, &Self::by(manager), &patch).await.unwrap();
    }

    async fn patch_container(&self, mut fields: Value) {
        fields["name"] = json!(self.container);
        let patch = json!({"spec": {"template": {"spec": {"containers": [fields]}}}});
        self.patch("kubectl-set", Patch::Strategic(patch)).await;
    }

    async fn scale(&self, replicas: u64) -> &'static str {
        let scale = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        self.deployments.patch_scale(&self.app, &Self::by("kubectl"), &scale).await.unwrap();
        "kubectl scale"
    }

    async fn set_env(&self, name: &str, value: &str) -> &'static str {
        self.patch_container(json!({"env": [{"name": name, "value": value}]})).await;
        "kubectl set env"
    }

    async fn set_image(&self, image: &str) -> &'static str {
        self.patch_container(json!({"image": image})).await;
        "kubectl set image"
    }

    async fn annotate_and_label(&self, value: &str) -> &'static str {
        let note = json!({"metadata": {"annotations": {"note": value}, "labels": {"team": value}}});
        self.patch("kubectl-annotate", Patch::Merge(note)).await;
        "kubectl annotate and label"
    }

    async fn pause(&self) -> &'static str {
        self.patch("kubectl-rollout", Patch::Merge(json!({"spec": {"paused": true}}))).await;
        "kubectl rollout pause"
    }

    async fn edit_deployment(&self, ready_seconds: u64) -> &'static str {
        let spec = json!({"minReadySeconds": ready_seconds, "revisionHistoryLimit": 3});
        self.patch("kubectl-edit", Patch::Merge(json!({"spec": spec}))).await;
        "kubectl edit deployment"
    }

    async fn has_service(&self) -> bool {
        self.services.get_opt(&self.app).await.unwrap().is_some()
    }

    async fn edit_service(&self, number: u64, team: &str) -> &'static str {
        let port = json!({"name": "extra", "port": number});
        let ports =
            Patch::Strategic(json!({"spec": {"ports": [port]}, "metadata": {"labels": {"team": team}}}));
        // The API server refuses a name or a number that another port has.
        drop(self.services.patch(&self.app, &Self::by("kubectl-edit"), &ports).await);
        "kubectl edit service"
    }

    async fn delete_service(&self) -> &'static str {
        self.services.delete(&self.app, &DeleteParams::default()).await.unwrap();
        "kubectl delete service"
    }

    async fn has_budget(&self) -> bool {
        self.budgets.get_opt(&self.app).await.unwrap().is_some()
    }

    async fn edit_budget(&self) -> &'static str {
        let min = Patch::Merge(json!({"spec": {"minAvailable": null, "maxUnavailable": 2}}));
        if self.has_budget().await {
            self.budgets.patch(&self.app, &Self::by("kubectl-edit"), &min).await.unwrap();
        }
        "kubectl edit pdb"
    }

    async fn delete_budget(&self) -> &'static str {
        self.budgets.delete(&self.app, &DeleteParams::default()).await.unwrap();
        "kubectl delete pdb"
    }

    /// Creates a second PodDisruptionBudget for the pods of the app, or deletes it if it exists.
    async fn toggle_another_budget(&self) -> &'static str {
        let other = format!("other-{}", self.app);
        if self.budgets.get_opt(&other).await.unwrap().is_some() {
            self.budgets.delete(&other, &DeleteParams::default()).await.unwrap();
            return "another budget goes";
        }
        let budget = json!({"metadata": {"name": other}, "spec": {"maxUnavailable": 1,
            "selector": {"matchLabels": {"gantry.dev/app": self.app}}}});
        let budget = serde_json::from_value(budget).unwrap();
        self.budgets.create(&PostParams::default(), &budget).await.unwrap();
        "another budget comes"
    }
}

/// Makes a random change or none. Returns a name for it, for messages.
pub async fn act(bed: &Bed<'_>, numbers: &mut Numbers) -> &'static str {
    let Some(kubectl) = Kubectl::new(bed).await else {
        return if numbers.percent(60) { foreign(bed, numbers).await } else { "nothing: it is new" };
    };
    let what = numbers.below(40);
    let value = numbers.of(&["1", "2", "kubectl"]);
    match what {
        0 | 1 => restart(bed).await,
        2 | 3 => scale(bed, numbers.small(6)).await,
        4 | 5 => kubectl.scale(numbers.below(6)).await,
        6 | 7 => kubectl.set_env(numbers.of(&["A", "B", "OTHER"]), value).await,
        8 => kubectl.set_image(numbers.of(&["web:1", "web:7"])).await,
        9 => kubectl.annotate_and_label(value).await,
        10 | 11 if kubectl.has_service().await => kubectl.edit_service(7000 + numbers.below(2), value).await,
        12 if kubectl.has_service().await => kubectl.delete_service().await,
        13 if kubectl.has_budget().await => kubectl.delete_budget().await,
        14..=16 => kubectl.toggle_another_budget().await,
        17 => kubectl.pause().await,
        18 => kubectl.edit_deployment(numbers.below(3)).await,
        19 => kubectl.edit_budget().await,
        20 | 21 => delete(bed, &kubectl).await,
        _ => "nothing",
    }
}

/// Creates a Deployment of the app's name outside Gantry, with fields that the API has and with fields that
/// it does not have; sometimes with a Service.
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
