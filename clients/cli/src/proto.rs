//! Messages of the API as JSON and YAML, both ways, by the rules of proto JSON. Must not know what the
//! messages mean.

mod sorted;

use std::sync::LazyLock;

use gantry_client::DESCRIPTOR;
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor};

use self::sorted::Sorted;

/// Why a text could not be read as a message, or a message not written as text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The text is neither YAML nor JSON.
    #[error("{0}")]
    Syntax(String),
    /// The text does not fit the message.
    #[error("{path}: {cause}")]
    Field {
        /// Where, for example `spec.ports[0].number`; `.` is the top.
        path: String,
        /// Why.
        cause: String,
    },
    /// The message cannot be converted to text.
    #[error("this answer cannot be printed: {0}")]
    Message(String),
}

static POOL: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| DescriptorPool::decode(DESCRIPTOR).ok());

/// Converts a message to one line of JSON.
pub(crate) fn to_json<M: Message + Name>(message: &M) -> Result<String, Error> {
    serde_json::to_string(&to_sorted(message)?).map_err(|error| Error::Message(error.to_string()))
}

/// Converts a message to indented JSON, with a line break at the end.
pub(crate) fn to_pretty_json<M: Message + Name>(message: &M) -> Result<String, Error> {
    let json = serde_json::to_string_pretty(&to_sorted(message)?);
    json.map(|json| json + "\n").map_err(|error| Error::Message(error.to_string()))
}

/// Converts a message to YAML, with a line break at the end.
pub(crate) fn to_yaml<M: Message + Name>(message: &M) -> Result<String, Error> {
    let yaml =
        serde_saphyr::to_string(&to_sorted(message)?).map_err(|error| Error::Message(error.to_string()))?;
    Ok(format!("{}\n", yaml.trim_end()))
}

/// Reads one message or several, as YAML or JSON documents. Unknown fields are errors.
pub(crate) fn from_documents<M: Message + Name + Default>(text: &str) -> Result<Vec<M>, Error> {
    // JSON is tried first, because some JSON is not YAML (control characters), and no text that is valid JSON
    // means something else in YAML.
    let json: Result<Vec<serde_json::Value>, _> =
        serde_json::Deserializer::from_str(text).into_iter().collect();
    let values = match json {
        Ok(values) if !values.is_empty() => values,
        _ => serde_saphyr::from_multiple(text).map_err(|error| Error::Syntax(error.to_string()))?,
    };
    match values.len() {
        0 => Err(Error::Syntax("it is empty".to_owned())),
        1 => values.into_iter().map(from_value).collect(),
        _ => values
            .into_iter()
            .zip(1..)
            .map(|(value, n)| from_value(value).map_err(|error| nth(error, n)))
            .collect(),
    }
}

/// Reads exactly one message.
#[cfg(test)]
pub(crate) fn from_yaml<M: Message + Name + Default>(text: &str) -> Result<M, Error> {
    let mut messages = from_documents(text)?;
    match (messages.pop(), messages.len()) {
        (Some(message), 0) => Ok(message),
        (_, more) => Err(Error::Message(format!("{more} too many"))),
    }
}

fn nth(error: Error, n: usize) -> Error {
    match error {
        Error::Field { path, cause } => Error::Field { path: format!("document {n}: {path}"), cause },
        Error::Syntax(text) => Error::Syntax(format!("document {n}: {text}")),
        Error::Message(text) => Error::Message(text),
    }
}

fn from_value<M: Message + Name + Default>(value: serde_json::Value) -> Result<M, Error> {
    let mut track = serde_path_to_error::Track::new();
    let fields = serde_path_to_error::Deserializer::new(value, &mut track);
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let message = DynamicMessage::deserialize_with_options(descriptor::<M>()?, fields, &options)
        .map_err(|error| Error::Field { path: track.path().to_string(), cause: error.to_string() })?;
    message.transcode_to().map_err(|error| Error::Message(error.to_string()))
}

fn to_sorted<M: Message + Name>(message: &M) -> Result<Sorted, Error> {
    let mut dynamic = DynamicMessage::new(descriptor::<M>()?);
    dynamic.transcode_from(message).map_err(|error| Error::Message(error.to_string()))?;
    Sorted::new(&dynamic).map_err(|error| Error::Message(error.to_string()))
}

fn descriptor<M: Name>() -> Result<MessageDescriptor, Error> {
    let name = M::full_name();
    let found = POOL.as_ref().and_then(|pool| pool.get_message_by_name(&name));
    found.ok_or_else(|| Error::Message(format!("`{name}` is not in the contract")))
}

#[cfg(test)]
mod tests {
    use gantry_client::v1;
    use proptest::prelude::*;

    use super::*;

    fn mk_app(image: &str, replicas: Option<i32>, env: &[(String, String)]) -> v1::App {
        let spec = v1::AppSpec {
            image: image.into(),
            replicas,
            env: env.iter().cloned().collect(),
            ..Default::default()
        };
        v1::App { name: "namespaces/a/apps/b".into(), spec: Some(spec), ..Default::default() }
    }

