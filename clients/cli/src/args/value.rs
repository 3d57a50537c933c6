//! Parsers of flag values: pairs, ports, checks, volumes and times. Must not know which flag they belong to.

use std::time::Duration;

use gantry_client::v1::{self, probe::Check, volume::Source};

/// A key with its value.
pub(crate) type Pair = (String, String);

/// Reads `key=value`; the value may hold further equals signs, or be empty.
pub(crate) fn pair(text: &str) -> Result<Pair, String> {
    match text.split_once('=') {
        Some(("", _)) => Err("the key before `=` is empty".to_owned()),
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err("it must have the form key=value".to_owned()),
    }
}

/// Reads `name=number[/protocol]`.
pub(crate) fn port(text: &str) -> Result<v1::Port, String> {
    let (name, rest) =
        pair(text).map_err(|_| "it must have the form name=number[/protocol], for example http=8080")?;
    let (number, protocol) = rest.split_once('/').map_or((rest.as_str(), None), |(n, p)| (n, Some(p)));
    let protocol = match protocol {
        None => v1::Protocol::Unspecified,
        Some("tcp") => v1::Protocol::Tcp,
        Some("http") => v1::Protocol::Http,
        Some("grpc") => v1::Protocol::Grpc,
        Some(other) => return Err(format!("`{other}` is not a valid protocol; expected http, grpc or tcp")),
    };
    match number.parse::<u16>() {
        Ok(number @ 1..) => Ok(v1::Port { name, number: number.into(), protocol: protocol.into() }),
        _ => Err(format!("`{number}` is not a valid port; expected a number from 1 to 65535")),
    }
}

/// Reads `VARIABLE=object/key`, with `?` at the end if it may be missing.
pub(crate) fn key_ref(text: &str) -> Result<(String, v1::KeyRef), String> {
    const FORM: &str = "it must have the form VARIABLE=NAME/KEY, for example PASSWORD=shop-db/password";
    let (variable, source) = pair(text).map_err(|_| FORM)?;
    let (source, optional) =
        source.strip_suffix('?').map_or((source.as_str(), false), |source| (source, true));
    match source.split_once('/') {
        Some((name, key)) if !name.is_empty() && !key.is_empty() => {
            Ok((variable, v1::KeyRef { name: name.to_owned(), key: key.to_owned(), optional }))
        }
        _ => Err(FORM.to_owned()),
    }
}

/// Reads `http:PORT/PATH`, `grpc:PORT[/SERVICE]`, `tcp:PORT` or `none`.
pub(crate) fn probe(text: &str) -> Result<v1::Probe, String> {
    const FORM: &str = "it must be http:PORT/PATH, grpc:PORT[/SERVICE], tcp:PORT or none";
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    let (port, path) = rest.split_once('/').unwrap_or((rest, ""));
    let port = port.to_owned();
    let check = match (kind, port.is_empty()) {
        ("none", true) if rest.is_empty() => Check::None(v1::NoProbe {}),
        ("http", false) => Check::HttpGet(v1::HttpGet { port, path: format!("/{path}") }),
        ("grpc", false) => Check::Grpc(v1::GrpcHealth { port, service: path.to_owned() }),
        ("tcp", false) if path.is_empty() => Check::TcpPort(port),
        _ => return Err(FORM.to_owned()),
    };
    Ok(v1::Probe { check: Some(check), ..Default::default() })
}

/// Reads `KEY[=VALUE][:EFFECT]`, the form in which kubectl writes taints.
pub(crate) fn toleration(text: &str) -> Result<v1::Toleration, String> {
    let (taint, effect) = text.split_once(':').unwrap_or((text, ""));
    let (key, value) = taint.split_once('=').unwrap_or((taint, ""));
    if key.is_empty() && !value.is_empty() {
        return Err("a value needs a key: KEY[=VALUE][:EFFECT]".to_owned());
    }
    Ok(v1::Toleration { key: key.to_owned(), value: value.to_owned(), effect: effect.to_owned() })
}

