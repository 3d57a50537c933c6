//! One method for each call of the contract that more than one command needs. It takes names and returns the
//! object asked for. Must not know how calls are repeated.

use std::time::Duration;

use futures::{Stream, TryStreamExt};

use crate::{
    Client, Error,
    client::limited,
    name, v1,
    watch::{self, Update},
};

/// Rows of one page. The daemon may return fewer.
const PAGE_SIZE: i32 = 500;
/// The longest wait that the daemon allows.
const LONGEST_WAIT: Duration = Duration::from_mins(10);
/// How much later than its `timeout` the answer to a wait may come.
const LATE: Duration = Duration::from_secs(5);

/// Changes. Each is repeated while the daemon is not available, and happens once.
impl Client {
    /// Creates or changes an app.
    pub async fn deploy_app(&self, request: v1::DeployAppRequest) -> Result<v1::DeployAppResponse, Error> {
        self.write(request, |client, request| async move { client.apps().deploy_app(request).await }).await
    }

    /// Sets the replica count of an app.
    pub async fn scale_app(&self, request: v1::ScaleAppRequest) -> Result<v1::ScaleAppResponse, Error> {
        self.write(request, |client, request| async move { client.apps().scale_app(request).await }).await
    }

    /// Replaces every replica of an app.
    pub async fn restart_app(&self, request: v1::RestartAppRequest) -> Result<v1::RestartAppResponse, Error> {
        self.write(request, |client, request| async move { client.apps().restart_app(request).await }).await
    }

    /// Deletes an app.
    pub async fn delete_app(&self, request: v1::DeleteAppRequest) -> Result<v1::DeleteAppResponse, Error> {
        self.write(request, |client, request| async move { client.apps().delete_app(request).await }).await
    }

    /// Returns to an earlier rollout.
    pub async fn rollback_app(
        &self,
        request: v1::RollbackAppRequest,
    ) -> Result<v1::RollbackAppResponse, Error> {
        self.write(request, |client, request| async move { client.rollouts().rollback_app(request).await })
            .await
    }

    /// Pauses a rollout.
    pub async fn pause_rollout(
        &self,
        request: v1::PauseRolloutRequest,
    ) -> Result<v1::PauseRolloutResponse, Error> {
        self.write(request, |client, request| async move { client.rollouts().pause_rollout(request).await })
            .await
    }

    /// Resumes a paused rollout.
    pub async fn resume_rollout(
        &self,
        request: v1::ResumeRolloutRequest,
    ) -> Result<v1::ResumeRolloutResponse, Error> {
        self.write(request, |client, request| async move { client.rollouts().resume_rollout(request).await })
            .await
    }

    /// Changes the autoscaler of an app.
    pub async fn update_autoscaler(
        &self,
        request: v1::UpdateAutoscalerRequest,
    ) -> Result<v1::UpdateAutoscalerResponse, Error> {
        self.write(
            request,
            |client, request| async move { client.autoscalers().update_autoscaler(request).await },
        )
        .await
    }

    /// Reports load. The request has no id, because the latest figure of a source counts, however often it is
    /// sent.
    pub async fn report_load(&self, request: v1::ReportLoadRequest) -> Result<v1::ReportLoadResponse, Error> {
        let call = |client: Self, request| async move { client.autoscalers().report_load(request).await };
        self.read(request, call).await
    }
}

/// Reads. Each is repeated while the daemon is not available; lists are read to their end.
impl Client {
    /// Returns one app with its status.
    pub async fn get_app(&self, name: &name::App) -> Result<v1::App, Error> {
        let request = v1::GetAppRequest { name: name.to_string(), ..Default::default() };
        let call = |client: Self, request| async move { client.apps().get_app(request).await };
        self.read(request, call).await?.app.ok_or(Error::Incomplete("app"))
    }

    /// Returns every app that the request asks for, whatever its page size.
    pub async fn list_apps(&self, request: v1::ListAppsRequest) -> Result<Vec<v1::App>, Error> {
        let call = |client: Self, request| async move { client.apps().list_apps(request).await };
        pages(usize::MAX, async |page_token| {
            let request = v1::ListAppsRequest { page_token, page_size: PAGE_SIZE, ..request.clone() };
            self.read(request, call).await.map(|page| (page.apps, page.next_page_token))
        })
        .await
    }

    /// Returns every replica of an app.
    pub async fn list_replicas(&self, app: &name::App) -> Result<Vec<v1::Replica>, Error> {
        let parent = app.to_string();
        let call = |client: Self, request| async move { client.apps().list_replicas(request).await };
        pages(usize::MAX, async |page_token| {
            let parent = parent.clone();
            let request =
                v1::ListReplicasRequest { parent, page_token, page_size: PAGE_SIZE, ..Default::default() };
            self.read(request, call).await.map(|page| (page.replicas, page.next_page_token))
        })
        .await
    }

