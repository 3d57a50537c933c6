//! The commands that change nothing and end at once. Must not know how rollouts are followed.

use std::time::Duration;

use gantry_client::{Error, name, v1};

use super::{
    Context,
    list::{self, List},
    now,
};
use crate::{
    args::{self, Format},
    failure::{Exit, Failure},
    render::{describe, rows, terminal},
};

/// Default time limit of an answer.
pub(super) const READ: Duration = Duration::from_secs(30);

/// `gantry get`
pub(super) async fn get(context: &Context, flags: &args::Name) -> Result<Exit, Failure> {
    let name = context.app(&flags.name)?;
    let client = context.connect(READ).await?;
    let app = client.get_app(&name).await?;
    // The rollout is optional: the app is shown without it too.
    let rollout = app.status.as_ref().and_then(|status| name::Rollout::parse(&status.rollout).ok());
    let rollout = match rollout {
        Some(rollout) if context.output == Format::Table => client.get_rollout(&rollout).await.ok(),
        _ => None,
    };
    let table = |paint| describe::app(&app, rollout.as_ref(), now(), paint);
    terminal::print(context.output, &app, &app.name, table)?;
    Ok(Exit::Done)
}

/// `gantry list`
pub(super) async fn list(context: &mut Context, flags: &args::List) -> Result<Exit, Failure> {
    let scope = &flags.scope;
    let namespace = if scope.all_namespaces { "-" } else { context.namespace() };
    let request = v1::ListAppsRequest {
        parent: name::namespace(namespace),
        label_selector: scope.selector.clone(),
        states: flags.states.iter().map(|state| v1::AppState::from(*state).into()).collect(),
        ..Default::default()
    };
    let apps = context.connect(READ).await?.list_apps(request).await?;
    let place =
        if scope.all_namespaces { "any namespace".to_owned() } else { format!("namespace {namespace}") };
    let which = if scope.selector.is_empty() { String::new() } else { format!(" with {}", scope.selector) };
    let states = if flags.states.is_empty() { "" } else { " in one of these states" };
    let now = now();
    let list = List {
        empty: format!("no apps{which}{states} in {place}"),
        headings: &rows::LIST,
        rows: apps.iter().map(|app| rows::list(app, now)).collect(),
        painted: rows::painted,
        names: apps.iter().map(|app| app.name.clone()).collect(),
        answer: v1::ListAppsResponse { apps, next_page_token: String::new() },
    };
    list::print(context, list)
}

/// `gantry replicas`
pub(super) async fn replicas(context: &mut Context, flags: &args::Name) -> Result<Exit, Failure> {
    let name = context.app(&flags.name)?;
    let replicas = context.connect(READ).await?.list_replicas(&name).await?;
    let now = now();
    let list = List {
        empty: format!("{} has no replicas", context.short(&name.to_string())),
        headings: &rows::replicas::HEADINGS,
        rows: replicas.iter().map(|replica| rows::replicas::row(replica, now)).collect(),
        painted: rows::replicas::painted,
        names: replicas.iter().map(|replica| replica.pod.clone()).collect(),
        answer: v1::ListReplicasResponse { replicas, next_page_token: String::new() },
    };
    list::print(context, list)
}

/// `gantry rollouts`
pub(super) async fn rollouts(context: &mut Context, flags: &args::Rollouts) -> Result<Exit, Failure> {
    let name = context.app(&flags.name)?;
    let client = context.connect(READ).await?;
    if let Some(number) = &flags.rollout {
        let rollout = client.get_rollout(&name.rollout(number).map_err(Error::from)?).await?;
        let table = |paint| describe::rollout(&rollout, now(), paint);
        terminal::print(context.output, &rollout, &rollout.name, table)?;
        return Ok(Exit::Done);
    }
    // The table shows the image, which is part of the spec.
    let full = flags.full || context.output == Format::Table;
    let view = if full { v1::RolloutView::Full } else { v1::RolloutView::Basic };
    let rollouts = client.list_rollouts(&name, view, flags.limit).await?;
    let now = now();
    let list = List {
        empty: format!("{} has no rollouts", context.short(&name.to_string())),
        headings: &rows::rollouts::HEADINGS,
        rows: rollouts.iter().map(|rollout| rows::rollouts::row(rollout, now)).collect(),
        painted: rows::rollouts::painted,
        names: rollouts.iter().map(|rollout| rollout.name.clone()).collect(),
        answer: v1::ListRolloutsResponse { rollouts, next_page_token: String::new() },
    };
    list::print(context, list)
}

/// `gantry endpoints`
pub(super) async fn endpoints(context: &mut Context, flags: &args::Endpoints) -> Result<Exit, Failure> {
    let name = context.app(&flags.name)?;
    let request = v1::ListEndpointsRequest {
        parent: name.to_string(),
        port: flags.port.clone(),
        include_unready: flags.all,
        ..Default::default()
    };
    let endpoints = context.connect(READ).await?.list_endpoints(request).await?;
    let which = if flags.all { "" } else { " that take traffic" };
    let list = List {
        empty: format!("{} has no endpoints{which}", context.short(&name.to_string())),
        headings: &rows::endpoints::HEADINGS,
        rows: endpoints.iter().map(rows::endpoints::row).collect(),
        painted: rows::endpoints::painted,
        names: endpoints.iter().map(rows::endpoints::address).collect(),
        answer: v1::ListEndpointsResponse { endpoints, next_page_token: String::new() },
    };
    list::print(context, list)
}

/// `gantry info`
pub(super) async fn info(context: &Context) -> Result<Exit, Failure> {
    let info = context.connect(READ).await?.server_info().await?;
    let settings = context.settings.lines();
    let address = &context.settings.server.value;
    terminal::print(context.output, &info, address, |paint| describe::server(&settings, &info, paint))?;
    Ok(Exit::Done)
}
