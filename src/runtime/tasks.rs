//! Supervised tasks. The first one that ends shuts the whole process down in order. No task runs unobserved.

use std::{future::Future, time::Duration};

use anyhow::anyhow;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Tasks with names.
pub(super) struct Tasks {
    set: JoinSet<&'static str>,
    /// Once this is cancelled, the end of a task is expected.
    stop: CancellationToken,
}

// === impl Tasks ===

impl Tasks {
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self { set: JoinSet::new(), stop }
    }

    pub(super) fn run(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(async move {
            task.await;
            name
        });
    }

    /// Waits until a task ends. Returns an error unless `stop` was cancelled.
    pub(super) async fn first_end(&mut self) -> anyhow::Result<()> {
        match self.set.join_next().await {
            None => Ok(()),
            Some(_) if self.stop.is_cancelled() => Ok(()),
            Some(Ok(name)) => Err(anyhow!("the task \"{name}\" ended unexpectedly")),
            Some(Err(error)) => Err(anyhow!("a task panicked: {error}")),
        }
    }

    /// Waits for all tasks, up to a time limit.
    pub(super) async fn join(&mut self, longest: Duration) {
        let all = async { while self.set.join_next().await.is_some() {} };
        if tokio::time::timeout(longest, all).await.is_err() {
            warn!("tasks did not end in time");
        }
    }

    /// Aborts all tasks.
    pub(super) async fn abort(&mut self) {
        self.set.abort_all();
        while self.set.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_by_itself_is_an_error() {
        let stop = CancellationToken::new();
        let mut tasks = Tasks::new(stop.clone());
        tasks.run("forever", std::future::pending());
        tasks.run("brief", async {});
        let error = tasks.first_end().await.unwrap_err();
        assert!(error.to_string().contains("brief"), "{error}");
        tasks.abort().await;

        stop.cancel();
        let mut tasks = Tasks::new(stop);
        tasks.run("brief", async {});
        assert!(tasks.first_end().await.is_ok());
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let mut tasks = Tasks::new(CancellationToken::new());
        tasks.run("bad", async { panic!("on purpose") });
        assert!(tasks.first_end().await.is_err());
    }
}
