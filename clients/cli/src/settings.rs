//! The daemon's address and the caller's token: from flags, else from the environment, else from the
//! configuration file, else by default. Pure: must not read files nor the environment.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::args;

const DEFAULT_SERVER: &str = "127.0.0.1:7420";
const DEFAULT_NAMESPACE: &str = "default";

/// The settings in use, and where they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Address of the daemon.
    pub(crate) server: Sourced<String>,
    /// Namespace of names without one.
    pub(crate) namespace: Sourced<String>,
    /// The bearer token, or the file that holds it.
    pub(crate) token: Option<Sourced<Token>>,
    /// Certificates of the authorities that may sign the daemon's certificate.
    pub(crate) authorities: Option<Sourced<PathBuf>>,
}

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sourced<T> {
    /// The value.
    pub(crate) value: T,
    /// Where it comes from.
    pub(crate) source: Source,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// This flag.
    Flag(&'static str),
    /// This variable.
    Environment(&'static str),
    /// This file.
    File(PathBuf),
    /// Not set, so the default applies.
    Default,
}

/// A bearer token, or the file that holds it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// Its text.
    Text(String),
    /// The file that holds it.
    File(PathBuf),
}

/// The configuration file.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// The path of the file; relative paths in it start at its folder.
    #[serde(skip)]
    path: PathBuf,
    server: Option<String>,
    namespace: Option<String>,
    token: Option<String>,
    token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

/// Returns the path of the configuration file, and whether the file must exist because `GANTRY_CONFIG` names
/// it.
pub(crate) fn location(env: impl Fn(&str) -> Option<String>) -> Option<(PathBuf, bool)> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    if let Some(path) = set("GANTRY_CONFIG") {
        return Some((path.into(), true));
    }
    // The XDG standard requires that relative paths are ignored.
    let base = set("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = base.or_else(|| set("HOME").map(|home| Path::new(&home).join(".config")))?;
    Some((base.join("gantry/config.toml"), false))
}

/// Reads the text of a configuration file.
pub(crate) fn parse(path: &Path, text: &str) -> Result<File, String> {
    // The text of a TOML error quotes the line, which may be the one with the token. So only its message is
    // used.
    let place = |start: usize| text.get(..start).map_or(1, |before| before.matches('\n').count() + 1);
    let file: File = toml::from_str(text).map_err(|error| match error.span() {
        Some(span) => format!("line {}: {}", place(span.start), error.message()),
        None => error.message().to_owned(),
    })?;
    if file.token.is_some() && file.token_file.is_some() {
        return Err("`token` and `token_file` are both set: keep one".to_owned());
    }
    Ok(File { path: path.to_owned(), ..file })
}

/// Chooses each setting from its sources.
pub(crate) fn resolve(
    flags: &args::Settings,
    env: impl Fn(&str) -> Option<String>,
    file: Option<&File>,
) -> Settings {
    // An empty variable counts as not set.
    let env = |name: &'static str| {
        let value = env(name).filter(|value| !value.is_empty())?;
        Some(Sourced { value, source: Source::Environment(name) })
    };
    let path = |sourced: Sourced<String>| sourced.map(PathBuf::from);
    let server = flag("--server", flags.server.as_ref())
        .or_else(|| env("GANTRY_ADDR"))
        .or_else(|| file.and_then(|file| file.sourced(file.server.clone())))
        .unwrap_or_else(|| default(DEFAULT_SERVER));
    let namespace = flag("--namespace", flags.namespace.as_ref())
        .or_else(|| env("GANTRY_NAMESPACE"))
        .or_else(|| file.and_then(|file| file.sourced(file.namespace.clone())))
        .unwrap_or_else(|| default(DEFAULT_NAMESPACE));
    let token = flag("--token", flags.token.as_ref())
        .map(|token| token.map(Token::Text))
        .or_else(|| flag("--token-file", flags.token_file.as_ref()).map(|path| path.map(Token::File)))
        .or_else(|| env("GANTRY_TOKEN").map(|token| token.map(Token::Text)))
        .or_else(|| env("GANTRY_TOKEN_FILE").map(|text| path(text).map(Token::File)))
        .or_else(|| file.and_then(|file| file.sourced(file.token())));
    let authorities =
        flag("--ca-file", flags.ca_file.as_ref()).or_else(|| env("GANTRY_CA_FILE").map(path)).or_else(|| {
            file.and_then(|file| file.sourced(file.ca_file.as_deref().map(|path| file.beside(path))))
        });
    Settings { server, namespace, token, authorities }
}

fn flag<T: Clone>(name: &'static str, value: Option<&T>) -> Option<Sourced<T>> {
    value.cloned().map(|value| Sourced { value, source: Source::Flag(name) })
}

fn default(value: &str) -> Sourced<String> {
    Sourced { value: value.to_owned(), source: Source::Default }
}

// === impl Settings ===

impl Settings {
    /// Returns the settings in use and where they come from, without the token itself.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        let from = |source: &Source| match source {
            Source::Flag(name) | Source::Environment(name) => format!("from {name}"),
            Source::File(path) => format!("from {}", path.display()),
            Source::Default => "by default".to_owned(),
        };
        let mut lines = vec![
            ("Server", format!("{} ({})", self.server.value, from(&self.server.source))),
            ("Namespace", format!("{} ({})", self.namespace.value, from(&self.namespace.source))),
        ];
        lines.push((
            "Token",
            match &self.token {
                None => "none".to_owned(),
                Some(Sourced { value: Token::Text(_), source }) => format!("set ({})", from(source)),
                Some(Sourced { value: Token::File(path), source }) => {
                    format!("in {} ({})", path.display(), from(source))
                }
            },
        ));
        if let Some(Sourced { value, source }) = &self.authorities {
            lines.push(("Authorities", format!("in {} ({})", value.display(), from(source))));
        }
        lines
    }
}

