//! `gantry deploy`. Must not know how a rollout is shown.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use gantry_client::{Client, Error, name, v1};
use tokio::time::Instant;

use super::{
    Context,
    change::{Ending, finish_change},
    follow,
};
use crate::{
    args::{self, Format},
    failure::{Exit, Failure},
    proto,
    render::{rows, terminal, text},
    request,
};

/// Deploys the app that the flags describe, or each app of the file.
pub(super) async fn deploy(context: &mut Context, flags: &args::Deploy) -> Result<Exit, Failure> {
    let requests = match (&flags.name, &flags.file) {
        (Some(name), _) => vec![request::deploy(&context.app(name)?, flags)],
        (None, path) => {
            let apps = read_apps(context, path.as_deref().unwrap_or_else(|| Path::new("-")))?;
            apps.into_iter().map(|app| request::deploy_file(app, flags)).collect()
        }
    };
    let end = Instant::now() + context.timeout.unwrap_or(follow::LIMIT);
    let client = context.connect_to_change(follow::LIMIT).await?;
    let several = requests.len() > 1;
    for request in requests {
        if several && context.output == Format::Yaml {
            terminal::lines(&["---".to_owned()])?;
        }
        let exit = Box::pin(one(context, &client, request, flags, end)).await?;
        if exit != Exit::Done {
            return Ok(exit);
        }
    }
    Ok(Exit::Done)
}

async fn one(
    context: &mut Context,
    client: &Client,
    request: v1::DeployAppRequest,
    flags: &args::Deploy,
    end: Instant,
) -> Result<Exit, Failure> {
    let asked = request.app.clone().unwrap_or_default().name;
    let ending = Ending::new(context, asked, &flags.guard, &flags.follow);
    let response = client.deploy_app(request).await?;
    let app = response.app.clone().unwrap_or_default();
    let unchanged = format!("{}: nothing changed{}", context.short(&app.name), trouble(&app));
    // All apps of a file share the time limit.
    let ending = Ending { end, unchanged: Some(unchanged), ..ending };
    finish_change(context, client, response, ending).await
}

fn read_apps(context: &Context, path: &Path) -> Result<Vec<v1::App>, Failure> {
    let (path, text) = if path == Path::new("-") {
        let mut text = String::new();
        (PathBuf::from("standard input"), io::stdin().read_to_string(&mut text).map(|_| text))
    } else {
        (path.to_owned(), fs::read_to_string(path))
    };
    let text = text.map_err(|cause| Failure::File { path: path.clone(), cause })?;
    let apps: Vec<v1::App> =
        proto::from_documents(&text).map_err(|cause| Failure::Manifest { path, cause })?;
    let named = |app: v1::App| {
        // Files may use the short forms too.
        let name = name::App::parse(&app.name, context.namespace()).map_err(Error::from)?.to_string();
        Ok(v1::App { name, ..app })
    };
    apps.into_iter().map(named).collect()
}

/// Says whether an app that needed no change is in trouble.
fn trouble(app: &v1::App) -> String {
    let status = app.status.clone().unwrap_or_default();
    match status.state() {
        v1::AppState::Degraded | v1::AppState::Failed => {
            format!("; it is {}: {}", rows::state(&status), text::line(&status.message))
        }
        v1::AppState::Unspecified
        | v1::AppState::Active
        | v1::AppState::Updating
        | v1::AppState::Stopped
        | v1::AppState::Deleting => String::new(),
    }
}