/// Reads `PATH=configmap/NAME`, `PATH=secret/NAME`, `PATH=claim/NAME[:ro]` or `PATH=empty[/SIZE]`.
pub(crate) fn volume(text: &str) -> Result<v1::Volume, String> {
    const FORM: &str =
        "it must be PATH=configmap/NAME, PATH=secret/NAME, PATH=claim/NAME[:ro] or PATH=empty[/SIZE]";
    let (mount_path, source) = pair(text).map_err(|_| FORM)?;
    let (kind, name) = source.split_once('/').unwrap_or((&source, ""));
    let (name, read_only) = match name.strip_suffix(":ro") {
        Some(name) if kind == "claim" => (name, true),
        _ => (name, false),
    };
    let files = || v1::Files { name: name.to_owned(), ..Default::default() };
    let source = match (kind, name.is_empty()) {
        ("configmap", false) => Source::ConfigMap(files()),
        ("secret", false) => Source::Secret(files()),
        ("claim", false) => Source::Claim(name.to_owned()),
        ("empty", _) => Source::EmptyDir(v1::EmptyDir { size_limit: name.to_owned(), in_memory: false }),
        _ => return Err(FORM.to_owned()),
    };
    Ok(v1::Volume { mount_path, source: Some(source), read_only })
}

/// Reads `90s`, `5m` or `1h 30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    // Adding years to the current time must not overflow the clock.
    const LONGEST: Duration = Duration::from_hours(365 * 24);
    match humantime::parse_duration(text) {
        Ok(time) if time <= LONGEST => Ok(time),
        Ok(_) => Err("that is more than a year".to_owned()),
        Err(error) => Err(format!("{error}; write for example 90s or 5m")),
    }
}

/// How long a replica takes to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Startup {
    /// The measured time.
    Measured,
    /// This time.
    Set(Duration),
}

/// Reads a time, or `measured`.
pub(crate) fn startup(text: &str) -> Result<Startup, String> {
    match text {
        "measured" => Ok(Startup::Measured),
        time => duration(time).map(Startup::Set).map_err(|error| format!("{error}, or `measured`")),
    }
}

/// Reads a number greater than zero.
pub(crate) fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("it must be a number greater than 0".to_owned()),
    }
}

/// Reads `name=number`, the number greater than zero.
pub(crate) fn target(text: &str) -> Result<(String, f64), String> {
    let (name, number) =
        pair(text).map_err(|_| "it must have the form NAME=NUMBER, for example queue_depth=30")?;
    Ok((name, positive(&number)?))
}