    /// Returns the latest rollouts of an app, newest first, at most `most`.
    pub async fn list_rollouts(
        &self,
        app: &name::App,
        view: v1::RolloutView,
        most: usize,
    ) -> Result<Vec<v1::Rollout>, Error> {
        let parent = app.to_string();
        let page_size = i32::try_from(most).unwrap_or(PAGE_SIZE).min(PAGE_SIZE);
        let call = |client: Self, request| async move { client.rollouts().list_rollouts(request).await };
        pages(most, async |page_token| {
            let parent = parent.clone();
            let view = view.into();
            let request =
                v1::ListRolloutsRequest { parent, page_token, page_size, view, ..Default::default() };
            self.read(request, call).await.map(|page| (page.rollouts, page.next_page_token))
        })
        .await
    }

    /// Returns every endpoint that the request asks for, whatever its page size.
    pub async fn list_endpoints(
        &self,
        request: v1::ListEndpointsRequest,
    ) -> Result<Vec<v1::Endpoint>, Error> {
        let call = |client: Self, request| async move { client.discovery().list_endpoints(request).await };
        pages(usize::MAX, async |page_token| {
            let request = v1::ListEndpointsRequest { page_token, page_size: 0, ..request.clone() };
            self.read(request, call).await.map(|page| (page.endpoints, page.next_page_token))
        })
        .await
    }

    /// Returns one rollout.
    pub async fn get_rollout(&self, name: &name::Rollout) -> Result<v1::Rollout, Error> {
        let request = v1::GetRolloutRequest { name: name.to_string(), ..Default::default() };
        let call = |client: Self, request| async move { client.rollouts().get_rollout(request).await };
        self.read(request, call).await?.rollout.ok_or(Error::Incomplete("rollout"))
    }

    /// Returns the autoscaler of an app.
    pub async fn get_autoscaler(&self, app: &name::App) -> Result<v1::Autoscaler, Error> {
        let request = v1::GetAutoscalerRequest { name: app.autoscaler(), ..Default::default() };
        let call = |client: Self, request| async move { client.autoscalers().get_autoscaler(request).await };
        self.read(request, call).await?.autoscaler.ok_or(Error::Incomplete("autoscaler"))
    }

    /// Returns the latest decisions that the request asks for, newest first, at most `most`.
    pub async fn list_scaling_decisions(
        &self,
        request: v1::ListScalingDecisionsRequest,
        most: usize,
    ) -> Result<Vec<v1::ScalingDecision>, Error> {
        let page_size = i32::try_from(most).unwrap_or(PAGE_SIZE).min(PAGE_SIZE);
        let call =
            |client: Self, request| async move { client.autoscalers().list_scaling_decisions(request).await };
        pages(most, async |page_token| {
            let request = v1::ListScalingDecisionsRequest { page_token, page_size, ..request.clone() };
            self.read(request, call).await.map(|page| (page.decisions, page.next_page_token))
        })
        .await
    }

    /// Returns what the daemon says about itself.
    pub async fn server_info(&self) -> Result<v1::GetServerInfoResponse, Error> {
        let call = |client: Self, request| async move { client.server().get_server_info(request).await };
        self.read(v1::GetServerInfoRequest {}, call).await
    }
}

/// Waits. They are not repeated, because only the caller knows how much time is left.
impl Client {
    /// Returns a rollout when it has ended, or its current state after `timeout`.
    pub async fn wait_rollout(&self, name: &name::Rollout, timeout: Duration) -> Result<v1::Rollout, Error> {
        let timeout = timeout.min(LONGEST_WAIT);
        let request = v1::WaitRolloutRequest {
            name: name.to_string(),
            timeout: prost_types::Duration::try_from(timeout).ok(),
        };
        // The daemon answers when `timeout` has passed, so the call itself must have longer.
        let request = limited(request, timeout + LATE);
        self.rollouts().wait_rollout(request).await?.into_inner().rollout.ok_or(Error::Incomplete("rollout"))
    }

    /// Returns an app when it is settled, or its current state after `timeout`. `read_after` is the position
    /// of the write whose outcome is waited for.
    pub async fn wait_app(
        &self,
        name: &name::App,
        read_after: &str,
        timeout: Duration,
    ) -> Result<v1::WaitAppResponse, Error> {
        let timeout = timeout.min(LONGEST_WAIT);
        let request = v1::WaitAppRequest {
            name: name.to_string(),
            read_after: read_after.to_owned(),
            timeout: prost_types::Duration::try_from(timeout).ok(),
        };
        Ok(self.apps().wait_app(limited(request, timeout + LATE)).await?.into_inner())
    }
}

