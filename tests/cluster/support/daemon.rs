//! gantryd as a process: the daemon that tests share, the daemons that single tests start, and a method for
//! each call.

use std::{
    path::PathBuf,
    process::Stdio,
    sync::OnceLock,
    time::{Duration, Instant},
};

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

/// The arguments with which every daemon of the tests listens.
const LOOPBACK: [&str; 5] =
    ["--insecure-loopback", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

/// A running gantryd. A daemon that a test started ends when this is dropped; the shared one ends with the
/// tests.
pub struct Daemon {
    child: Option<Child>,
    pub address: String,
}

/// The gantryd that the tests share.
pub(super) struct SharedDaemon {
    address: String,
    log: PathBuf,
    /// The shell around it. While its standard input is open, the daemon runs.
    _shell: std::process::Child,
}

/// A program that was built for the test.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(program_path(name));
    command.envs(program_environment()).kill_on_drop(true);
    command
}

fn program_path(name: &str) -> PathBuf {
    PathBuf::from(given("GANTRY_BIN_DIR")).join(name)
}

fn program_environment() -> [(&'static str, String); 2] {
    // One autoscaling loop for all tests would end with the test whose daemon runs it. Tests about the loop
    // start their own.
    [("KUBECONFIG", given("GANTRY_TEST_KUBECONFIG")), ("GANTRYD_AUTOSCALER", "off".to_owned())]
}

/// Starts the shared daemon once. The shell around it stops the daemon when its standard input is closed,
/// which happens however this process ends.
#[allow(clippy::zombie_processes)] // it runs as long as this process
pub(super) fn shared_daemon() -> &'static SharedDaemon {
    static DAEMON: OnceLock<SharedDaemon> = OnceLock::new();
    DAEMON.get_or_init(|| {
        let log = PathBuf::from(given("GANTRY_BIN_DIR")).join("gantryd-of-tests.log");
        let mut shell = std::process::Command::new("sh");
        shell
            .args(["-c", "\"$@\" & daemon=$!; cat >/dev/null; kill $daemon", "sh"])
            .arg(program_path("gantryd"));
        shell.args(LOOPBACK).args(["--context", &given("GANTRY_TEST_CONTEXT")]).envs(program_environment());
        let output = std::fs::File::create(&log).unwrap();
        let shell = shell.stdin(Stdio::piped()).stderr(output).spawn().unwrap();
        let start = Instant::now();
        loop {
            let said = std::fs::read_to_string(&log).unwrap();
            if let Some((_, at)) = said.split_once("listening on ")
                && said.contains("ready apps=")
            {
                let address = at.split_whitespace().next().unwrap().to_owned();
                return SharedDaemon { address, log, _shell: shell };
            }
            assert!(start.elapsed() < PATIENCE, "the shared daemon does not become ready: {said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    })
}

impl SharedDaemon {
    /// The daemon as tests use it.
    pub(super) fn daemon(&self) -> Daemon {
        Daemon { child: None, address: self.address.clone() }
    }

    /// Prints the lines of its log that name this namespace.
    pub(super) fn print_log(&self, namespace: &str) {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        eprintln!("--- lines of {} with {namespace} ---", self.log.display());
        log.lines().filter(|line| line.contains(namespace)).for_each(|line| eprintln!("{line}"));
    }
}

impl Daemon {
    pub async fn start() -> Self {
        Self::start_with(&["--context", &given("GANTRY_TEST_CONTEXT")], "ready apps=").await
    }

    /// Starts a daemon with these arguments, and waits until its log has this text.
    pub async fn start_with(args: &[&str], last: &str) -> Self {
        let mut child = program("gantryd").args(LOOPBACK).args(args).stderr(Stdio::piped()).spawn().unwrap();
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
        Self { child: Some(child), address: address.expect("the daemon says where it listens") }
    }

    /// The process of a daemon that the test started.
    pub fn process(&mut self) -> &mut Child {
        self.child.as_mut().expect("a test that stops its daemon begins with run")
    }

    /// Kills the daemon with SIGKILL.
    pub async fn kill(&mut self) {
        self.process().kill().await.unwrap();
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