/// Reads `name=number`, the number not less than zero.
pub(crate) fn figure(text: &str) -> Result<(String, f64), String> {
    let (name, number) =
        pair(text).map_err(|_| "it must have the form METRIC=VALUE, for example queue_depth=420")?;
    match number.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok((name, number)),
        _ => Err(format!("`{number}` is not a number of 0 or more")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ports_have_a_name_a_number_and_perhaps_a_protocol() {
        let mk_port = |name: &str, number, protocol: v1::Protocol| v1::Port {
            name: name.into(),
            number,
            protocol: protocol.into(),
        };
        assert_eq!(port("http=8080"), Ok(mk_port("http", 8080, v1::Protocol::Unspecified)));
        assert_eq!(port("api=50051/grpc"), Ok(mk_port("api", 50051, v1::Protocol::Grpc)));
        for text in ["8080", "=8080", "http=", "http=0", "http=65536", "http=80/udp", "http=80/"] {
            assert!(port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_written_with_units() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_mins(90)));
        for text in ["", "5", "-1s", "5 parsecs", "9999y"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_variable_comes_from_an_object_and_a_key() {
        let mk_ref = |optional| v1::KeyRef { name: "shop-db".into(), key: "tls.key".into(), optional };
        assert_eq!(key_ref("KEY=shop-db/tls.key"), Ok(("KEY".into(), mk_ref(false))));
        assert_eq!(key_ref("KEY=shop-db/tls.key?"), Ok(("KEY".into(), mk_ref(true))));
        for text in ["KEY", "KEY=", "KEY=shop-db", "KEY=/a", "KEY=a/", "=a/b"] {
            assert!(key_ref(text).is_err(), "{text}");
        }
    }

    #[test]
    fn checks_name_a_port() {
        let check = |text| probe(text).map(|probe| probe.check.expect("it is set"));
        let http = v1::HttpGet { port: "web".into(), path: "/health/live?a=b".into() };
        assert_eq!(check("http:web/health/live?a=b"), Ok(Check::HttpGet(http)));
        assert_eq!(
            check("http:web"),
            Ok(Check::HttpGet(v1::HttpGet { port: "web".into(), path: "/".into() }))
        );
        let grpc =
            |service: &str| Ok(Check::Grpc(v1::GrpcHealth { port: "api".into(), service: service.into() }));
        assert_eq!(check("grpc:api"), grpc(""));
        assert_eq!(check("grpc:api/shop.v1.Shop"), grpc("shop.v1.Shop"));
        assert_eq!(check("tcp:db"), Ok(Check::TcpPort("db".into())));
        assert_eq!(check("none"), Ok(Check::None(v1::NoProbe {})));
        for text in ["", "http", "http:", "http:/x", "tcp:db/x", "udp:x", "none:x"] {
            assert!(probe(text).is_err(), "{text}");
        }
    }

    #[test]
    fn tolerations_are_written_as_taints_are() {
        let mk = |key: &str, value: &str, effect: &str| {
            Ok(v1::Toleration { key: key.into(), value: value.into(), effect: effect.into() })
        };
        assert_eq!(toleration("gpu=yes:NoSchedule"), mk("gpu", "yes", "NoSchedule"));
        assert_eq!(toleration("gpu"), mk("gpu", "", ""));
        assert_eq!(toleration(":NoExecute"), mk("", "", "NoExecute"));
        assert!(toleration("=yes").is_err());
    }

    #[test]
    fn volumes_have_a_path_and_a_source() {
        let source = |text| volume(text).map(|volume| (volume.source.expect("it is set"), volume.read_only));
        let files = v1::Files { name: "shop".into(), ..Default::default() };
        assert_eq!(source("/etc/shop=configmap/shop"), Ok((Source::ConfigMap(files.clone()), false)));
        assert_eq!(source("/etc/shop=secret/shop"), Ok((Source::Secret(files), false)));
        assert_eq!(source("/data=claim/shop:ro"), Ok((Source::Claim("shop".into()), true)));
        let empty = |size: &str| Source::EmptyDir(v1::EmptyDir { size_limit: size.into(), in_memory: false });
        assert_eq!(source("/tmp=empty"), Ok((empty(""), false)));
        assert_eq!(source("/tmp=empty/1Gi"), Ok((empty("1Gi"), false)));
        for text in ["/etc", "/etc=", "/etc=secret", "/etc=secret/", "/etc=disk/x"] {
            assert!(volume(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_have_bounds() {
        assert_eq!(target("queue_depth=0.5"), Ok(("queue_depth".into(), 0.5)));
        assert_eq!(figure("queue_depth=0"), Ok(("queue_depth".into(), 0.0)));
        for text in ["a", "=1", "a=", "a=x", "a=-1", "a=NaN", "a=inf"] {
            assert!(target(text).is_err() && figure(text).is_err(), "{text}");
        }
        assert!(target("a=0").is_err() && positive("-0").is_err());
        assert_eq!(startup("30s"), Ok(Startup::Set(Duration::from_secs(30))));
        assert_eq!(startup("measured"), Ok(Startup::Measured));
        assert!(startup("30").is_err_and(|error| error.contains("measured")));
    }

    proptest! {
        #[test]
        fn a_pair_splits_at_the_first_equals_sign(key in "[^=]+", value in ".*") {
            prop_assert_eq!(pair(&format!("{key}={value}")), Ok((key, value)));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in ".*") {
            let _ = (pair(&text), port(&text), duration(&text));
            let _ = (startup(&text), positive(&text), target(&text), figure(&text));
            let _ = (key_ref(&text), probe(&text), toleration(&text), volume(&text));
        }
    }
}
