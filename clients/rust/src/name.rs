//! Resource names: the short forms that people type, and the full names of the API. Must not know the
//! connection; the daemon checks the characters.

use std::fmt;

/// Why a text is not a valid name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not one of the forms that name an app.
    #[error("`{0}` does not name an app: write `shop`, `prod/shop` or `namespaces/prod/apps/shop`")]
    App(String),
    /// Not a rollout of an app.
    #[error("`{0}` does not name a rollout: write a number, or `latest`")]
    Rollout(String),
}

/// Name of an app. Displays as `namespaces/{namespace}/apps/{app}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct App {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name within the namespace.
    pub app: String,
}

/// Name of a rollout. Displays as `namespaces/{namespace}/apps/{app}/rollouts/{revision}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rollout {
    /// The app that it belongs to.
    pub app: App,
    /// A number, or `latest`.
    pub revision: String,
}

/// The name of the autoscalers of all apps, for a watch.
pub const ALL_AUTOSCALERS: &str = "namespaces/-/apps/-/autoscaler";

/// Returns the parent of one namespace's apps, `namespaces/{namespace}`; `-` means all namespaces.
pub fn namespace(namespace: &str) -> String {
    format!("namespaces/{namespace}")
}

// === impl App ===

impl App {
    /// Reads `shop` (in the default namespace), `prod/shop` or `namespaces/prod/apps/shop`.
    pub fn parse(text: &str, default_namespace: &str) -> Result<Self, Error> {
        let (namespace, app) = match text.split('/').collect::<Vec<_>>()[..] {
            [app] => (default_namespace, app),
            [namespace, app] | ["namespaces", namespace, "apps", app] => (namespace, app),
            _ => return Err(Error::App(text.to_owned())),
        };
        // `-` stands for all namespaces in lists, and some proxies remove `.` and `..` from paths.
        let is_name =
            |part: &str| !matches!(part, "" | "-" | "." | "..") && !part.contains(char::is_whitespace);
        if !is_name(namespace) || !is_name(app) {
            return Err(Error::App(text.to_owned()));
        }
        Ok(Self { namespace: namespace.to_owned(), app: app.to_owned() })
    }

    /// Reads the app out of the full resource name of the app or of something below it, for example
    /// `namespaces/prod/apps/shop/rollouts/3`.
    pub fn of(resource: &str) -> Result<Self, Error> {
        match resource.split('/').collect::<Vec<_>>()[..] {
            ["namespaces", namespace, "apps", app, ..] => Self::parse(&format!("{namespace}/{app}"), ""),
            _ => Err(Error::App(resource.to_owned())),
        }
    }

    /// Returns the resource name of the app's autoscaler.
    pub fn autoscaler(&self) -> String {
        format!("{self}/autoscaler")
    }

    /// Returns the name of a rollout of this app; `revision` is a number or `latest`.
    pub fn rollout(&self, revision: &str) -> Result<Rollout, Error> {
        if revision != "latest" && !matches!(revision.parse::<u64>(), Ok(1..)) {
            return Err(Error::Rollout(revision.to_owned()));
        }
        Ok(Rollout { app: self.clone(), revision: revision.to_owned() })
    }
}

impl fmt::Display for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "namespaces/{}/apps/{}", self.namespace, self.app)
    }
}

// === impl Rollout ===

impl Rollout {
    /// Reads the full resource name, as messages of the daemon have it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match text.split('/').collect::<Vec<_>>()[..] {
            ["namespaces", namespace, "apps", app, "rollouts", revision] => {
                App::parse(&format!("{namespace}/{app}"), "")?.rollout(revision)
            }
            _ => Err(Error::Rollout(text.to_owned())),
        }
    }
}

impl fmt::Display for Rollout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/rollouts/{}", self.app, self.revision)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mk_app(namespace: &str, app: &str) -> App {
        App { namespace: namespace.into(), app: app.into() }
    }

    #[test]
    fn three_forms_name_an_app() {
        assert_eq!(App::parse("shop", "default"), Ok(mk_app("default", "shop")));
        assert_eq!(App::parse("prod/shop", "default"), Ok(mk_app("prod", "shop")));
        assert_eq!(App::parse("namespaces/prod/apps/shop", "default"), Ok(mk_app("prod", "shop")));
    }

    #[test]
    fn other_texts_name_nothing() {
        for text in [
            "",
            "/",
            "prod/",
            "/shop",
            "a/b/c",
            "namespaces/prod/pods/shop",
            "a b",
            "-/shop",
            "../shop",
            "/a/b/",
        ] {
            assert_eq!(App::parse(text, "default"), Err(Error::App(text.into())), "{text}");
        }
        assert!(App::parse("shop", "").is_err());
    }

    #[test]
    fn what_belongs_to_an_app_names_it() {
        let shop = mk_app("prod", "shop");
        assert_eq!(shop.autoscaler(), "namespaces/prod/apps/shop/autoscaler");
        assert_eq!(App::of("namespaces/prod/apps/shop/autoscaler/decisions/7"), Ok(shop.clone()));
        assert_eq!(App::of(&shop.to_string()), Ok(shop));
        for text in ["", "prod/shop", "namespaces/prod", ALL_AUTOSCALERS] {
            assert!(App::of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rollouts_are_numbers_or_latest() {
        let shop = mk_app("prod", "shop");
        assert_eq!(
            shop.rollout("7").map(|r| r.to_string()),
            Ok("namespaces/prod/apps/shop/rollouts/7".into())
        );
        assert!(shop.rollout("latest").is_ok());
        for text in ["", "0", "-1", "newest", "1/2"] {
            assert!(shop.rollout(text).is_err(), "{text}");
        }
        assert!(Rollout::parse("prod/shop/3").is_err());
    }

    proptest! {
        #[test]
        fn parsing_a_displayed_name_gives_it_back(ns in "[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", app in "[a-z]([-.a-z0-9]{0,20}[a-z0-9])?", n in 1..u64::MAX) {
            let name = App::parse(&app, &ns);
            prop_assert_eq!(&name, &Ok(mk_app(&ns, &app)));
            let rollout = mk_app(&ns, &app).rollout(&n.to_string());
            prop_assert_eq!(App::parse(&mk_app(&ns, &app).to_string(), "x"), name);
            prop_assert_eq!(Rollout::parse(&rollout.clone().map(|r| r.to_string()).unwrap_or_default()), rollout);
        }

        #[test]
        fn parsing_never_panics(text in ".*", ns in ".*") {
            let _ = App::parse(&text, &ns);
            let _ = App::of(&text);
            let _ = Rollout::parse(&text);
        }
    }
}