// === impl Sourced ===

impl<T> Sourced<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Sourced<U> {
        Sourced { value: change(self.value), source: self.source }
    }
}

// === impl Token ===

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

// === impl File ===

impl File {
    /// Whether the file itself holds the token, so that anyone who can read it can act as the caller.
    pub(crate) fn holds_token(&self) -> bool {
        self.token.is_some()
    }

    fn token(&self) -> Option<Token> {
        let file = self.token_file.as_deref().map(|path| Token::File(self.beside(path)));
        self.token.clone().map(Token::Text).or(file)
    }

    /// Resolves a path relative to the folder of the file.
    fn beside(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or_else(|| Path::new("")).join(path)
    }

    fn sourced<T>(&self, value: Option<T>) -> Option<Sourced<T>> {
        value.map(|value| Sourced { value, source: Source::File(self.path.clone()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "server = 'file:1'\nnamespace = 'of-file'\ntoken_file = 'token'\nca_file = '/etc/ca.pem'\n";

    fn mk_file(text: &str) -> File {
        parse(Path::new("/home/ann/.config/gantry/config.toml"), text).expect(text)
    }

    fn env<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn flags_come_before_the_environment_and_that_before_the_file() {
        let file = mk_file(FILE);
        let variables = [("GANTRY_ADDR", "env:1"), ("GANTRY_NAMESPACE", ""), ("GANTRY_TOKEN", "of-env")];
        let flags = args::Settings { server: Some("flag:1".into()), ..Default::default() };
        let server = |flags, variables: &[(&str, &str)], file| {
            let server = resolve(flags, env(variables), file).server;
            (server.value, server.source)
        };
        let path = PathBuf::from("/home/ann/.config/gantry/config.toml");
        let none = args::Settings::default();
        assert_eq!(server(&flags, &variables, Some(&file)), ("flag:1".into(), Source::Flag("--server")));
        assert_eq!(
            server(&none, &variables, Some(&file)),
            ("env:1".into(), Source::Environment("GANTRY_ADDR"))
        );
        assert_eq!(server(&none, &[], Some(&file)), ("file:1".into(), Source::File(path.clone())));
        assert_eq!(server(&none, &[], None), (DEFAULT_SERVER.into(), Source::Default));

        let settings = resolve(&none, env(&variables), Some(&file));
        assert_eq!(
            settings.namespace,
            Sourced { value: "of-file".into(), source: Source::File(path.clone()) }
        );
        let text = Token::Text("of-env".into());
        assert_eq!(
            settings.token,
            Some(Sourced { value: text, source: Source::Environment("GANTRY_TOKEN") })
        );
        let settings = resolve(&none, env(&[]), Some(&file));
        let beside = Token::File("/home/ann/.config/gantry/token".into());
        assert_eq!(settings.token, Some(Sourced { value: beside, source: Source::File(path) }));
        assert_eq!(settings.authorities.map(|path| path.value), Some("/etc/ca.pem".into()));
        assert_eq!(resolve(&none, env(&[]), None).token, None);
    }

    #[test]
    fn a_mistake_in_the_file_is_named() {
        let refused = |text: &str| parse(Path::new("config.toml"), text).map(drop).expect_err(text);
        assert!(refused("sever = 'a:1'").contains("sever"));
        assert!(refused("namespace = 'a'\nserver = 1").starts_with("line 2: "));
        assert!(refused("server = ").contains("line 1"));
        assert!(refused("token = 'a'\ntoken_file = 'b'").contains("token_file"));
        let about_token = refused("namespace = 'a'\ntoken = secret");
        assert!(about_token.starts_with("line 2: ") && !about_token.contains("secret"), "{about_token}");
        assert!(!mk_file("").holds_token() && mk_file("token = 'a'").holds_token());
    }

    #[test]
    fn the_file_is_where_the_standard_says() {
        let at = |pairs: &[(&str, &str)]| {
            location(env(pairs)).map(|(path, named)| (path.display().to_string(), named))
        };
        let (home, xdg) = (("HOME", "/home/ann"), ("XDG_CONFIG_HOME", "/cfg"));
        assert_eq!(at(&[home, xdg, ("GANTRY_CONFIG", "my.toml")]), Some(("my.toml".into(), true)));
        assert_eq!(at(&[home, xdg]), Some(("/cfg/gantry/config.toml".into(), false)));
        assert_eq!(
            at(&[home, ("XDG_CONFIG_HOME", "relative")]),
            Some(("/home/ann/.config/gantry/config.toml".into(), false))
        );
        assert_eq!(at(&[]), None);
    }

    #[test]
    fn the_token_is_never_shown() {
        let flags = args::Settings { token: Some("secret".into()), ..Default::default() };
        let settings = resolve(&flags, env(&[]), None);
        assert!(!format!("{settings:?} {:?}", settings.lines()).contains("secret"), "{settings:?}");
        assert_eq!(settings.lines()[2], ("Token", "set (from --token)".to_owned()));
    }
}
