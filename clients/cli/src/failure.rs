//! Why a command failed, as text for people and as exit status. Must not know how the failure came about.

use std::{io, path::PathBuf};

use gantry_client::{
    Code, Error,
    error::{Refusal, Violation},
};

use crate::{
    proto,
    render::text::{self, Paint},
};

/// The exit status of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    /// Also the status with which clap exits.
    Usage = 2,
    /// Still not done at the time limit.
    Waiting = 3,
    /// 128 + SIGINT, as in shells.
    Interrupted = 130,
}

/// Why a command failed, or stopped before it was done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// An error of the daemon or of the connection to it.
    #[error(transparent)]
    Client(#[from] Error),
    /// No daemon answers, and the address was not given on the command line.
    #[error("{error}")]
    Unreachable {
        /// The error, which names the address.
        error: Error,
        /// Where the address comes from.
        from: String,
    },
    /// The configuration file is not valid.
    #[error("{} is not a valid configuration: {cause}", .path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A dry run says that the change would not work. The plan has been printed. The number is that of the
    /// checks that fail.
    #[error("it would not work: {}", text::count(*.0, "check") + if *.0 == 1 { " fails" } else { " fail" })]
    Plan(i32),
    /// A file cannot be read.
    #[error("{} cannot be read: {cause}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A file does not describe an app.
    #[error("{} does not describe an app: {cause}", .path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: proto::Error,
    },
    /// An answer cannot be printed in this format.
    #[error(transparent)]
    Message(#[from] proto::Error),
    /// Standard output cannot be written.
    #[error("the result cannot be written: {0}")]
    Output(#[from] io::Error),
    /// The time limit was reached before the command was done.
    #[error("{what}")]
    Waiting {
        /// What is still going on.
        what: String,
        /// The command that goes on waiting.
        how: String,
    },
    /// Ctrl-C.
    #[error("{what}")]
    Interrupted {
        /// What is still going on.
        what: String,
        /// The command that follows it again.
        how: String,
    },
}

// === impl Failure ===

impl Failure {
    /// Returns the exit status of this failure.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Client(error) => client_exit(error),
            Self::File { .. } | Self::Manifest { .. } | Self::Config { .. } => Exit::Usage,
            // `gantry list | head` has done what was asked for.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Output(_) | Self::Message(_) | Self::Unreachable { .. } | Self::Plan(_) => Exit::Failed,
            Self::Waiting { .. } => Exit::Waiting,
            Self::Interrupted { .. } => Exit::Interrupted,
        }
    }

    /// Returns the lines to print: what failed, then what else is known about it.
    pub(crate) fn lines(&self, paint: Paint) -> Vec<String> {
        if self.exit() == Exit::Done {
            return Vec::new();
        }
        let headline = if let Self::Client(Error::Refused(refusal)) = self {
            headline(refusal)
        } else {
            self.to_string()
        };
        // A command that stops waiting is no error, because the change goes on.
        let goes_on = matches!(self, Self::Waiting { .. } | Self::Interrupted { .. });
        let mut lines =
            vec![if goes_on { headline } else { format!("{} {}", paint.bad("error:"), block(&headline)) }];
        lines.extend(self.details().into_iter().map(|(label, text)| detail(&label, &text, paint)));
        lines
    }

    fn details(&self) -> Vec<(String, String)> {
        let of_client = |error: &Error| match error {
            Error::Refused(refusal) => refusal_details(refusal),
            Error::Unreachable { cause, .. } if cause.contains("certificate") => {
                vec![own("try", "name the certificate authority that signed its certificate with --ca-file")]
            }
            Error::Unreachable { .. } => {
                vec![own(
                    "try",
                    "start one with `gantryd --insecure-loopback`, or name another with --server or GANTRY_ADDR",
                )]
            }
            Error::Broken(_) => {
                vec![own("note", "whether a change was made is not known; look with `gantry get`")]
            }
            Error::Deadline => vec![
                own("try", "give it longer with --timeout"),
                own(
                    "note",
                    "a change may have been made all the same; look with `gantry get` before you repeat it",
                ),
            ],
            Error::Exposed(_) => {
                vec![own("try", "an address with https://, or a port forward from 127.0.0.1")]
            }
            Error::Address { .. }
            | Error::Token
            | Error::Silent(_)
            | Error::Ended
            | Error::Incomplete(_)
            | Error::Name(_) => Vec::new(),
        };
        match self {
            Self::Client(error) => of_client(error),
            Self::Unreachable { error, from } => {
                let mut details = vec![own("address", &format!("from {from}"))];
                details.extend(of_client(error));
                details
            }
            Self::Waiting { how, .. } => vec![own("go on", how)],
            Self::Interrupted { how, .. } => vec![own("follow", how)],
            Self::File { .. }
            | Self::Manifest { .. }
            | Self::Config { .. }
            | Self::Plan(_)
            | Self::Message(_)
            | Self::Output(_) => Vec::new(),
        }
    }
}

