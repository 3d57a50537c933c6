//! The commands that change something, `deploy` aside. Must not know how a rollout is shown.

use std::time::Duration;

use gantry_client::{Client, Code, Error, name, v1};
use prost::{Message, Name};
use tokio::time::{self, Instant};

use super::{BEAT, Context, follow, interrupted, settle};
use crate::{
    args::{self, Format},
    describe,
    failure::{Exit, Failure},
    outcome, plan, progress, request, rows, settling, terminal, text,
};

const SETTLE: Duration = Duration::from_mins(10);
const DELETE: Duration = Duration::from_mins(5);
const POLLS: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// Prints the plan of a change that was not made, and says whether it would work.
pub(super) fn dry_run<M: Message + Name>(
    plan: Option<&v1::Plan>,
    output: Format,
    (answer, name): (&M, &str),
) -> Result<Exit, Failure> {
    let plan = plan.cloned().unwrap_or_default();
    terminal::print(output, answer, name, |paint| plan::lines(&plan, paint))?;
    match plan::failing(&plan) {
        0 => Ok(Exit::Done),
        failing => Err(Failure::Plan(failing)),
    }
}

/// Prints what the plan of a change that was made warns of.
pub(super) fn warn(context: &mut Context, plan: Option<&v1::Plan>) {
    let warnings = plan.map(plan::warnings).unwrap_or_default();
    let painted: Vec<_> = warnings.iter().map(|warning| context.screen.paint.warn(warning)).collect();
    context.screen.print(&painted);
}

/// `gantry scale`
pub(super) async fn scale(context: &mut Context, flags: &args::Scale) -> Result<Exit, Failure> {
    let name = context.app(&flags.name)?;
    let end = Instant::now() + context.timeout.unwrap_or(SETTLE);
    let client = context.connect_to_change(SETTLE).await?;
    let mut response = client.scale_app(request::scale(&name, flags)).await?;
    let full = name.to_string();
    if flags.guard.dry_run {
        return dry_run(response.plan.as_ref(), context.output, (&response, &full));
    }
    warn(context, response.plan.as_ref());
    let short = context.short(&full);
    let wanted = text::count(flags.replicas, "replica");
    let hold = response.app.as_ref().and_then(describe::hold);
    if flags.follow.no_wait {
        let how = context.command("wait", &name);
        let line = format!("{short} is on its way to {wanted}; wait for it with: {how}");
        let lines = std::iter::once(line).chain(hold).collect();
        terminal::print(context.output, &response, &full, |_| lines)?;
        return Ok(Exit::Done);
    }
    let app = settle::settle(context, &client, &name, &response.position, end).await?;
    response.app.clone_from(&app);
    let took = Some(context.screen.elapsed());
    let status = app.as_ref().and_then(|app| app.status.clone()).unwrap_or_default();
    // The count was asked for, and it is there; what else is wrong with the app is no failure of this.
    let is_there =
        app.is_some() && status.desired_replicas == flags.replicas && status.ready_replicas >= flags.replicas;
    let paint = context.screen.paint;
    let mut verdict = settling::verdict(app.as_ref(), &short, took, paint);
    if is_there && verdict.exit == Exit::Failed {
        let warning =
            format!("warning: {short} is {}: {}", rows::state(&status), text::line(&status.message));
        context.screen.print(&[paint.warn(&warning)]);
        verdict =
            outcome::Outcome { exit: Exit::Done, lines: vec![format!("{short} has {wanted}, all ready")] };
    }
    verdict.lines.extend(app.as_ref().and_then(describe::hold).or(hold));
    settle::conclude(context, &verdict, (&response, &full))
}

/// `gantry restart`
pub(super) async fn restart(context: &mut Context, flags: &args::Restart) -> Result<Exit, Failure> {
    let name = context.app(&flags.name)?;
    let end = Instant::now() + context.timeout.unwrap_or(follow::LIMIT);
    let client = context.connect_to_change(follow::LIMIT).await?;
    let mut response = client.restart_app(request::restart(&name, flags)).await?;
    let full = name.to_string();
    if flags.guard.dry_run {
        return dry_run(response.plan.as_ref(), context.output, (&response, &full));
    }
    warn(context, response.plan.as_ref());
    let rollout = response.rollout.clone().ok_or(Error::Incomplete("rollout"))?;
    if flags.follow.no_wait {
        let line = follow::begun(context, &rollout)?;
        terminal::print(context.output, &response, &full, |_| vec![line])?;
        return Ok(Exit::Done);
    }
    let rollout = follow::follow(context, &client, rollout, end).await?;
    response.rollout = Some(rollout.clone());
    let took = context.screen.elapsed();
    follow::conclude(context, &rollout, Some(took), (&response, &full))
}

/// `gantry rollback`
pub(super) async fn rollback(context: &mut Context, flags: &args::Rollback) -> Result<Exit, Failure> {
    let name = context.app(&flags.name)?;
    let request = request::rollback(&name, flags).map_err(Error::from)?;
    let end = Instant::now() + context.timeout.unwrap_or(follow::LIMIT);
    let client = context.connect_to_change(follow::LIMIT).await?;
    let mut response = client.rollback_app(request).await?;
    let full = name.to_string();
    if flags.guard.dry_run {
        return dry_run(response.plan.as_ref(), context.output, (&response, &full));
    }
    warn(context, response.plan.as_ref());
    let Some(rollout) = response.rollout.clone() else {
        let line = format!("{}: nothing changed, it runs that already", context.short(&full));
        terminal::print(context.output, &response, &full, |_| vec![line])?;
        return Ok(Exit::Done);
    };
    if flags.follow.no_wait {
        let line = follow::begun(context, &rollout)?;
        terminal::print(context.output, &response, &full, |_| vec![line])?;
        return Ok(Exit::Done);
    }
    let rollout = follow::follow(context, &client, rollout, end).await?;
    response.rollout = Some(rollout.clone());
    let took = context.screen.elapsed();
    follow::conclude(context, &rollout, Some(took), (&response, &full))
}

