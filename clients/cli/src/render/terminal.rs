//! Standard output and standard error: results go to the one, progress and errors to the other. Must not know what they say.

use std::{
    env,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use anstream::{AutoStream, ColorChoice};
use prost::{Message, Name};
use tokio::time::Instant;

use crate::{
    args::{self, Format},
    failure::Failure,
    proto,
    render::text::{self, Paint},
};

/// Standard error: progress, notes and errors.
#[derive(Clone, Debug)]
pub(crate) struct Screen {
    how: How,
    /// Colours, if whoever reads it understands them.
    pub(crate) paint: Paint,
    began: Instant,
    drawn: usize,
    beat: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Live,
    Plain,
    Silent,
}

/// Writes a result to standard output: the message, the name, or the lines of the table.
pub(crate) fn print<M: Message + Name>(
    format: Format,
    message: &M,
    name: &str,
    table: impl FnOnce(Paint) -> Vec<String>,
) -> Result<(), Failure> {
    let text = match format {
        Format::Json => proto::to_pretty_json(message)?,
        Format::Yaml => proto::to_yaml(message)?,
        Format::Name => format!("{name}\n"),
        Format::Table => return lines(&table(stdout_paint())),
    };
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}

/// Writes lines of a table to standard output; on a terminal each is cut to its width, unless it may be wide.
pub(crate) fn table(rows: &[String], wide: bool) -> Result<(), Failure> {
    match terminal_size::terminal_size_of(io::stdout()) {
        Some((width, _)) if !wide => {
            lines(&rows.iter().map(|row| text::cut(row, usize::from(width.0))).collect::<Vec<_>>())
        }
        _ => lines(rows),
    }
}

/// Writes lines to standard output.
pub(crate) fn lines(lines: &[String]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Whether people look at standard output.
pub(crate) fn is_watched() -> bool {
    io::stdout().is_terminal()
}

/// Colours of standard output.
pub(crate) fn stdout_paint() -> Paint {
    Paint { color: AutoStream::choice(&io::stdout()) != ColorChoice::Never }
}

// === impl Screen ===

impl Screen {
    /// Begins now: progress lines carry the time since.
    pub(crate) fn new(progress: args::Progress) -> Self {
        let stderr = io::stderr();
        // CI systems fake terminals, and then keep every redrawing in their logs.
        let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty() && value != "false");
        let terminal =
            stderr.is_terminal() && !set("CI") && env::var_os("TERM").is_none_or(|term| term != "dumb");
        let how = match progress {
            args::Progress::None => How::Silent,
            args::Progress::Auto if terminal => How::Live,
            args::Progress::Auto | args::Progress::Plain => How::Plain,
        };
        let paint = Paint { color: AutoStream::choice(&stderr) != ColorChoice::Never };
        Self { how, paint, began: Instant::now(), drawn: 0, beat: 0 }
    }

    /// Whether a picture is drawn again and again.
    pub(crate) fn is_live(&self) -> bool {
        self.how == How::Live
    }

    /// Time since the command began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Says what is new, with the time. Where a picture is drawn, it shows that already.
    pub(crate) fn say(&self, lines: &[String]) {
        if self.how == How::Plain {
            let time = format!("{:>6.1}s", self.elapsed().as_secs_f64());
            let add = |text: String, line: &String| {
                text + &self.paint.dim(&time)
                    + "  "
                    + line
                    + "
"
            };
            self.write(&lines.iter().fold(String::new(), add));
        }
    }

    /// Draws the picture over the last one.
    pub(crate) fn draw(&mut self, picture: impl FnOnce(Duration, usize, Paint) -> Vec<String>) {
        if self.is_live() {
            let mut picture = picture(self.elapsed(), self.beat, self.paint);
            // What does not fit would scroll away, and then the way back up is not known.
            let height = terminal_size::terminal_size_of(io::stderr()).map_or(24, |(_, height)| height.0);
            let most = usize::from(height).saturating_sub(2).max(1);
            if picture.len() > most {
                let hidden = picture.len() - most;
                picture.truncate(most);
                picture.push(self.paint.dim(&format!("... and {hidden} more")));
            }
            self.beat = self.beat.wrapping_add(1);
            let lines: String = picture.iter().fold(String::new(), |text, line| text + line + "\x1b[K\n");
            // Without automatic wrapping a long line stays one line, so that the way back up is known.
            self.write(&format!("{}\x1b[?7l{lines}\x1b[J\x1b[?7h", self.back()));
            self.drawn = picture.len();
        }
    }

    /// Says something in passing, unless nothing is to be said.
    pub(crate) fn note(&self, line: &str) {
        if self.how != How::Silent {
            self.write(&format!("{line}\n"));
        }
    }

    /// Takes the picture away and prints what stays.
    pub(crate) fn print(&mut self, lines: &[String]) {
        let wipe = if self.drawn > 0 { format!("{}\x1b[J", self.back()) } else { String::new() };
        self.drawn = 0;
        self.write(&lines.iter().fold(wipe, |text, line| text + line + "\n"));
    }

    fn back(&self) -> String {
        if self.drawn > 0 { format!("\r\x1b[{}A", self.drawn) } else { String::new() }
    }

    #[allow(clippy::unused_self)] // who has no screen does not write to it
    fn write(&self, text: &str) {
        // Nobody is left to be told that standard error is closed.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}
