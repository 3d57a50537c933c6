//! The commands that change something, except `deploy`. Must not know how a rollout is shown.

use std::time::Duration;

use gantry_client::{Client, Code, Error, name, v1};
use prost::{Message, Name};
use tokio::time::{self, Instant};

use super::{BEAT, Context, follow, interrupted, settle};
use crate::{
    args,
    failure::{Exit, Failure},
    render::{describe, outcome, plan, progress, rows, settling, terminal, text},
    request,
};

const SETTLE: Duration = Duration::from_mins(10);
const DELETE: Duration = Duration::from_mins(5);
const POLLS: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// The answer to a change that a rollout carries out.
pub(super) trait RolloutAnswer: Message + Name {
    /// Returns the plan of the change, if the daemon sent it.
    fn plan(&self) -> Option<&v1::Plan>;
    /// Returns the rollout that carries the change out; `None` if nothing changed.
    fn rollout(&mut self) -> &mut Option<v1::Rollout>;
}

macro_rules! rollout_answer {
    ($($answer:ident),*) => {$(
        impl RolloutAnswer for v1::$answer {
            fn plan(&self) -> Option<&v1::Plan> {
                self.plan.as_ref()
            }

            fn rollout(&mut self) -> &mut Option<v1::Rollout> {
                &mut self.rollout
            }
        }
    )*};
}

rollout_answer!(DeployAppResponse, RestartAppResponse, RollbackAppResponse);

/// How a command continues after the answer to its change.
pub(super) struct Ending {
    /// The resource name of what was changed.
    pub(super) name: String,
    /// Whether only the plan was asked for.
    pub(super) dry_run: bool,
    /// Whether the rollout is not followed.
    pub(super) no_wait: bool,
    /// When the command began, and until when its rollout is followed.
    pub(super) began: Instant,
    pub(super) end: Instant,
    /// The line that is printed if no rollout began; `None` if the change always begins one.
    pub(super) unchanged: Option<String>,
}

impl Ending {
    /// Begins now, for a change that always begins a rollout.
    pub(super) fn new(
        context: &Context,
        name: String,
        guard: &args::change::Guard,
        follow: &args::change::Follow,
    ) -> Self {
        let began = Instant::now();
        let end = began + context.timeout.unwrap_or(follow::LIMIT);
        Self { name, dry_run: guard.dry_run, no_wait: follow.no_wait, began, end, unchanged: None }
    }
}

/// Finishes a change: prints its plan, or its warnings and the course of its rollout.
pub(super) async fn finish_change(
    context: &mut Context,
    client: &Client,
    mut answer: impl RolloutAnswer,
    ending: Ending,
) -> Result<Exit, Failure> {
    let name = &ending.name;
    if let Some(exit) = show_plan(context, answer.plan(), ending.dry_run, (&answer, name))? {
        return Ok(exit);
    }
    let Some(rollout) = answer.rollout().clone() else {
        let line = ending.unchanged.ok_or(Error::Incomplete("rollout"))?;
        terminal::print(context.output, &answer, name, |_| vec![line])?;
        return Ok(Exit::Done);
    };
    if ending.no_wait {
        let line = follow::begun(context, &rollout)?;
        terminal::print(context.output, &answer, name, |_| vec![line])?;
        return Ok(Exit::Done);
    }
    let rollout = follow::follow(context, client, rollout, ending.end).await?;
    *answer.rollout() = Some(rollout.clone());
    follow::conclude(context, &rollout, Some(ending.began.elapsed()), (&answer, name))
}

/// Prints the plan of a dry run, which ends the command with a failure if a check fails. For a change that
/// was made it prints only the warnings of the plan.
fn show_plan<M: Message + Name>(
    context: &mut Context,
    plan: Option<&v1::Plan>,
    dry_run: bool,
    (answer, name): (&M, &str),
) -> Result<Option<Exit>, Failure> {
    if !dry_run {
        let warnings = plan.map(plan::warnings).unwrap_or_default();
        let painted: Vec<_> = warnings.iter().map(|warning| context.screen.paint.warn(warning)).collect();
        context.screen.print(&painted);
        return Ok(None);
    }
    let plan = plan.cloned().unwrap_or_default();
    terminal::print(context.output, answer, name, |paint| plan::lines(&plan, context.verbose, paint))?;
    match plan::failing(&plan) {
        0 => Ok(Some(Exit::Done)),
        failing => Err(Failure::Plan(failing)),
    }
}

/// `gantry scale`
pub(super) async fn scale(context: &mut Context, flags: &args::Scale) -> Result<Exit, Failure> {
    let name = context.app(&flags.name)?;
    let end = Instant::now() + context.timeout.unwrap_or(SETTLE);
    let client = context.connect_to_change(SETTLE).await?;
    let mut response = client.scale_app(request::scale(&name, flags)).await?;
    let full = name.to_string();
    if let Some(exit) = show_plan(context, response.plan.as_ref(), flags.guard.dry_run, (&response, &full))? {
        return Ok(exit);
    }
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
    // The count was asked for and has been reached. Other problems of the app do not make this command fail.
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
    let ending = Ending::new(context, name.to_string(), &flags.guard, &flags.follow);
    let client = context.connect_to_change(follow::LIMIT).await?;
    let response = client.restart_app(request::restart(&name, flags)).await?;
    finish_change(context, &client, response, ending).await
}

/// `gantry rollback`
pub(super) async fn rollback(context: &mut Context, flags: &args::Rollback) -> Result<Exit, Failure> {
    let name = context.app(&flags.name)?;
    let request = request::rollback(&name, flags).map_err(Error::from)?;
    let unchanged = format!("{}: nothing changed, it runs that already", context.short(&name.to_string()));
    let ending = Ending::new(context, name.to_string(), &flags.guard, &flags.follow);
    let client = context.connect_to_change(follow::LIMIT).await?;
    let response = client.rollback_app(request).await?;
    let ending = Ending { unchanged: Some(unchanged), ..ending };
    finish_change(context, &client, response, ending).await
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
    if let Some(exit) = show_plan(context, response.plan.as_ref(), flags.guard.dry_run, (&response, &full))? {
        return Ok(exit);
    }
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

/// Waits until the app does not exist any more, or only a new app of the same name does.
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
