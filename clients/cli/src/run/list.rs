//! How every list is printed, in each format. Must not know what is listed.

use prost::{Message, Name};

use super::Context;
use crate::{
    args::Format,
    failure::{Exit, Failure},
    render::{table, terminal, text::Paint},
};

/// A list that was read.
pub(super) struct List<'a, M> {
    /// The line that is printed if there are no rows.
    pub(super) empty: String,
    /// The headings of the table.
    pub(super) headings: &'a [&'a str],
    /// The rows of the table.
    pub(super) rows: Vec<Vec<String>>,
    /// Colours a cell, given its column.
    pub(super) painted: fn(usize, &str, Paint) -> String,
    /// What `-o name` prints.
    pub(super) names: Vec<String>,
    /// The answer that JSON and YAML print, all pages in one.
    pub(super) answer: M,
}

/// Prints a list.
pub(super) fn print<M: Message + Name>(context: &mut Context, list: List<'_, M>) -> Result<Exit, Failure> {
    match context.output {
        Format::Table if list.rows.is_empty() => context.screen.print(&[list.empty]),
        Format::Table => {
            let paint = terminal::stdout_paint();
            let painted = |column: usize, cell: &str| (list.painted)(column, cell, paint);
            terminal::table(&table::render(list.headings, &list.rows, painted), context.wide)?;
        }
        Format::Name => terminal::lines(&list.names)?,
        other @ (Format::Json | Format::Yaml) => terminal::print(other, &list.answer, "", |_| Vec::new())?,
    }
    Ok(Exit::Done)
}
