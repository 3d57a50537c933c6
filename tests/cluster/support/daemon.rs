//! gantryd as a process, and a method for each call.

use std::{path::PathBuf, process::Stdio};

use gantry::pb::{
    self, app_service_client::AppServiceClient, autoscaler_service_client::AutoscalerServiceClient,
    discovery_service_client::DiscoveryServiceClient, rollout_service_client::RolloutServiceClient,
    timeline_service_client::TimelineServiceClient,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use tonic::{Status, Streaming, transport::Channel};

use super::{PATIENCE, given};

/// A running gantryd. It ends with its owner.
pub struct Daemon {
    pub child: Child,
    pub address: String,
}

/// A program that was built for the test.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(PathBuf::from(given("GANTRY_BIN_DIR")).join(name));
    command.env("KUBECONFIG", given("GANTRY_TEST_KUBECONFIG")).kill_on_drop(true);
    // One autoscaling loop for all tests would end with the test whose daemon runs it. Tests about the loop
    // start their own.
    command.env("GANTRYD_AUTOSCALER", "off");
    command
}

impl Daemon {
    pub async fn start() -> Self {
        Self::start_with(&["--context", &given("GANTRY_TEST_CONTEXT")], "ready apps=").await
    }

    /// Starts a daemon at the address of an earlier one.
    pub async fn start_at(address: &str) -> Self {
        Self::start_on(address, &["--context", &given("GANTRY_TEST_CONTEXT")], "ready apps=").await
    }

    /// Starts a daemon with these arguments, and waits until its log has this text.
    pub async fn start_with(args: &[&str], last: &str) -> Self {
        Self::start_on("127.0.0.1:0", args, last).await
    }

    async fn start_on(address: &str, args: &[&str], last: &str) -> Self {
        let mut child = program("gantryd")
            .args(["--insecure-loopback", "--listen", address, "--admin-listen", "127.0.0.1:0"])
            .args(args)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut address = None;
        let ready = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                eprintln!("{line}");
                if let Some((_, at)) = line.split_once("listening on ") {
                    address = Some(at.to_owned());
                }
                if line.contains(last) {
                    break;
                }
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.expect("the daemon becomes ready");
        #[allow(clippy::disallowed_methods)] // ends with the daemon's standard error
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                eprintln!("{line}");
            }
        });
        Self { child, address: address.expect("the daemon says where it listens") }
    }

    /// Kills the daemon with SIGKILL.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    pub async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    pub async fn apps(&self) -> AppServiceClient<Channel> {
        AppServiceClient::new(self.channel().await)
    }

    pub async fn autoscalers(&self) -> AutoscalerServiceClient<Channel> {
        AutoscalerServiceClient::new(self.channel().await)
    }

    pub async fn discovery(&self) -> DiscoveryServiceClient<Channel> {
        DiscoveryServiceClient::new(self.channel().await)
    }

    pub async fn timelines(&self) -> TimelineServiceClient<Channel> {
        TimelineServiceClient::new(self.channel().await)
    }

    pub async fn rollouts(&self) -> RolloutServiceClient<Channel> {
        RolloutServiceClient::new(self.channel().await)
    }
}

/// Methods that make one call of the daemon, each over a new connection.
macro_rules! calls {
    ($($client:ident: $($method:ident($request:ident) -> $answer:ty),*;)*) => {
        impl Daemon {
            $($(pub async fn $method(&self, request: pb::$request) -> Result<$answer, Status> {
                Ok(self.$client().await.$method(request).await?.into_inner())
            })*)*
        }
    };
}

calls! {
    apps:
        deploy_app(DeployAppRequest) -> pb::DeployAppResponse,
        scale_app(ScaleAppRequest) -> pb::ScaleAppResponse,
        restart_app(RestartAppRequest) -> pb::RestartAppResponse,
        delete_app(DeleteAppRequest) -> pb::DeleteAppResponse,
        get_app(GetAppRequest) -> pb::GetAppResponse,
        list_apps(ListAppsRequest) -> pb::ListAppsResponse,
        list_replicas(ListReplicasRequest) -> pb::ListReplicasResponse,
        watch_apps(WatchAppsRequest) -> Streaming<pb::WatchAppsResponse>;
    rollouts:
        rollback_app(RollbackAppRequest) -> pb::RollbackAppResponse,
        pause_rollout(PauseRolloutRequest) -> pb::PauseRolloutResponse,
        resume_rollout(ResumeRolloutRequest) -> pb::ResumeRolloutResponse,
        get_rollout(GetRolloutRequest) -> pb::GetRolloutResponse,
        list_rollouts(ListRolloutsRequest) -> pb::ListRolloutsResponse,
        watch_rollout(WatchRolloutRequest) -> Streaming<pb::WatchRolloutResponse>;
    autoscalers:
        get_autoscaler(GetAutoscalerRequest) -> pb::GetAutoscalerResponse,
        update_autoscaler(UpdateAutoscalerRequest) -> pb::UpdateAutoscalerResponse,
        list_scaling_decisions(ListScalingDecisionsRequest) -> pb::ListScalingDecisionsResponse,
        report_load(ReportLoadRequest) -> pb::ReportLoadResponse;
    discovery:
        list_endpoints(ListEndpointsRequest) -> pb::ListEndpointsResponse,
        watch_endpoints(WatchEndpointsRequest) -> Streaming<pb::WatchEndpointsResponse>;
    timelines:
        stream_logs(StreamLogsRequest) -> Streaming<pb::StreamLogsResponse>,
        watch_timeline(WatchTimelineRequest) -> Streaming<pb::WatchTimelineResponse>;
}
