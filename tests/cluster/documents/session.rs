//! A shell in which the commands of one document run one after another, so that a variable that one command
//! exports is set for the next. Knows no document.

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::Ground;

/// Longest wait for one command. A control plane that starts while other tests run takes half of this time.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) struct Session {
    shell: Child,
    input: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
    dir: tempfile::TempDir,
    count: u32,
    /// Process groups that are ended with the session.
    staying: Vec<u32>,
}

/// The Python with the modules that documents need, if they could be installed.
fn python() -> Option<PathBuf> {
    env::var_os("GANTRY_TEST_PYTHON").map(PathBuf::from)
}

pub(super) fn has_module(_module: &str) -> bool {
    python().is_some()
}

impl Session {
    pub(super) async fn start(ground: &Ground) -> Self {
        let mut shell = Command::new("bash");
        shell.args(["--noprofile", "--norc"]).current_dir(env!("CARGO_MANIFEST_DIR")).kill_on_drop(true);
        // Variables that cargo and make set for a test are not meant for the programs that the test starts.
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            let begins = ["CARGO_BIN_", "CARGO_MANIFEST_", "CARGO_PKG_", "GANTRY_", "GANTRYD_"];
            let whole = ["CARGO", "LD_LIBRARY_PATH", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "OUT_DIR"];
            if begins.iter().any(|one| text.starts_with(one)) || whole.contains(&&*text) {
                shell.env_remove(name);
            }
        }
        let tools = env::var_os("GANTRY_TEST_TOOLS");
        let own = [
            python().and_then(|path| path.parent().map(Path::to_owned)),
            env::var_os("GANTRY_BIN_DIR").map(Into::into),
        ];
        let theirs = env::var_os("PATH").unwrap_or_default();
        let path = own.into_iter().flatten().chain(tools.map(PathBuf::from)).chain(env::split_paths(&theirs));
        let mut shell = shell
            .env("PATH", env::join_paths(path).unwrap())
            .env("KUBECONFIG", format!("{}/kubeconfig", ground.plane()))
            .env("CLUSTER_DIR", ground.plane())
            .env("GANTRY_ADDR", &ground.address)
            .env("GANTRYD_LISTEN", &ground.address)
            .env("GANTRYD_ADMIN_LISTEN", &ground.admin)
            .env("XDG_CONFIG_HOME", ground.dir.path()) // not those of the user
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null()) // it reports jobs that were ended
            .spawn()
            .unwrap();
        let mut input = shell.stdin.take().unwrap();
        let said = BufReader::new(shell.stdout.take().unwrap()).lines();
        // Each job is a process group and gets interrupts.
        input.write_all(b"set -m\n").await.unwrap();
        Self { shell, input, said, dir: tempfile::tempdir().unwrap(), count: 0, staying: Vec::new() }
    }

    /// Writes the command into a file, because its text may have any shape. Returns the file and the file for
    /// its output.
    fn write(&mut self, text: &str) -> (PathBuf, PathBuf) {
        self.count += 1;
        let file = self.dir.path().join(format!("{}.sh", self.count));
        std::fs::write(&file, format!("{text}\n")).unwrap();
        (file.clone(), file.with_extension("out"))
    }

    /// Runs a line in the shell and returns the number that it prints.
    async fn ask(&mut self, line: &str, place: &str, output: &Path) -> u32 {
        self.input.write_all(line.as_bytes()).await.unwrap();
        let Ok(said) = tokio::time::timeout(PATIENCE, self.said.next_line()).await else {
            panic!("{place}\nhas not ended within {PATIENCE:?}, and printed\n{}", read(output));
        };
        let said = said
            .unwrap()
            .unwrap_or_else(|| panic!("{place}\nended the shell, and printed\n{}", read(output)));
        said.parse().unwrap_or_else(|_| panic!("{place}: {said}"))
    }

    /// Runs a command to its end and checks its exit status; returns what it printed.
    pub(super) async fn run(&mut self, place: &str, text: &str, status: i32) -> String {
        let (file, output) = self.write(text);
        let line = format!(". {} >{} 2>&1 </dev/null; echo $?\n", file.display(), output.display());
        let ended = self.ask(&line, place, &output).await;
        let printed = read(&output);
        assert_eq!(i64::from(ended), i64::from(status), "{place}\nexit status; it printed\n{printed}");
        printed
    }

    /// Runs a command until it has printed all of these texts, and ends it now or with the session; returns
    /// what it printed.
    pub(super) async fn run_until(
        &mut self,
        place: &str,
        text: &str,
        prints: &[&str],
        stays: bool,
    ) -> String {
        let (file, output) = self.write(text);
        let line = format!("( . {} ) >{} 2>&1 </dev/null & echo $!\n", file.display(), output.display());
        let group = self.ask(&line, place, &output).await;
        self.staying.push(group);
        let start = Instant::now();
        let printed = loop {
            let printed = read(&output);
            if prints.iter().all(|text| printed.contains(text)) {
                break printed;
            }
            let alive = signal("-0", group);
            assert!(alive, "{place}\nended before it printed all of {prints:?}; it printed\n{printed}");
            assert!(start.elapsed() < PATIENCE, "{place}\nhas not printed all of {prints:?}, but\n{printed}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        if !stays {
            self.staying.pop();
            self.interrupt(group, place, &output).await;
        }
        printed
    }

    /// Ends a job as Ctrl-C does, and waits until it is gone.
    async fn interrupt(&mut self, group: u32, place: &str, output: &Path) {
        signal("-INT", group);
        let line = format!("wait {group}; echo $?\n");
        let mut gone = std::pin::pin!(self.ask(&line, place, output));
        tokio::select! {
            _ = &mut gone => return,
            // A shell without job control ignores an interrupt for its background jobs, and so do the
            // programs that they start, for example curl. These get SIGTERM.
            () = tokio::time::sleep(Duration::from_secs(3)) => drop(signal("-TERM", group)),
        }
        gone.await;
    }

    /// Ends the session, and the commands that last as long as it.
    pub(super) async fn end(mut self) {
        while let Some(group) = self.staying.pop() {
            let output = self.dir.path().join(format!("{}.out", self.count));
            self.interrupt(group, "the end of the document", &output).await;
        }
        self.input.write_all(b"exit\n").await.unwrap();
        self.shell.wait().await.unwrap();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A job whose end was not awaited leads its own process group too.
        for group in self.staying.iter().copied().chain(self.shell.id().into_iter().flat_map(children)) {
            signal("-KILL", group);
        }
    }
}

/// The running child processes of a process.
fn children(parent: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // State and parent follow the process name, which may contain any characters.
        let behind = stat.rsplit_once(')').map(|(_, behind)| behind.to_owned()).unwrap_or_default();
        behind.split_whitespace().nth(1) == Some(&parent.to_string())
    };
    pids.filter(is_child).collect()
}

#[tokio::test]
async fn a_session_that_is_given_up_leaves_nothing_behind() {
    let ground = Ground::new();
    let mut session = Session::start(&ground).await;
    session.input.write_all(b"sleep 600\n").await.unwrap();
    let shell = session.shell.id().unwrap();
    crate::support::until("the job runs", async || !children(shell).is_empty()).await;
    let job = children(shell)[0];
    drop(session);
    crate::support::until("the job is gone", async || !signal("-0", job)).await;
}

/// Sends a signal to a process group; returns whether the group exists.
fn signal(signal: &str, group: u32) -> bool {
    let group = format!("-{group}");
    let output = std::process::Command::new("kill").args([signal, "--", &group]).output().unwrap();
    output.status.success()
}

fn read(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