    #[test]
    fn json_is_proto_json() {
        let mut app = mk_app("a:1", Some(0), &[]);
        app.create_time = Some(prost_types::Timestamp { seconds: 0, nanos: 0 });
        app.status = Some(v1::AppStatus {
            state: v1::AppState::Active.into(),
            ready_replicas: 3,
            ..Default::default()
        });
        assert_eq!(
            to_json(&app).expect("it is a message"),
            r#"{"name":"namespaces/a/apps/b","spec":{"image":"a:1","replicas":0},"status":{"state":"APP_STATE_ACTIVE","readyReplicas":3},"createTime":"1970-01-01T00:00:00Z"}"#
        );
    }

    #[test]
    fn maps_are_in_order_and_fields_in_that_of_the_contract() {
        let keys: Vec<String> = ('a'..='z').map(String::from).collect();
        let mut app = mk_app("a:1", None, &keys.iter().map(|k| (k.clone(), "1".into())).collect::<Vec<_>>());
        let spec = app.spec.as_mut().expect("set above");
        let key_ref = v1::KeyRef { name: "s".into(), key: "k".into(), optional: true };
        spec.secret_env = keys.iter().map(|key| (key.clone(), key_ref.clone())).collect();
        let value = |kind| prost_types::Value { kind: Some(kind) };
        let number = value(prost_types::value::Kind::NumberValue(1.0));
        let fields = keys.iter().map(|key| (key.clone(), number.clone())).collect();
        spec.pod_template_patch = Some(prost_types::Struct { fields });
        let map = |of: &str| keys.iter().map(|key| format!("\"{key}\":{of}")).collect::<Vec<_>>().join(",");
        let (plain, references) = (map("\"1\""), map(r#"{"name":"s","key":"k","optional":true}"#));
        let expected = format!(
            r#"{{"name":"namespaces/a/apps/b","spec":{{"image":"a:1","env":{{{plain}}},"secretEnv":{{{references}}},"podTemplatePatch":{{{}}}}}}}"#,
            map("1")
        );
        assert_eq!(to_json(&app).expect("it is a message"), expected);
        let yaml = to_yaml(&app).expect("it is a message");
        let env = yaml.split("env:").nth(1).expect("it has variables");
        assert!(env.find("    a:") < env.find("    b:") && env.find("    b:") < env.find("    z:"), "{yaml}");
    }

    #[test]
    fn yaml_and_json_are_read() {
        let yaml = "name: namespaces/a/apps/b\nspec:\n  image: a:1\n  replicas: 2\n  env: {A: 'on'}\n  terminationGrace: 30s\n";
        let mut app = mk_app("a:1", Some(2), &[("A".into(), "on".into())]);
        app.spec.as_mut().expect("set above").termination_grace =
            Some(prost_types::Duration { seconds: 30, nanos: 0 });
        assert_eq!(from_yaml::<v1::App>(yaml).expect("it is in order"), app);
        assert_eq!(
            from_yaml::<v1::App>(&to_json(&app).expect("it is a message")).expect("it is in order"),
            app
        );
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_path() {
        let refused = |text: &str| from_yaml::<v1::App>(text).expect_err(text).to_string();
        for (text, path, word) in [
            ("spec: {imagee: a}", "spec", "imagee"),
            ("colour: red", "", "colour"),
            (
                "spec: {ports: [{name: http, number: 80}, {name: http, nubmer: 80}]}",
                "spec.ports[1]",
                "nubmer",
            ),
            ("spec: {replicas: many}", "spec.replicas", "digit"),
            ("spec: {resources: {requests: {cpu: 1}}}", "spec.resources.requests.cpu", "string"),
            ("spec: {rolloutPolicy: {strategy: SIDEWAYS}}", "spec.rolloutPolicy.strategy", "SIDEWAYS"),
        ] {
            let message = refused(text);
            assert!(message.starts_with(path) && message.contains(word), "{text} -> {message}");
        }
        assert!(matches!(from_yaml::<v1::App>("a: ["), Err(Error::Syntax(_))));
    }

    #[test]
    fn a_file_holds_one_app_or_several() {
        let images = |text: &str| {
            let apps = from_documents::<v1::App>(text).expect(text);
            apps.into_iter().map(|app| app.spec.unwrap_or_default().image).collect::<Vec<_>>()
        };
        assert_eq!(images("spec: {image: a}"), ["a"]);
        assert_eq!(images("---\nspec: {image: a}\n---\nspec: {image: b}\n---\n"), ["a", "b"]);
        assert_eq!(images("{\"spec\": {\"image\": \"a\"}}\n{\"spec\": {\"image\": \"b\"}}"), ["a", "b"]);
        let refused = |text: &str| from_documents::<v1::App>(text).expect_err(text).to_string();
        assert!(refused("name: a\n---\nspec: {imagee: b}").starts_with("document 2: spec: "));
        assert_eq!(refused(""), "it is empty");
        assert_eq!(refused("---\n"), "it is empty");
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(image in ".*", n in proptest::option::of(0..9), env in proptest::collection::vec((".*", "\\PC*"), 0..4)) {
            let app = mk_app(&image, n, &env);
            prop_assert_eq!(&from_yaml::<v1::App>(&to_pretty_json(&app).expect("json")).expect("from json"), &app);
            // The YAML writer does not quote a no-break space at the end.
            let env: Vec<_> = env.iter().map(|(_, text)| (text.trim().to_owned(), text.trim().to_owned())).collect();
            let app = mk_app("a:1", n, &env);
            prop_assert_eq!(from_yaml::<v1::App>(&to_yaml(&app).expect("yaml")).expect("from yaml"), app);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = from_yaml::<v1::App>(&text);
        }
    }
}
