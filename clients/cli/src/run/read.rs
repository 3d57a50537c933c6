//! The commands that change nothing and end at once. Must not know how rollouts are followed.

use std::time::Duration;

use gantry_client::{Error, name, v1};

use super::{Context, now};
use crate::{
    args::{self, Format},
    describe,
    failure::{Exit, Failure},
    rows, terminal,
};

/// How long an answer may take.
pub(super) const READ: Duration = Duration::from_secs(30);

/// `gantry get`
pub(super) async fn get(context: &Context, flags: &args::Name) -> Result<Exit, Failure> {
    let name = context.app(&flags.name)?;
    let client = context.connect(READ).await?;
    let app = client.get_app(&name).await?;
    // The rollout only adds to the picture: the app is shown without it too.
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
    match context.output {
        Format::Table if apps.is_empty() => {
            let place = if scope.all_namespaces {
                "any namespace".to_owned()
            } else {
                format!("namespace {namespace}")
            };
            let which =
                if scope.selector.is_empty() { String::new() } else { format!(" with {}", scope.selector) };
            let states = if flags.states.is_empty() { "" } else { " in one of these states" };
            context.screen.print(&[format!("no apps{which}{states} in {place}")]);
        }
        Format::Table => {
            let now = now();
            let rows: Vec<_> = apps.iter().map(|app| rows::list(app, now)).collect();
            terminal::table(&rows::LIST, &rows, rows::painted)?;
        }
        Format::Name => terminal::lines(&apps.into_iter().map(|app| app.name).collect::<Vec<_>>())?,
        other @ (Format::Json | Format::Yaml) => {
            let whole = v1::ListAppsResponse { apps, next_page_token: String::new() };
            terminal::print(other, &whole, "", |_| Vec::new())?;
        }
    }
    Ok(Exit::Done)
}

/// `gantry replicas`
pub(super) async fn replicas(context: &mut Context, flags: &args::Name) -> Result<Exit, Failure> {
    let name = context.app(&flags.name)?;
    let replicas = context.connect(READ).await?.list_replicas(&name).await?;
    match context.output {
        Format::Table if replicas.is_empty() => {
            context.screen.print(&[format!("{} has no replicas", context.short(&name.to_string()))]);
        }
        Format::Table => {
            let now = now();
            let rows: Vec<_> = replicas.iter().map(|replica| rows::replicas::row(replica, now)).collect();
            terminal::table(&rows::replicas::HEADINGS, &rows, rows::replicas::painted)?;
        }
        Format::Name => {
            terminal::lines(&replicas.into_iter().map(|replica| replica.pod).collect::<Vec<_>>())?;
        }
        other @ (Format::Json | Format::Yaml) => {
            let whole = v1::ListReplicasResponse { replicas, next_page_token: String::new() };
            terminal::print(other, &whole, "", |_| Vec::new())?;
        }
    }
    Ok(Exit::Done)
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
    match context.output {
        Format::Table if rollouts.is_empty() => {
            context.screen.print(&[format!("{} has no rollouts", context.short(&name.to_string()))]);
        }
        Format::Table => {
            let now = now();
            let rows: Vec<_> = rollouts.iter().map(|rollout| rows::rollouts::row(rollout, now)).collect();
            terminal::table(&rows::rollouts::HEADINGS, &rows, rows::rollouts::painted)?;
        }
        Format::Name => {
            terminal::lines(&rollouts.into_iter().map(|rollout| rollout.name).collect::<Vec<_>>())?;
        }
        other @ (Format::Json | Format::Yaml) => {
            let whole = v1::ListRolloutsResponse { rollouts, next_page_token: String::new() };
            terminal::print(other, &whole, "", |_| Vec::new())?;
        }
    }
    Ok(Exit::Done)
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
    match context.output {
        Format::Table if endpoints.is_empty() => {
            let which = if flags.all { "" } else { " that take traffic" };
            context.screen.print(&[format!("{} has no endpoints{which}", context.short(&name.to_string()))]);
        }
        Format::Table => {
            let rows: Vec<_> = endpoints.iter().map(rows::endpoints::row).collect();
            terminal::table(&rows::endpoints::HEADINGS, &rows, rows::endpoints::painted)?;
        }
        Format::Name => {
            terminal::lines(&endpoints.iter().map(rows::endpoints::address).collect::<Vec<_>>())?;
        }
        other @ (Format::Json | Format::Yaml) => {
            let whole = v1::ListEndpointsResponse { endpoints, next_page_token: String::new() };
            terminal::print(other, &whole, "", |_| Vec::new())?;
        }
    }
    Ok(Exit::Done)
}

/// `gantry info`
pub(super) async fn info(context: &Context) -> Result<Exit, Failure> {
    let info = context.connect(READ).await?.server_info().await?;
    let settings = context.settings.lines();
    let address = &context.settings.server.value;
    terminal::print(context.output, &info, address, |paint| describe::server(&settings, &info, paint))?;
    Ok(Exit::Done)
}
