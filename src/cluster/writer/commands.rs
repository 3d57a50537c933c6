//! The commands that callers send. Each one runs on behalf of its caller.

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use tracing::debug;

use super::{
    autoscaler_policy::update_policy,
    delete::delete_app,
    deploy,
    objects::Writer,
    pause::{restart_unmanaged, set_paused},
    scale::scale_app,
};
use crate::domain::{
    Error,
    commands::{
        CommandResult, Commands, Delete, Deploy, Restart, Rollback, Scale, SetPaused, UpdateAutoscaler,
    },
};

impl Commands for Writer {
    fn deploy(&self, request: Deploy) -> BoxFuture<'_, Result<CommandResult, Error>> {
        async move { deploy::deploy(&self.on_behalf_of(&request.meta.caller), request).await }.boxed()
    }

    fn restart(&self, request: Restart) -> BoxFuture<'_, Result<CommandResult, Error>> {
        async move {
            let writer = self.on_behalf_of(&request.meta.caller);
            match deploy::restart(&writer, &request).await {
                Err(Error::NotManaged { .. }) => restart_unmanaged(&writer, &request).await,
                answer => answer,
            }
        }
        .boxed()
    }

    fn rollback(&self, request: Rollback) -> BoxFuture<'_, Result<CommandResult, Error>> {
        async move { deploy::rollback(&self.on_behalf_of(&request.meta.caller), request).await }.boxed()
    }

    fn scale(&self, request: Scale) -> BoxFuture<'_, Result<CommandResult, Error>> {
        async move { scale_app(&self.on_behalf_of(&request.meta.caller), request).await }.boxed()
    }

    fn set_paused(&self, request: SetPaused) -> BoxFuture<'_, Result<CommandResult, Error>> {
        async move { set_paused(&self.on_behalf_of(&request.meta.caller), request).await }.boxed()
    }

    fn delete(&self, request: Delete) -> BoxFuture<'_, Result<CommandResult, Error>> {
        async move { delete_app(&self.on_behalf_of(&request.meta.caller), request).await }.boxed()
    }

    fn update_autoscaler(&self, request: UpdateAutoscaler) -> BoxFuture<'_, Result<CommandResult, Error>> {
        async move { update_policy(&self.on_behalf_of(&request.meta.caller), request).await }.boxed()
    }

    fn has_namespace(&self, namespace: String) -> BoxFuture<'_, Option<bool>> {
        async move {
            let found = self.cluster.all::<Namespace>().exists(&namespace).await;
            found.inspect_err(|error| debug!(%namespace, %error, "cannot look for a namespace")).ok()
        }
        .boxed()
    }

    fn health_warnings(&self, now: Timestamp) -> Vec<String> {
        self.cluster.health_warnings(now)
    }
}
