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
        let (namespace, app) = split(text).ok_or_else(|| Invalid::form(text, "app name", APP))?;
        Self::read(namespace, app)
    }

    /// Parses the name of an app for a deploy. The rule is stricter, because the name is also used for a
    /// Service and as a label value.
    pub fn parse_to_deploy(text: &str) -> Result<Self, Invalid> {
        let (namespace, app) = split(text).ok_or_else(|| Invalid::form(text, "app name", APP))?;
        check_namespace(namespace)?;
        let starts_with_letter = app.starts_with(|c: char| c.is_ascii_lowercase());
        // 53: Kubernetes adds up to 10 characters to a pod's name, which must stay a label of at most 63.
        if app.len() > 53 || !is_label(app) || !starts_with_letter {
            return Err(Invalid(format!(
                "{} is not a valid name of an app to deploy; expected 1 to 53 lower-case letters, digits and '-', starting with \
                 a letter and ending with a letter or digit, for example shop",
                shown(app)
            )));
        }
        Ok(Self::new(namespace, app))
    }

    fn read(namespace: &str, app: &str) -> Result<Self, Invalid> {
        check_namespace(namespace)?;
        if !is_subdomain(app) {
            return Err(Invalid(format!(
                "{} is not a valid name of an app; expected 1 to 253 lower-case letters, digits, '-' and '.', with a letter or \
                 digit at both ends and beside each '.', for example shop",
                shown(app)
            )));
        }
        Ok(Self::new(namespace, app))
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
        let wrong = || {
            Invalid::form(
                text,
                "rollout name",
                "namespaces/{namespace}/apps/{app}/rollouts/{number} or \
                 namespaces/{namespace}/apps/{app}/rollouts/latest, for example namespaces/prod/apps/shop/rollouts/3",
            )
        };
        let (namespace, app, revision) = split_rollout(text).ok_or_else(wrong)?;
        let revision = match revision {
            "latest" => Which::Latest,
            digits => Which::Number(parse_number(digits).ok_or_else(wrong)?),
        };
        Ok(Self { app: App::read(namespace, app)?, revision })
    }

    /// Parses the name of a rollout where `latest` makes no sense. Returns its app and number.
    pub fn parse_numbered(text: &str) -> Result<(App, u64), Invalid> {
        let wrong = || {
            Invalid::form(
                text,
                "name of an earlier rollout",
                "namespaces/{namespace}/apps/{app}/rollouts/{number}, for example namespaces/prod/apps/shop/rollouts/3",
            )
        };
        let (namespace, app, revision) = split_rollout(text).ok_or_else(wrong)?;
        let number = parse_number(revision).ok_or_else(wrong)?;
        Ok((App::read(namespace, app)?, number))
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
        let wrong = || {
            let forms =
                "namespaces/{namespace}, or namespaces/- for all namespaces, for example namespaces/prod";
            Invalid::form(text, "parent", forms)
        };
        Self::of_namespace(text).unwrap_or_else(|| Err(wrong()))
    }

    /// Parses the parent of a watch, which may also be a single app.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let wrong = || {
            Invalid::form(
                text,
                "parent",
                "namespaces/{namespace}, namespaces/- for all namespaces, or namespaces/{namespace}/apps/{app} for one app, \
                 for example namespaces/prod",
            )
        };
        match split(text) {
            Some((namespace, app)) => App::read(namespace, app).map(Self::App),
            None => Self::of_namespace(text).unwrap_or_else(|| Err(wrong())),
        }
    }

    /// Parses the parent of autoscalers: one, or those of all apps of a namespace or of all namespaces.
    pub fn parse_autoscalers(text: &str) -> Result<Self, Invalid> {
        let wrong = || {
            Invalid::form(
                text,
                "parent",
                "namespaces/{namespace}/apps/{app}/autoscaler, namespaces/{namespace}/apps/-/autoscaler for all apps of a \
                 namespace, or namespaces/-/apps/-/autoscaler for all apps, for example namespaces/prod/apps/shop/autoscaler",
            )
        };
        let owner = text.strip_suffix(AUTOSCALER).ok_or_else(wrong)?;
        if let Some(namespace) = owner.strip_suffix("/apps/-") {
            return Self::of_namespace(namespace).unwrap_or_else(|| Err(wrong()));
        }
        let (namespace, app) = split(owner).ok_or_else(wrong)?;
        App::read(namespace, app).map(Self::App)
    }

    /// Returns the scope of `namespaces/{namespace}` or `namespaces/-`, or `None` for any other form.
    fn of_namespace(text: &str) -> Option<Result<Self, Invalid>> {
        let namespace = text.strip_prefix("namespaces/").filter(|rest| !rest.contains('/'))?;
        if namespace == "-" {
            return Some(Ok(Self::All));
        }
        Some(check_namespace(namespace).map(|()| Self::Namespace(namespace.to_owned())))
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

// === impl Invalid ===

impl Invalid {
    /// The error for a text that has none of the `forms`.
    fn form(text: &str, what: &str, forms: &str) -> Self {
        Self(format!("{} is not a valid {what}; expected {forms}", shown(text)))
    }
}

/// Parses the name of the autoscaler of an app. Returns the app.
pub fn parse_autoscaler(text: &str) -> Result<App, Invalid> {
    let wrong = || {
        Invalid::form(
            text,
            "autoscaler name",
            "namespaces/{namespace}/apps/{app}/autoscaler, for example namespaces/prod/apps/shop/autoscaler",
        )
    };
    let (namespace, app) = text.strip_suffix(AUTOSCALER).and_then(split).ok_or_else(wrong)?;
    App::read(namespace, app)
}

/// The form of an app name.
const APP: &str = "namespaces/{namespace}/apps/{app}, for example namespaces/prod/apps/shop";

/// What follows the name of an app in the name of its autoscaler.
const AUTOSCALER: &str = "/autoscaler";

/// Characters of an invalid text that an error repeats.
const SHOWN: usize = 300;

/// Quotes a text for an error: escaped, and cut if it is long.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Returns the namespace and the app of `namespaces/{namespace}/apps/{app}`.
fn split(text: &str) -> Option<(&str, &str)> {
    let mut parts = text.split('/');
    let all = (parts.next(), parts.next(), parts.next(), parts.next(), parts.next());
    let (Some("namespaces"), Some(namespace), Some("apps"), Some(app), None) = all else { return None };
    Some((namespace, app))
}

fn split_rollout(text: &str) -> Option<(&str, &str, &str)> {
    let (owner, revision) = text.split_once("/rollouts/")?;
    let (namespace, app) = split(owner)?;
    Some((namespace, app, revision))
}

/// Numbers have one spelling only.
fn parse_number(digits: &str) -> Option<u64> {
    digits.parse().ok().filter(|_| !digits.starts_with(['0', '+']))
}

fn check_namespace(text: &str) -> Result<(), Invalid> {
    if is_label(text) {
        return Ok(());
    }
    Err(Invalid(format!(
        "{} is not a valid namespace; expected 1 to 63 lower-case letters, digits and '-', with a letter or digit at both \
         ends, for example prod",
        shown(text)
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

    /// A kind of name, why a text is none, and whether another text is one.
    type Answer = (&'static str, Option<Invalid>, fn(&str) -> bool);

    fn errors(text: &str) -> Vec<Answer> {
        vec![
            ("app", App::parse(text).err(), |text| App::parse(text).is_ok()),
            ("deploy", App::parse_to_deploy(text).err(), |text| App::parse_to_deploy(text).is_ok()),
            ("rollout", Rollout::parse(text).err(), |text| Rollout::parse(text).is_ok()),
            ("earlier", Rollout::parse_numbered(text).err(), |text| Rollout::parse_numbered(text).is_ok()),
            ("list", Scope::parse_parent(text).err(), |text| Scope::parse_parent(text).is_ok()),
            ("watch", Scope::parse(text).err(), |text| Scope::parse(text).is_ok()),
            ("autoscaler", parse_autoscaler(text).err(), |text| parse_autoscaler(text).is_ok()),
            ("autoscalers", Scope::parse_autoscalers(text).err(), |text| {
                Scope::parse_autoscalers(text).is_ok()
            }),
        ]
    }

    /// Replaces the part of a valid text that an example may be of.
    fn with_example(example: &str, of: &str) -> String {
        match example.split_once('/') {
            Some(_) => example.to_owned(),
            None if example == "prod" => of.replace("NAMESPACE", example).replace("APP", "shop"),
            None => of.replace("NAMESPACE", "prod").replace("APP", example),
        }
    }

    #[test]
    fn every_form_that_an_error_names_is_accepted() {
        for (kind, error, accepts) in errors("x") {
            let said = error.unwrap().to_string();
            let filled =
                said.replace("{namespace}", "prod").replace("{app}", "shop").replace("{number}", "3");
            let forms: Vec<_> =
                filled.split([' ', ',']).filter(|word| word.starts_with("namespaces/")).collect();
            assert!(forms.len() > 1, "{kind}: {said}");
            for form in forms {
                assert!(accepts(form), "{kind}: {form} of {said}");
            }
        }
        let forms = |text: &str| Scope::parse(text).is_ok();
        assert!(["namespaces/-", "namespaces/a", "namespaces/a/apps/x"].iter().all(|text| forms(text)));
    }

    proptest! {
        #[test]
        fn what_an_error_says_is_right_is_accepted(
            namespace in "[-a-zA-Z0-9._]{0,70}", app in "[-a-zA-Z0-9._]{0,60}", long in "[a-z0-9]{1,80}(\\.[-a-z0-9]{1,80}){0,3}",
        ) {
            for (namespace, app) in [("prod", &*app), ("prod", &*long), (&*namespace, "shop")] {
                for form in ["namespaces/NAMESPACE/apps/APP", "namespaces/NAMESPACE/apps/APP/rollouts/3",
                    "namespaces/NAMESPACE/apps/APP/autoscaler", "namespaces/NAMESPACE"] {
                    let text = form.replace("NAMESPACE", namespace).replace("APP", app);
                    for (kind, error, accepts) in errors(&text) {
                        let Some(said) = error.map(|error| error.to_string()) else { continue };
                        let (_, example) = said.rsplit_once("for example ").unwrap();
                        let example = with_example(example, form);
                        prop_assert!(accepts(&example), "{}: {} of {}", kind, example, said);
                    }
                }
            }
        }

        #[test]
        fn the_rule_for_a_name_is_one(app in "[-a-z0-9.]{1,60}") {
            let text = format!("namespaces/prod/apps/{app}");
            let deployable = app.len() <= 53 && !app.contains('.') && app.starts_with(|c: char| c.is_ascii_lowercase())
                && !app.ends_with('-');
            prop_assert_eq!(App::parse_to_deploy(&text).is_ok(), deployable);
            let said = |error: Option<Invalid>| error.map(|error| error.to_string()).unwrap_or_default();
            let (deploy, read) = (said(App::parse_to_deploy(&text).err()), said(App::parse(&text).err()));
            prop_assert!(deploy.is_empty() || deploy.contains("1 to 53") && !deploy.contains("1 to 253"), "{}", deploy);
            prop_assert!(read.is_empty() || read.contains("1 to 253"), "{}", read);
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
