//! Other tools for the same job, used as people use them: helm and kubectl, each as a separate process.
//! `benches/run` says where they are.

use std::{fs, path::PathBuf, process::Stdio};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::place::{Place, given};

/// A chart with the objects of one app, on disk.
pub struct Chart {
    app: String,
    namespace: String,
    /// The directory of the chart, and of helm's own files.
    directory: PathBuf,
}

/// Runs `kubectl rollout status`, which ends when the rollout does.
pub async fn rollout_status(place: &Place, app: &str) {
    let mut kubectl = Command::new("kubectl");
    kubectl.args(["rollout", "status", &format!("deployment/{app}"), "--timeout", "60s"]);
    run(kubectl.args(["--namespace", &place.namespace])).await;
}

async fn run(command: &mut Command) {
    command
        .env("KUBECONFIG", given("GANTRY_TEST_KUBECONFIG"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    let output = command.stderr(Stdio::piped()).spawn().expect("the program is there").wait_with_output();
    let output = output.await.unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

// === impl Chart ===

impl Chart {
    /// Writes a chart of these manifests, the Deployment first, and installs it.
    pub async fn install(place: &Place, app: &str, manifests: &[Value], image: &str) -> Self {
        let directory = PathBuf::from(given("GANTRY_BENCH_OUT")).join("helm").join(app);
        let templates = directory.join("chart/templates");
        fs::create_dir_all(&templates).unwrap();
        let about = json!({"apiVersion": "v2", "name": app, "version": "0.1.0"});
        fs::write(directory.join("chart/Chart.yaml"), about.to_string()).unwrap();
        fs::write(directory.join("chart/values.yaml"), json!({"image": image}).to_string()).unwrap();
        for (n, manifest) in manifests.iter().enumerate() {
            let mut manifest = manifest.clone();
            if n == 0 {
                manifest["spec"]["template"]["spec"]["containers"][0]["image"] = json!("{{ .Values.image }}");
            }
            fs::write(templates.join(format!("{n}.yaml")), manifest.to_string()).unwrap();
        }
        let chart = Self { app: app.to_owned(), namespace: place.namespace.clone(), directory };
        chart.helm("install", image, false).await;
        chart
    }

    /// `helm upgrade` to another image.
    pub async fn upgrade(&self, image: &str, wait: bool) {
        self.helm("upgrade", image, wait).await;
    }

    async fn helm(&self, verb: &str, image: &str, wait: bool) {
        let mut helm = Command::new(given("GANTRY_BENCH_HELM"));
        helm.args([verb, &self.app]).arg(self.directory.join("chart"));
        helm.args(["--namespace", &self.namespace, "--set", &format!("image={image}")]);
        if wait {
            helm.args(["--wait", "--timeout", "60s"]);
        }
        // helm neither reads from nor writes to the home directory of the user.
        for part in ["CACHE", "CONFIG", "DATA"] {
            helm.env(format!("HELM_{part}_HOME"), self.directory.join(part.to_lowercase()));
        }
        run(&mut helm).await;
    }
}