/// Formats `  reason:   TEXT`, with all texts in one column.
pub(crate) fn detail(label: &str, text: &str, paint: Paint) -> String {
    format!("  {} {}", paint.dim(&format!("{:<9}", format!("{label}:"))), text::line(text))
}

fn own(label: &str, text: &str) -> (String, String) {
    (label.to_owned(), text.to_owned())
}

/// Keeps the line breaks of a text with several lines, for example a YAML error.
fn block(text: &str) -> String {
    text.lines().map(text::line).collect::<Vec<_>>().join("\n  ")
}

fn client_exit(error: &Error) -> Exit {
    match error {
        Error::Address { .. } | Error::Name(_) | Error::Token | Error::Exposed(_) => Exit::Usage,
        Error::Deadline => Exit::Waiting,
        Error::Refused(refusal) if refusal.code == Code::InvalidArgument => Exit::Usage,
        Error::Refused(refusal) if refusal.code == Code::DeadlineExceeded => Exit::Waiting,
        Error::Refused(_)
        | Error::Unreachable { .. }
        | Error::Broken(_)
        | Error::Silent(_)
        | Error::Ended
        | Error::Incomplete(_) => Exit::Failed,
    }
}

/// Returns the daemon's message. If the message only joins the field errors, which are printed below it,
/// returns their number instead.
fn headline(refusal: &Refusal) -> String {
    let fields: Vec<String> = refusal.fields.iter().map(violation).collect();
    match fields.len() {
        n @ 2.. if fields.iter().all(|field| refusal.message.contains(field)) => {
            format!("{n} fields are wrong")
        }
        _ => refusal.message.clone(),
    }
}

fn violation(violation: &Violation) -> String {
    match violation.subject.as_str() {
        "" => violation.description.clone(),
        subject => format!("{subject}: {}", violation.description),
    }
}

fn refusal_details(refusal: &Refusal) -> Vec<(String, String)> {
    let mut details = Vec::new();
    details.extend(refusal.fields.iter().map(|field| own("field", &violation(field))));
    details.extend(refusal.obstacles.iter().map(|obstacle| own("because", &violation(obstacle))));
    if let Some(resource) = &refusal.resource {
        let owner =
            if resource.owner.is_empty() { String::new() } else { format!(", owned by {}", resource.owner) };
        let said = resource.description.is_empty() || resource.description == refusal.message;
        let about = if said { String::new() } else { format!(": {}", resource.description) };
        details.push(own("object", &format!("{} {}{owner}{about}", resource.kind, resource.name)));
    }
    details.extend(refusal.metadata.iter().map(|(key, value)| own(&label(key), value)));
    details.extend(refusal.help.iter().map(|link| match (link.description.as_str(), link.url.as_str()) {
        ("", url) => own("try", url),
        (what, "") => own("try", what),
        (what, url) => own("try", &format!("{what} ({url})")),
    }));
    details.extend(hints(&refusal.reason).iter().map(|hint| own("try", hint)));
    let headline = headline(refusal);
    // Leave out details that the first line contains.
    details.retain(|(_, text)| !headline.contains(text.as_str()));
    let reason = match refusal.reason.as_str() {
        "" => own("code", &format!("{:?}", refusal.code)),
        reason => own("reason", reason),
    };
    details.insert(0, reason);
    details.extend(refusal.retry_after.map(|delay| own("retry", &format!("in {}", text::took(delay)))));
    details.extend(refusal.request_id.as_ref().map(|id| own("call", &format!("{id} in the server's log"))));
    details
}

/// Returns advice in terms of this program's flags, which the daemon does not know.
fn hints(reason: &str) -> &'static [&'static str] {
    match reason {
        "AUTOSCALER_ACTIVE" => &[
            "`--hold-for 1h`: the count holds for so long, then the autoscaler goes on",
            "`gantry autoscale NAME --mode off`: only callers set the count",
        ],
        "FOREIGN_AUTOSCALER" => {
            &["`gantry autoscale NAME --mode shadow`: it decides beside the other one, and does not act"]
        }
        _ => &[],
    }
}

/// `didYouMean` -> `did you mean`
fn label(key: &str) -> String {
    let mut words = String::new();
    for c in key.chars() {
        if c.is_uppercase() {
            words.push(' ');
        }
        words.extend(c.to_lowercase());
    }
    words
}

#[cfg(test)]
mod tests;
