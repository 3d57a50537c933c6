//! `gantry decisions`: lists decisions or follows them. Must not know how decisions are made.

use gantry_client::v1::{self, watch_scaling_decisions_response::Event};

use super::{
    Context,
    list::{self, List},
    now,
    read::READ,
    watch::{Model, watch},
};
use crate::{
    args::{self, Format},
    failure::{Exit, Failure},
    proto,
    render::{describe, rows::decisions, table, terminal, text::Paint},
    request,
};

/// Decisions as they are made: each is printed once, like a line of a log.
struct Decisions {
    explain: bool,
    one_app: bool,
}

/// `gantry decisions`
pub(super) async fn list_decisions(context: &mut Context, flags: &args::Decisions) -> Result<Exit, Failure> {
    let name = context.app(flags.name.as_deref().unwrap_or_default())?;
    let client = context.connect(READ).await?;
    let request = request::autoscale::list(&name, flags);
    let decisions = client.list_scaling_decisions(request, flags.most()).await?;
    if context.output == Format::Table && flags.explain && !decisions.is_empty() {
        let (now, paint) = (now(), terminal::stdout_paint());
        let blocks = decisions.iter().map(|decision| describe::autoscaler::decision(decision, now, paint));
        terminal::lines(&blocks.collect::<Vec<_>>().join(&String::new()))?;
        return Ok(Exit::Done);
    }
    let which = if flags.outcomes.is_empty() { "" } else { " with one of these outcomes" };
    let (short, how) = (context.short(&name.to_string()), context.command("autoscale", &name));
    let list = List {
        empty: format!("{short} has no decisions{which}; what its autoscaler does: {how}"),
        headings: &decisions::HEADINGS,
        rows: decisions.iter().map(decisions::row).collect(),
        painted: decisions::painted,
        names: decisions.iter().map(|decision| decision.name.clone()).collect(),
        answer: v1::ListScalingDecisionsResponse { decisions, next_page_token: String::new() },
    };
    list::print(context, list)
}

/// `gantry decisions --follow`
pub(super) async fn follow(context: &mut Context, flags: &args::Decisions) -> Result<Exit, Failure> {
    let name = flags.name.as_deref().map(|name| context.app(name)).transpose()?;
    let request = request::autoscale::watch(name.as_ref(), flags);
    let client = context.connect(READ).await?;
    // Without this note a user who follows an autoscaler that is off would wait for ever and not know why.
    if let Some(name) = &name
        && let Ok(scaler) = client.get_autoscaler(name).await
        && matches!(scaler.mode(), v1::AutoscalerMode::Off | v1::AutoscalerMode::Unspecified)
    {
        let (short, how) =
            (context.short(&name.to_string()), context.command("autoscale --mode shadow", name));
        context.screen.note(&format!(
            "the autoscaler of {short} is OFF and decides nothing; to see what it would do: {how}"
        ));
    }
    let stream = client.watch_scaling_decisions(request);
    watch(context, stream, Decisions { explain: flags.explain, one_app: name.is_some() }).await
}

// === impl Decisions ===

impl Decisions {
    fn columns<T>(&self, all: impl IntoIterator<Item = T>) -> Vec<T> {
        if self.one_app { decisions::of_one_app(all) } else { all.into_iter().collect() }
    }
}

impl Model for Decisions {
    type Message = v1::WatchScalingDecisionsResponse;
    const IS_PICTURE: bool = false;

    fn heading(&self) -> Option<String> {
        let headings = self.columns(decisions::WATCH.map(str::to_owned));
        (!self.explain).then_some(table::aligned(&headings, &self.columns(decisions::WATCH_WIDTHS)))
    }

    fn lines(&mut self, format: Format, message: &Self::Message) -> Result<Vec<String>, Failure> {
        let Some(Event::Decision(decision)) = &message.event else { return Ok(Vec::new()) };
        Ok(match format {
            Format::Table if self.explain => {
                let paint = terminal::stdout_paint();
                [describe::autoscaler::decision(decision, now(), paint), vec![String::new()]].concat()
            }
            Format::Table => {
                let paint = terminal::stdout_paint();
                let outcome = if self.one_app { 1 } else { 3 };
                let painted = |column, cell: &str| {
                    if column == outcome { decisions::coloured(cell, paint) } else { cell.to_owned() }
                };
                let row = self.columns(decisions::watched(decision));
                vec![table::columns(&row, &self.columns(decisions::WATCH_WIDTHS), painted)]
            }
            Format::Name => vec![decision.name.clone()],
            Format::Json => vec![proto::to_json(message)?],
            Format::Yaml => vec!["---".to_owned(), proto::to_yaml(message)?.trim_end().to_owned()],
        })
    }

    fn interrupted(&mut self) {}

    fn view(&self, _: Paint) -> Vec<String> {
        Vec::new()
    }
}
