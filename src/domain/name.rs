//! Resource names of the API: parsing and printing. Knows their grammar, not whether the resource exists.

use std::fmt;

/// Name of an app: `namespaces/{namespace}/apps/{app}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct App {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name of the Deployment.
    pub app: String,
}

/// Name of a rollout: `namespaces/{namespace}/apps/{app}/rollouts/{revision}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rollout {
    /// The app it belongs to.
    pub app: App,
    /// Which one.
    pub revision: Which,
}

/// Selects one rollout of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Which {
    /// The newest, written `latest`.
    Latest,
    /// The one with this number, from 1 on.
    Number(u64),
}

/// The apps that a list or watch covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `namespaces/-`.
    All,
    /// `namespaces/{namespace}`.
    Namespace(String),
    /// `namespaces/{namespace}/apps/{app}`.
    App(App),
}

/// Why a text is not a valid name, with what is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

// === impl App ===

impl App {
    /// Builds a name from parts that are already valid.
    pub fn new(namespace: impl Into<String>, app: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), app: app.into() }
    }

    /// Parses the name of an app for reading. An app that was not deployed by Gantry may have any name that
    /// Kubernetes allows.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let expected = || {
            Invalid(format!("\"{text}\" is not an app name; expected namespaces/{{namespace}}/apps/{{app}}"))
        };
        let mut parts = text.split('/');
        let (Some("namespaces"), Some(namespace), Some("apps"), Some(app), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(expected());
        };
        check_namespace(namespace)?;
        if !is_subdomain(app) {
            return Err(Invalid(format!(
                "\"{app}\" is not a valid Deployment name; expected 1 to 253 lower-case letters, digits, '-' and '.'"
            )));
        }
        Ok(Self::new(namespace, app))
    }

    /// Parses the name of an app for a deploy. The rule is stricter, because the name is also used for a
    /// Service and as a label value.
    pub fn parse_to_deploy(text: &str) -> Result<Self, Invalid> {
        let name = Self::parse(text)?;
        let starts_with_letter = name.app.starts_with(|c: char| c.is_ascii_lowercase());
        // 53: Kubernetes adds up to 10 characters to a pod's name, which must stay a label of at most 63.
        if name.app.len() > 53 || !is_label(&name.app) || !starts_with_letter {
            return Err(Invalid(format!(
                "\"{}\" is not a valid name for a deploy; expected 1 to 53 lower-case letters, digits and '-', starting with a \
                 letter and ending with a letter or digit",
                name.app
            )));
        }
        Ok(name)
    }

    /// Returns the name of one of its rollouts.
    pub fn rollout(&self, number: u64) -> String {
        format!("{self}/rollouts/{number}")
    }
}

impl fmt::Display for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "namespaces/{}/apps/{}", self.namespace, self.app)
    }
}

// === impl Rollout ===

impl Rollout {
    /// Parses the name of a rollout.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let expected = || {
            Invalid(format!(
                "\"{text}\" is not a rollout name; expected namespaces/{{namespace}}/apps/{{app}}/rollouts/{{number or latest}}"
            ))
        };
        let (app, revision) = text.split_once("/rollouts/").ok_or_else(expected)?;
        let app = App::parse(app)?;
        let revision = match revision {
            "latest" => Which::Latest,
            digits if !digits.starts_with(['0', '+']) => {
                Which::Number(digits.parse().map_err(|_| expected())?)
            }
            _ => return Err(expected()),
        };
        Ok(Self { app, revision })
    }
}

impl fmt::Display for Rollout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.revision {
            Which::Latest => write!(f, "{}/rollouts/latest", self.app),
            Which::Number(n) => write!(f, "{}/rollouts/{n}", self.app),
        }
    }
}

// === impl Scope ===

impl Scope {
    /// Parses the parent of a list: a namespace or all of them.
    pub fn parse_parent(text: &str) -> Result<Self, Invalid> {
        match text.strip_prefix("namespaces/") {
            Some("-") => Ok(Self::All),
            Some(namespace) if !namespace.contains('/') => {
                check_namespace(namespace)?;
                Ok(Self::Namespace(namespace.to_owned()))
            }
            _ => Err(Invalid(format!(
                "\"{text}\" is not a valid parent; expected namespaces/{{namespace}} or namespaces/-"
            ))),
        }
    }

    /// Parses the parent of a watch, which may also be a single app.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.contains("/apps/") { App::parse(text).map(Self::App) } else { Self::parse_parent(text) }
    }

    /// Returns whether the app is in this scope.
    pub fn holds(&self, name: &App) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(namespace) => *namespace == name.namespace,
            Self::App(app) => app == name,
        }
    }
}

fn check_namespace(text: &str) -> Result<(), Invalid> {
    if is_label(text) {
        return Ok(());
    }
    Err(Invalid(format!(
        "\"{text}\" is not a valid namespace; expected 1 to 63 lower-case letters, digits and '-'"
    )))
}

/// Returns whether the text is an RFC 1123 label: 1 to 63 lower-case letters, digits and `-`, with no `-` at
/// either end.
pub fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Returns whether the text is an RFC 1123 subdomain: labels joined by dots, at most 253 characters. As in
/// Kubernetes, the labels have no separate length limit here.
pub fn is_subdomain(text: &str) -> bool {
    let part = |p: &str| {
        !p.is_empty()
            && p.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !p.starts_with('-')
            && !p.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn printing_and_parsing_are_inverse(ns in "[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", app in "[a-z]([-a-z0-9]{0,51}[a-z0-9])?", n in 1u64..) {
            let name = App::new(ns, app);
            prop_assert_eq!(&App::parse_to_deploy(&name.to_string()).unwrap(), &name);
            let rollout = Rollout { app: name, revision: Which::Number(n) };
            prop_assert_eq!(Rollout::parse(&rollout.to_string()).unwrap(), rollout);
        }

        #[test]
        fn parsing_never_panics(text in ".{0,80}") {
            let _ = (App::parse(&text), App::parse_to_deploy(&text), Rollout::parse(&text), Scope::parse(&text));
        }
    }

    #[test]
    fn what_others_deployed_can_be_read_but_not_deployed() {
        for app in ["3scale", "my.app.v2", &"a".repeat(63)] {
            let text = format!("namespaces/shop/apps/{app}");
            assert!(App::parse(&text).is_ok(), "{app}");
            assert!(App::parse_to_deploy(&text).is_err(), "{app}");
        }
    }

    #[test]
    fn wrong_names_are_refused() {
        for text in [
            "",
            "shop",
            "namespaces/a/apps/",
            "namespaces//apps/x",
            "namespaces/a/apps/X",
            "namespaces/a/apps/x/y",
        ] {
            assert!(App::parse(text).is_err(), "{text}");
        }
        for text in [
            "namespaces/a/apps/x/rollouts/",
            "namespaces/a/apps/x/rollouts/0",
            "namespaces/a/apps/x/rollouts/-1",
        ] {
            assert!(Rollout::parse(text).is_err(), "{text}");
        }
        assert!(Scope::parse_parent("namespaces/a/apps/x").is_err());
    }

    #[test]
    fn latest_is_a_rollout() {
        let parsed = Rollout::parse("namespaces/a/apps/x/rollouts/latest").unwrap();
        assert_eq!(parsed.revision, Which::Latest);
    }
}
