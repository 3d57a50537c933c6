//! `gantry autoscale` and `gantry report`. Must not know how decisions are made.

use std::time::Duration;

use gantry_client::{Error, name, v1};

use super::{Context, now, read::READ};
use crate::{
    args::{self, Format},
    failure::{Exit, Failure},
    render::{describe, terminal, text},
    request,
};

const CHANGE: Duration = Duration::from_mins(1);

/// `gantry autoscale`
pub(super) async fn autoscale(context: &Context, flags: &args::Autoscale) -> Result<Exit, Failure> {
    let name = context.app(&flags.name)?;
    match request::autoscale::update(&name, flags, now()) {
        None => show(context, &name).await,
        Some(request) => set(context, &name, request).await,
    }
}

/// `gantry report`
pub(super) async fn report(context: &mut Context, flags: &args::Report) -> Result<Exit, Failure> {
    let name = context.app(&flags.name)?;
    let request = request::autoscale::report(&name, flags);
    let sent = i32::try_from(request.figures.len()).unwrap_or(i32::MAX);
    let response = context.connect(READ).await?.report_load(request).await?;
    let full = name.to_string();
    let line = format!("{} accepted for {}", text::count(response.accepted, "figure"), context.short(&full));
    terminal::print(context.output, &response, &full, |_| vec![line])?;
    if response.accepted < sent {
        let error = context.screen.paint.bad("error:");
        context
            .screen
            .print(&[format!("{error} {} not accepted", text::count(sent - response.accepted, "figure"))]);
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}

async fn show(context: &Context, name: &name::App) -> Result<Exit, Failure> {
    let client = context.connect(READ).await?;
    let scaler = client.get_autoscaler(name).await?;
    // The app is optional: the autoscaler is shown without it too.
    let app = if context.output == Format::Table { client.get_app(name).await.ok() } else { None };
    let table = |paint| describe::autoscaler::autoscaler(&scaler, app.as_ref(), now(), paint);
    terminal::print(context.output, &scaler, &scaler.name, table)?;
    Ok(Exit::Done)
}

async fn set(
    context: &Context,
    name: &name::App,
    request: v1::UpdateAutoscalerRequest,
) -> Result<Exit, Failure> {
    let is_dry_run = request.validate_only;
    let response = context.connect_to_change(CHANGE).await?.update_autoscaler(request).await?;
    let scaler = response.autoscaler.clone().ok_or(Error::Incomplete("autoscaler"))?;
    let short = context.short(&name.to_string());
    let policy = describe::autoscaler::policy(&scaler);
    let mut lines = Vec::new();
    if is_dry_run {
        lines.push(format!("Dry run: nothing was changed. The autoscaler of {short} would be {policy}"));
    } else {
        lines.push(format!("The autoscaler of {short} is {policy}"));
        if !matches!(scaler.mode(), v1::AutoscalerMode::Off | v1::AutoscalerMode::Unspecified) {
            let how = context.command("decisions --follow", name);
            lines.push(format!("see what it decides with: {how}"));
        }
    }
    terminal::print(context.output, &response, &scaler.name, |_| lines)?;
    Ok(Exit::Done)
}
