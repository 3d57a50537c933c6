//! Standard output for results, and standard error for progress and errors. Must not know what the texts say.

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
    /// Colours, if standard error shows them.
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

/// Writes lines of a table to standard output. On a terminal each is cut to its width, unless `wide` is set.
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

/// Whether standard output is a terminal.
pub(crate) fn is_watched() -> bool {
    io::stdout().is_terminal()
}

/// Colours of standard output.
pub(crate) fn stdout_paint() -> Paint {
    Paint { color: AutoStream::choice(&io::stdout()) != ColorChoice::Never }
}

// === impl Screen ===

impl Screen {
    /// Starts the clock of the progress lines.
    pub(crate) fn new(progress: args::Progress) -> Self {
        let stderr = io::stderr();
        // CI systems emulate terminals, and then store every redrawn view in their logs.
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

    /// Whether a live view is redrawn.
    pub(crate) fn is_live(&self) -> bool {
        self.how == How::Live
    }

    /// Returns the time since the command began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Prints new lines, each with the time. A live view shows their content already, so nothing is printed
    /// beside it.
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

    /// Draws a view over the last one.
    pub(crate) fn draw(&mut self, picture: impl FnOnce(Duration, usize, Paint) -> Vec<String>) {
        if self.is_live() {
            let mut picture = picture(self.elapsed(), self.beat, self.paint);
            // Lines that do not fit would scroll away, and then the cursor could not return to the first
            // line.
            let height = terminal_size::terminal_size_of(io::stderr()).map_or(24, |(_, height)| height.0);
            let most = usize::from(height).saturating_sub(2).max(1);
            if picture.len() > most {
                let hidden = picture.len() - most;
                picture.truncate(most);
                picture.push(self.paint.dim(&format!("... and {hidden} more")));
            }
            self.beat = self.beat.wrapping_add(1);
            let lines: String = picture.iter().fold(String::new(), |text, line| text + line + "\x1b[K\n");
            // Without automatic wrapping a long line stays one line, so that the number of lines to go back
            // is known.
            self.write(&format!("{}\x1b[?7l{lines}\x1b[J\x1b[?7h", self.back()));
            self.drawn = picture.len();
        }
    }

    /// Prints one line, unless progress is off.
    pub(crate) fn note(&self, line: &str) {
        if self.how != How::Silent {
            self.write(&format!("{line}\n"));
        }
    }

    /// Removes the view and prints lines that stay.
    pub(crate) fn print(&mut self, lines: &[String]) {
        let wipe = if self.drawn > 0 { format!("{}\x1b[J", self.back()) } else { String::new() };
        self.drawn = 0;
        self.write(&lines.iter().fold(wipe, |text, line| text + line + "\n"));
    }

    fn back(&self) -> String {
        if self.drawn > 0 { format!("\r\x1b[{}A", self.drawn) } else { String::new() }
    }

    #[allow(clippy::unused_self)] // so that only code that has a screen writes to it
    fn write(&self, text: &str) {
        // If standard error is closed, there is nowhere to report it.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}