/// Watches. Each continues after an interruption.
impl Client {
    /// Streams the apps below `parent` (`namespaces/{namespace}`, all with `-`, or one app), first as they
    /// are now and then after each change. A `Synced` message says whether the messages since the last
    /// interruption are everything, or only what changed.
    pub fn watch_apps(
        &self,
        parent: String,
        label_selector: String,
    ) -> impl Stream<Item = Result<Update<v1::WatchAppsResponse>, Error>> + use<> {
        let client = self.clone();
        watch::watch(move |resume_token| {
            let (client, parent, label_selector) = (client.clone(), parent.clone(), label_selector.clone());
            async move {
                let request = v1::WatchAppsRequest { parent, label_selector, resume_token };
                Ok(client.apps().watch_apps(request).await?.into_inner())
            }
        })
    }

    /// Streams a rollout until it has ended.
    pub fn watch_rollout(
        &self,
        name: &name::Rollout,
    ) -> impl Stream<Item = Result<Update<v1::WatchRolloutResponse>, Error>> + use<> {
        let (client, name) = (self.clone(), name.to_string());
        watch::watch(move |resume_token| {
            let (client, name) = (client.clone(), name.clone());
            async move {
                let request = v1::WatchRolloutRequest { name, resume_token };
                Ok(client.rollouts().watch_rollout(request).await?.into_inner())
            }
        })
    }

    /// Streams the decisions that the request asks for as they are made. After an interruption it continues
    /// after the last decision seen, or at the token of the request.
    pub fn watch_scaling_decisions(
        &self,
        request: v1::WatchScalingDecisionsRequest,
    ) -> impl Stream<Item = Result<Update<v1::WatchScalingDecisionsResponse>, Error>> + use<> {
        let client = self.clone();
        watch::watch(move |resume_token| {
            let (client, mut request) = (client.clone(), request.clone());
            if !resume_token.is_empty() {
                request.resume_token = resume_token;
            }
            async move { Ok(client.autoscalers().watch_scaling_decisions(request).await?.into_inner()) }
        })
    }

    /// Streams what happened to an app and what happens; set `follow` in the request. After an interruption
    /// it continues without loss or repeats.
    pub fn watch_timeline(
        &self,
        request: v1::WatchTimelineRequest,
    ) -> impl Stream<Item = Result<Update<v1::WatchTimelineResponse>, Error>> + use<> {
        let client = self.clone();
        watch::watch(move |resume_token| {
            let (client, mut request) = (client.clone(), request.clone());
            if !resume_token.is_empty() {
                request.resume_token = resume_token;
            }
            async move { Ok(client.timelines().watch_timeline(request).await?.into_inner()) }
        })
    }

    /// Streams the endpoints that the request asks for: the full set now and after each change.
    pub fn watch_endpoints(
        &self,
        request: v1::WatchEndpointsRequest,
    ) -> impl Stream<Item = Result<Update<v1::WatchEndpointsResponse>, Error>> + use<> {
        let client = self.clone();
        watch::watch(move |_none| {
            let (client, request) = (client.clone(), request.clone());
            async move { Ok(client.discovery().watch_endpoints(request).await?.into_inner()) }
        })
    }
}

/// Streams that end, or break off.
impl Client {
    /// Streams what happened to an app until now.
    pub async fn timeline(
        &self,
        request: v1::WatchTimelineRequest,
    ) -> Result<impl Stream<Item = Result<v1::WatchTimelineResponse, Error>> + use<>, Error> {
        let stream = self.timelines().watch_timeline(request).await?.into_inner();
        Ok(stream.map_err(Error::from))
    }

    /// Streams the lines that the replicas of an app print. A stream that broke off cannot be resumed: ask
    /// again, with `after` set.
    pub async fn stream_logs(
        &self,
        request: v1::StreamLogsRequest,
    ) -> Result<impl Stream<Item = Result<v1::StreamLogsResponse, Error>> + use<>, Error> {
        let stream = self.timelines().stream_logs(request).await?.into_inner();
        Ok(stream.map_err(Error::from))
    }
}

/// Reads page after page until a page names no next one, at most `most` rows.
async fn pages<T>(
    most: usize,
    fetch: impl AsyncFn(String) -> Result<(Vec<T>, String), Error>,
) -> Result<Vec<T>, Error> {
    let (mut rows, mut token) = (Vec::new(), String::new());
    loop {
        let (page, next) = fetch(token).await?;
        rows.extend(page);
        if next.is_empty() || rows.len() >= most {
            rows.truncate(most);
            return Ok(rows);
        }
        token = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pages_are_read_to_the_end_or_to_the_limit() {
        let read = async |most| {
            pages(most, async |token: String| {
                let n = token.parse().unwrap_or(0_u32);
                Ok((vec![n, n], if n < 3 { (n + 1).to_string() } else { String::new() }))
            })
            .await
            .expect("every page comes")
        };
        assert_eq!(read(usize::MAX).await, [0, 0, 1, 1, 2, 2, 3, 3]);
        assert_eq!(read(3).await, [0, 0, 1]);
        assert_eq!(
            pages(9, async |_| Err::<(Vec<u8>, _), _>(Error::Ended)).await.map_err(|e| e.to_string()),
            Err("the server ended the stream".into())
        );
    }
}
