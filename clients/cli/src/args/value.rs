//! The texts behind flags: pairs, ports and times. Must not know which flag they belong to.

use std::time::Duration;

use gantry_client::v1;

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
        Some(other) => return Err(format!("`{other}` is none of http, grpc and tcp")),
    };
    match number.parse::<u16>() {
        Ok(number @ 1..) => Ok(v1::Port { name, number: number.into(), protocol: protocol.into() }),
        _ => Err(format!("`{number}` is no port number between 1 and 65535")),
    }
}

/// Reads `90s`, `5m` or `1h 30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    // A clock that runs for years from now must not overflow.
    const LONGEST: Duration = Duration::from_hours(365 * 24);
    match humantime::parse_duration(text) {
        Ok(time) if time <= LONGEST => Ok(time),
        Ok(_) => Err("that is more than a year".to_owned()),
        Err(error) => Err(format!("{error}; write for example 90s or 5m")),
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

    proptest! {
        #[test]
        fn a_pair_splits_at_the_first_equals_sign(key in "[^=]+", value in ".*") {
            prop_assert_eq!(pair(&format!("{key}={value}")), Ok((key, value)));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in ".*") {
            let _ = (pair(&text), port(&text), duration(&text));
        }
    }
}
