//! The commands that change something: deploy and delete. Must not know how a rollout is shown.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use gantry_client::{Client, Code, Error, name, v1};
use tokio::time::{self, Instant};

use super::{Context, follow};
use crate::{
    args,
    failure::{Exit, Failure},
    proto, request, rows, terminal, text,
};

const DEPLOY: Duration = Duration::from_mins(10);
const DELETE: Duration = Duration::from_mins(5);
/// An answer to a change comes at once; what follows is waited for otherwise.
const ANSWER: Duration = Duration::from_mins(1);
const POLLS: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// `gantry deploy`
pub(super) async fn deploy(context: &mut Context, flags: &args::Deploy) -> Result<Exit, Failure> {
    let request = match (&flags.name, &flags.file) {
        (Some(name), _) => request::deploy(&context.app(name)?, flags),
        (None, Some(path)) => request::deploy_file(read_app(context, path)?, flags),
        (None, None) => request::deploy_file(read_app(context, Path::new("-"))?, flags),
    };
    let limit = context.global.timeout.unwrap_or(DEPLOY);
    let client = context.connect(DEPLOY).await?.with_call_timeout(limit.min(ANSWER));
    let end = Instant::now() + limit;

    let mut response = client.deploy_app(request).await?;
    let warnings = warnings(response.plan.as_ref())
        .map(|warning| context.screen.paint.warn(&warning))
        .collect::<Vec<_>>();
    context.screen.print(&warnings);
    let app = response.app.clone().unwrap_or_default();
    let format = context.global.output;
    let Some(rollout) = response.rollout.take() else {
        let line = format!("{}: nothing changed{}", short(&app.name, context), trouble(&app));
        terminal::print(format, &response, &app.name, |_| vec![line])?;
        return Ok(Exit::Done);
    };
    if flags.no_wait {
        let name = name::Rollout::parse(&rollout.name).map_err(Error::from)?;
        let how = format!("{} --rollout {}", context.command("wait", &name.app), name.revision);
        let line = format!("rollout {} has begun; wait for it with: {how}", name.revision);
        response.rollout = Some(rollout);
        terminal::print(format, &response, &app.name, |_| vec![line])?;
        return Ok(Exit::Done);
    }
    let rollout = follow::follow(context, &client, rollout, end).await?;
    response.rollout = Some(rollout.clone());
    let took = context.screen.elapsed();
    follow::conclude(context, &rollout, Some(took), (&response, &app.name))
}

/// `gantry delete`
pub(super) async fn delete(context: &mut Context, flags: &args::Delete) -> Result<Exit, Failure> {
    let name = context.app(&flags.name)?;
    let limit = context.global.timeout.unwrap_or(DELETE);
    let client = context.connect(DELETE).await?.with_call_timeout(limit.min(ANSWER));
    let end = Instant::now() + limit;

    let response = client.delete_app(request::delete(&name, flags)).await?;
    let short = short(&name.to_string(), context);
    let line = match &response.app {
        None => format!("{short} does not exist"),
        Some(_) if flags.no_wait => format!("{short} is being deleted"),
        Some(app) if gone(context, &client, &name, &app.uid, end).await? => {
            format!("{short} deleted in {}", text::took(context.screen.elapsed()))
        }
        Some(_) => {
            let what =
                format!("{short} is still being deleted after {}.", text::took(context.screen.elapsed()));
            return Err(Failure::Waiting { what, how: context.command("get", &name) });
        }
    };
    terminal::print(context.global.output, &response, &name.to_string(), |_| vec![line])?;
    Ok(Exit::Done)
}

/// Waits until the app does not exist any more, or only another one of its name.
async fn gone(
    context: &Context,
    client: &Client,
    name: &name::App,
    uid: &str,
    end: Instant,
) -> Result<bool, Failure> {
    let mut said = String::new();
    for poll in POLLS.into_iter().chain(std::iter::repeat(POLLS[POLLS.len() - 1])) {
        match client.get_app(name).await {
            Err(error) if error.code() == Some(Code::NotFound) => return Ok(true),
            Err(error) => return Err(error.into()),
            Ok(app) if app.uid != uid => return Ok(true),
            Ok(app) => {
                let status = app.status.unwrap_or_default();
                let line = text::line(&format!("{}: {}", rows::state(&status), status.message));
                if line != said {
                    context.screen.say(std::slice::from_ref(&line));
                    said = line;
                }
            }
        }
        if Instant::now() + poll > end {
            break;
        }
        time::sleep(poll).await;
    }
    Ok(false)
}

fn read_app(context: &Context, path: &Path) -> Result<v1::App, Failure> {
    let (path, text) = if path == Path::new("-") {
        let mut text = String::new();
        (PathBuf::from("standard input"), io::stdin().read_to_string(&mut text).map(|_| text))
    } else {
        (path.to_owned(), fs::read_to_string(path))
    };
    let text = text.map_err(|cause| Failure::File { path: path.clone(), cause })?;
    let mut app: v1::App = proto::from_yaml(&text).map_err(|cause| Failure::Manifest { path, cause })?;
    // Files may use the short forms too.
    app.name = context.app(&app.name)?.to_string();
    Ok(app)
}

/// What the plan warns of.
fn warnings(plan: Option<&v1::Plan>) -> impl Iterator<Item = String> {
    let checks = plan.into_iter().flat_map(|plan| &plan.checks).filter(|check| match check.result() {
        v1::CheckResult::Warn | v1::CheckResult::Fail => true,
        v1::CheckResult::Unspecified | v1::CheckResult::Pass | v1::CheckResult::Skipped => false,
    });
    let checks = checks.map(|check| format!("warning: {}: {}", check.kind, text::line(&check.message)));
    let verbatim = plan.into_iter().flat_map(|plan| &plan.warnings);
    checks.chain(verbatim.map(|warning| format!("warning: {}", text::line(warning))))
}

/// An app that is as asked for can still be in trouble.
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

fn short(name: &str, context: &Context) -> String {
    match name::App::parse(name, "") {
        Ok(name) if name.namespace == context.global.namespace => name.app,
        Ok(name) => format!("{}/{}", name.namespace, name.app),
        Err(_) => name.to_owned(),
    }
}
