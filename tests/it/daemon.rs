//! gantryd as a process, without a cluster: when it refuses to start, what it logs and exports, and what its
//! admin port answers.

use std::{
    process::{Output, Stdio},
    sync::Mutex,
    time::Duration,
};

use gantry::pb::{self, app_service_client::AppServiceClient};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::Span,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStderr, Command},
    sync::mpsc,
};
use tonic::{Request, Response, Status};

use crate::support::reason;

const PATIENCE: Duration = Duration::from_secs(20);

/// A kubeconfig with a port on which nothing listens.
const NO_CLUSTER: &str = "{apiVersion: v1, kind: Config, current-context: x, clusters: [{name: x, cluster: {server: 'http://127.0.0.1:9'}}], \
     users: [{name: x, user: {}}], contexts: [{name: x, context: {cluster: x, user: x}}]}";

fn gantryd(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gantryd"));
    command.env_clear().env("HOME", "/nonexistent").args(args).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

struct Daemon {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    address: String,
    admin: String,
    _kubeconfig: tempfile::NamedTempFile,
}

impl Daemon {
    /// Starts a daemon that waits for its cluster.
    async fn start(args: &[&str]) -> Self {
        let kubeconfig = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(kubeconfig.path(), NO_CLUSTER).unwrap();
        let admin = free_address().await;
        let always = ["--insecure-loopback", "--listen", "127.0.0.1:0", "--admin-listen", &admin];
        let mut child = gantryd(&always).args(args).env("KUBECONFIG", kubeconfig.path()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = wait_for(&mut lines, "listening on ").await;
        let (_, rest) = line.split_once("listening on ").unwrap();
        let address = rest.split('"').next().unwrap().to_owned();
        Self { child, lines, address, admin, _kubeconfig: kubeconfig }
    }

    async fn get_app(&self, traceparent: Option<&'static str>) -> Status {
        let channel = tonic::transport::Channel::from_shared(format!("http://{}", self.address)).unwrap();
        let mut client = AppServiceClient::new(channel.connect().await.unwrap());
        let mut request =
            Request::new(pb::GetAppRequest { name: "namespaces/shop/apps/web".into(), ..Default::default() });
        if let Some(value) = traceparent {
            request.metadata_mut().insert("traceparent", value.parse().unwrap());
        }
        client.get_app(request).await.unwrap_err()
    }

    /// Status and body of a request to the admin port.
    async fn admin(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.admin).await.unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        stream.write_all((head + body).as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    async fn terminate(&mut self) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        let exit = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap();
        assert!(exit.success(), "{exit}");
    }
}

/// Binds a port and releases it, because the number of the admin port is not logged.
async fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

async fn wait_for(lines: &mut Lines<BufReader<ChildStderr>>, text: &str) -> String {
    let found = async {
        loop {
            let line = lines.next_line().await.unwrap().unwrap_or_else(|| panic!("no line with {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("no line with {text:?}"))
}

#[tokio::test]
async fn a_start_that_cannot_be_says_what_to_change() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let holder = TcpListener::bind(&taken).await.unwrap();
    let kubeconfig = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(kubeconfig.path(), NO_CLUSTER).unwrap();
    let file = kubeconfig.path().to_str().unwrap();
    let open = ["--insecure-loopback", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let cases: [(&[&str], &str); 9] = [
        (&["--listen", "127.0.0.1:0"], "--insecure-loopback"),
        (&["--insecure-loopback", "--listen", "0.0.0.0:0"], "listen on 127.0.0.1"),
        (
            &["--insecure-loopback", "--listen", "127.0.0.1:0", "--admin-listen", "0.0.0.0:0"],
            "listen on 127.0.0.1",
        ),
        (&["--insecure-loopback", "--listen", &taken], "another address with --listen"),
        (
            &["--insecure-loopback", "--listen", "127.0.0.1:0", "--admin-listen", &taken],
            "another with --admin-listen",
        ),
        (&[], "give --kubeconfig FILE, or set KUBECONFIG"),
        (&["--kubeconfig", "/nonexistent/file"], "name another with --kubeconfig FILE"),
        (&["--kubeconfig", file, "--context", "y"], "no context \"y\"; --context takes one of: x"),
        (&["--log", "gantry=loudly"], "write it like debug"),
    ];
    for (args, expected) in cases {
        let with_ports = if args.iter().any(|a| a.ends_with("listen")) { &[][..] } else { &open[..] };
        let run = gantryd(with_ports).args(args).output();
        let Output { status, stderr, .. } =
            tokio::time::timeout(PATIENCE, run).await.unwrap_or_else(|_| panic!("{args:?} starts")).unwrap();
        let text = String::from_utf8(stderr).unwrap();
        let last = text.lines().last().unwrap_or_default();
        assert_eq!(status.code(), Some(1), "{args:?}: {text}");
        assert!(last.starts_with("gantryd: ") && last.contains(expected), "{args:?}: {text}");
        // Each cause is named once.
        assert!(last.matches("os error").count() <= 1, "{last}");
    }
    drop(holder);
}

#[tokio::test]
async fn the_admin_port_shows_and_changes_what_is_logged() {
    let daemon = Daemon::start(&[]).await;
    let here = "Host: localhost\r\n";
    assert_eq!(daemon.admin("GET", "/livez", here, "").await, (200, "ok\n".to_owned()));
    assert_eq!(daemon.admin("GET", "/readyz", here, "").await.0, 503);
    let (status, metrics) = daemon.admin("GET", "/metrics", here, "").await;
    assert!(
        status == 200 && metrics.contains("\ngantry_build_info{version=") && metrics.ends_with("# EOF\n")
    );

    assert_eq!(daemon.admin("PUT", "/log", here, "debug").await.0, 200);
    assert_eq!(daemon.admin("GET", "/log", here, "").await, (200, "debug\n".to_owned()));
    let (status, why) = daemon.admin("POST", "/log", here, "gantry=loudly").await;
    assert!(status == 400 && why.contains("is not a log filter"), "{status} {why}");
    assert_eq!(daemon.admin("POST", "/log?for=never", here, "trace").await.0, 400);
    assert_eq!(daemon.admin("GET", "/log", here, "").await.1, "debug\n");

    let page = "Host: localhost\r\nOrigin: http://evil.example\r\n";
    assert_eq!(daemon.admin("POST", "/log", page, "off").await.0, 403);
    assert_eq!(daemon.admin("GET", "/metrics", "Host: evil.example\r\n", "").await.0, 403);
}

#[tokio::test]
async fn a_line_of_the_log_says_which_call_it_is_about() {
    let mut daemon = Daemon::start(&["--log-format", "json"]).await;
    assert_eq!(reason(&daemon.get_app(None).await), "WARMING_UP");
    let line = wait_for(&mut daemon.lines, "GetApp").await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["span"]["name"], "call", "{line}");
    assert_eq!(line["span"]["method"], "gantry.v1.AppService/GetApp", "{line}");
    assert!(line["span"]["id"].as_str().is_some_and(|id| !id.is_empty()), "{line}");
    assert_eq!(line["level"], "INFO", "{line}");
}

/// Stands in for an OpenTelemetry collector.
struct Collector(Mutex<mpsc::UnboundedSender<Span>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for span in
            request.into_inner().resource_spans.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans)
        {
            let _ = self.0.lock().unwrap().send(span);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test]
async fn a_call_is_a_span_of_the_callers_trace() {
    let (send, mut spans) = mpsc::unbounded_channel();
    // Bound at once, because another test may take an address that is only free.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap();
    let collector = TraceServiceServer::new(Collector(Mutex::new(send)));
    let serve = tonic::transport::Server::builder()
        .add_service(collector)
        .serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener));
    #[allow(clippy::disallowed_methods)] // ends with the test
    let serving = tokio::spawn(serve);

    let mut daemon = Daemon::start(&["--otlp-endpoint", &format!("http://{endpoint}")]).await;
    daemon.get_app(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")).await;
    // The remaining spans are sent at shutdown.
    daemon.terminate().await;
    let span = tokio::time::timeout(PATIENCE, spans.recv()).await.expect("a span arrives").unwrap();
    assert_eq!(span.name, "gantry.v1.AppService/GetApp");
    assert_eq!(span.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes());
    assert_eq!(span.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    let keys: Vec<_> = span.attributes.iter().map(|a| a.key.as_str()).collect();
    for key in ["id", "method", "rpc.system", "rpc.service", "rpc.method"] {
        assert!(keys.contains(&key), "{key} is not among {keys:?}");
    }
    serving.abort();
}

#[tokio::test]
async fn a_collector_that_is_gone_costs_no_call_and_no_end() {
    let mut daemon = Daemon::start(&["--otlp-endpoint", "http://127.0.0.1:9"]).await;
    for _ in 0..20 {
        assert_eq!(reason(&daemon.get_app(None).await), "WARMING_UP");
    }
    let start = tokio::time::Instant::now();
    daemon.terminate().await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