/// `gantry pause`
pub(super) async fn pause(context: &mut Context, flags: &args::Hold) -> Result<Exit, Failure> {
    let name = context.app(&flags.name)?;
    let rollout = name.rollout(&flags.rollout).map_err(Error::from)?;
    let client = context.connect_to_change(follow::LIMIT).await?;
    let response = client.pause_rollout(request::pause(&rollout, flags)).await?;
    let held = response.rollout.clone().unwrap_or_default();
    let how = context.command("resume", &name);
    let line = format!("{} is held; let it go on with: {how}", context.title(&held.name));
    terminal::print(context.output, &response, &held.name, |_| vec![line])?;
    Ok(Exit::Done)
}

/// `gantry resume`
pub(super) async fn resume(context: &mut Context, flags: &args::Resume) -> Result<Exit, Failure> {
    let name = context.app(&flags.hold.name)?;
    let rollout = name.rollout(&flags.hold.rollout).map_err(Error::from)?;
    let end = Instant::now() + context.timeout.unwrap_or(follow::LIMIT);
    let client = context.connect_to_change(follow::LIMIT).await?;
    let mut response = client.resume_rollout(request::resume(&rollout, &flags.hold)).await?;
    let rollout = response.rollout.clone().ok_or(Error::Incomplete("rollout"))?;
    let full = rollout.name.clone();
    if flags.follow.no_wait {
        let how = context.wait_command(&name::Rollout::parse(&full).map_err(Error::from)?);
        let line = format!("{} goes on; wait for it with: {how}", context.title(&full));
        terminal::print(context.output, &response, &full, |_| vec![line])?;
        return Ok(Exit::Done);
    }
    let rollout = follow::follow(context, &client, rollout, end).await?;
    response.rollout = Some(rollout.clone());
    follow::conclude(context, &rollout, None, (&response, &full))
}

/// `gantry delete`
pub(super) async fn delete(context: &mut Context, flags: &args::Delete) -> Result<Exit, Failure> {
    let name = context.app(&flags.name)?;
    let end = Instant::now() + context.timeout.unwrap_or(DELETE);
    let client = context.connect_to_change(DELETE).await?;
    let response = client.delete_app(request::delete(&name, flags)).await?;
    let full = name.to_string();
    if flags.guard.dry_run {
        return dry_run(response.plan.as_ref(), context.output, (&response, &full));
    }
    warn(context, response.plan.as_ref());
    let short = context.short(&full);
    let line = match &response.app {
        None => format!("{short} does not exist"),
        Some(_) if flags.follow.no_wait => format!("{short} is being deleted"),
        Some(app) if gone(context, &client, &name, &app.uid, end).await? => {
            format!("{short} deleted in {}", text::took(context.screen.elapsed()))
        }
        Some(_) => {
            let what =
                format!("{short} is still being deleted after {}.", text::took(context.screen.elapsed()));
            return Err(Failure::Waiting { what, how: context.command("get", &name) });
        }
    };
    context.screen.print(&[]);
    terminal::print(context.output, &response, &full, |_| vec![line])?;
    Ok(Exit::Done)
}

/// Waits until the app does not exist any more, or only another one of its name.
async fn gone(
    context: &mut Context,
    client: &Client,
    name: &name::App,
    uid: &str,
    end: Instant,
) -> Result<bool, Failure> {
    let mut said = String::new();
    let short = context.short(&name.to_string());
    for poll in POLLS.into_iter().chain(std::iter::repeat(POLLS[POLLS.len() - 1])) {
        match client.get_app(name).await {
            Err(error) if error.code() == Some(Code::NotFound) => return Ok(true),
            Err(error) => return Err(error.into()),
            Ok(app) if app.uid != uid => return Ok(true),
            Ok(app) => {
                let status = app.status.unwrap_or_default();
                let message =
                    if status.message.is_empty() { String::new() } else { format!(": {}", status.message) };
                let line = text::line(&format!("{}{message}", rows::state(&status)));
                if line != said {
                    context.screen.say(std::slice::from_ref(&line));
                    said = line;
                }
            }
        }
        if Instant::now() + poll > end {
            break;
        }
        let next = Instant::now() + poll;
        while Instant::now() < next {
            context.screen.draw(|elapsed, beat, paint| {
                let took = paint.dim(&text::took(elapsed));
                vec![format!("{} {}  {said}  {took}", progress::spinner(beat), paint.bold(&short))]
            });
            tokio::select! {
                () = time::sleep_until(next.min(Instant::now() + BEAT)) => {}
                () = interrupted() => {
                    let what = format!("Interrupted. {short} goes on being deleted without you.");
                    return Err(Failure::Interrupted { what, how: context.command("get", name) });
                }
            }
        }
    }
    Ok(false)
}
