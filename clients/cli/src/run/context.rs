//! What a command needs to do its work: settings, the connection, the screen. Must not know commands.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use gantry_client::{Client, Error, Options, name};

use crate::{
    args::{Format, Global, Output},
    failure::Failure,
    render::{describe, outcome, terminal::Screen, text},
    settings::{self, Settings, Source, Token},
};

/// Time limit of the answer to a change. The answer comes at once, and its effects are followed by other
/// calls.
const ANSWER: Duration = Duration::from_mins(1);

/// What a command needs to do its work.
pub(super) struct Context {
    /// How results are printed.
    pub(super) output: Format,
    /// Whether tables may be wider than the terminal.
    pub(super) wide: bool,
    /// Whether plans show every check and node.
    pub(super) verbose: bool,
    /// The time limit, if one is set.
    pub(super) timeout: Option<Duration>,
    /// Server, namespace and token.
    pub(super) settings: Settings,
    /// Standard error.
    pub(super) screen: Screen,
}

/// Reads the configuration file, if there is one.
fn read_config(screen: &Screen) -> Result<Option<settings::File>, Failure> {
    let Some((path, must_exist)) = settings::location(variable) else { return Ok(None) };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => return Ok(None),
        Err(cause) => return Err(Failure::File { path, cause }),
    };
    let file =
        settings::parse(&path, &text).map_err(|cause| Failure::Config { path: path.clone(), cause })?;
    if file.holds_token() && others_can_read(&path) {
        let path = path.display();
        let warning = format!("warning: {path} holds a token and other users can read it: chmod 600 {path}");
        screen.note(&screen.paint.warn(&warning));
    }
    Ok(Some(file))
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

#[cfg(unix)]
fn others_can_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn others_can_read(_: &Path) -> bool {
    false
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|cause| Failure::File { path: path.to_owned(), cause })
}

// === impl Context ===

impl Context {
    /// Collects the settings.
    pub(super) fn new(global: &Global, screen: Screen) -> Result<Self, Failure> {
        let file = read_config(&screen)?;
        let settings = settings::resolve(&global.settings, variable, file.as_ref());
        let context = Self {
            output: global.output.format(),
            wide: global.output == Output::Wide,
            verbose: global.verbose,
            timeout: global.timeout,
            settings,
            screen,
        };
        if global.verbose {
            for line in describe::in_columns(&context.settings.lines(), context.screen.paint) {
                context.screen.note(&line);
            }
        }
        Ok(context)
    }

    /// Returns the namespace of names without one.
    pub(super) fn namespace(&self) -> &str {
        &self.settings.namespace.value
    }

    /// Connects. Every answer must come within the time limit, or within `patience` if no time limit is set.
    pub(super) async fn connect(&self, patience: Duration) -> Result<Client, Failure> {
        let address = &self.settings.server;
        let client = Client::connect_with(&address.value, self.options()?).await.map_err(|error| {
            match (&error, &address.source) {
                (Error::Unreachable { .. }, Source::Environment(name)) => {
                    Failure::Unreachable { error, from: (*name).to_owned() }
                }
                (Error::Unreachable { .. }, Source::File(path)) => {
                    Failure::Unreachable { error, from: path.display().to_string() }
                }
                _ => Failure::Client(error),
            }
        })?;
        let screen = self.screen.clone();
        let observer = move |error: &Error, wait| {
            screen.note(&text::line(&format!("{error}; trying again in {}", text::took(wait))));
        };
        Ok(client.with_call_timeout(self.timeout.unwrap_or(patience)).with_observer(observer))
    }

    /// Connects for a change whose outcome is waited for, for at most `limit`.
    pub(super) async fn connect_to_change(&self, limit: Duration) -> Result<Client, Failure> {
        let limit = self.timeout.unwrap_or(limit);
        Ok(self.connect(limit).await?.with_call_timeout(limit.min(ANSWER)))
    }

    /// Returns the app that a text on the command line names.
    pub(super) fn app(&self, text: &str) -> Result<name::App, Failure> {
        name::App::parse(text, self.namespace()).map_err(|error| Failure::Client(error.into()))
    }

    /// Formats `shop`, with the namespace unless it is the caller's own.
    pub(super) fn short(&self, name: &str) -> String {
        match name::App::parse(name, "") {
            Ok(name) if name.namespace == self.namespace() => name.app,
            Ok(name) => format!("{}/{}", name.namespace, name.app),
            Err(_) => name.to_owned(),
        }
    }

    /// Formats `shop rollout 3`, with the namespace unless it is the caller's own.
    pub(super) fn title(&self, rollout: &str) -> String {
        outcome::title(rollout, self.namespace())
    }

    /// Formats a command line that reaches the same daemon.
    pub(super) fn command(&self, words: &str, app: &name::App) -> String {
        let mut flags = String::new();
        if matches!(self.settings.server.source, Source::Flag(_)) {
            flags = format!(" --server {}", text::shell(&self.settings.server.value));
        }
        if let Some(settings::Sourced { value, source: Source::Flag(_) }) = &self.settings.authorities {
            flags = format!("{flags} --ca-file {}", text::shell(&value.display().to_string()));
        }
        format!("gantry{flags} {words} {}", text::shell(&format!("{}/{}", app.namespace, app.app)))
    }

    /// Formats the command that waits for a rollout.
    pub(super) fn wait_command(&self, rollout: &name::Rollout) -> String {
        format!("{} --rollout {}", self.command("wait", &rollout.app), rollout.revision)
    }

    fn options(&self) -> Result<Options, Failure> {
        let text = match self.settings.token.as_ref().map(|token| &token.value) {
            None => None,
            Some(Token::Text(text)) => Some(text.clone()),
            Some(Token::File(path)) => {
                let text = fs::read_to_string(path);
                Some(text.map_err(|cause| Failure::File { path: PathBuf::from(path), cause })?)
            }
        };
        let token = text.map(|text| gantry_client::Token::new(&text)).transpose()?;
        let authorities =
            self.settings.authorities.as_ref().map(|path| read_file(&path.value)).transpose()?;
        Ok(Options { token, authorities })
    }
}
