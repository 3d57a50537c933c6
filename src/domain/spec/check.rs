//! Rules between fields of a spec. They apply only to the whole content, after a deploy was merged into the
//! existing content. For example, a caller who sends only probes refers to the ports that the app already
//! has.

use std::time::Duration;

use super::{Spec, whole_seconds};
use crate::domain::{Error, error::Violation};

impl Spec {
    /// Checks the rules between fields. Rules about a single field are checked where it is parsed.
    pub fn check(&self) -> Result<(), Error> {
        let mut wrong = Vec::new();
        let mut add = |field: String, description: String| {
            wrong.push(Violation { field: format!("app.spec.{field}"), description });
        };
        for (name, probe) in self.probes.iter().flat_map(|probes| probes.set()) {
            if let Some((field, port)) = probe.check.port()
                && self.ports.iter().all(|p| p.name != port)
            {
                add(
                    format!("probes.{name}.{field}"),
                    format!("\"{port}\" is not the name of one of the ports"),
                );
            }
        }
        for name in self.secret_env.keys().filter(|name| self.env.contains_key(*name)) {
            add(format!("secret_env[{name}]"), "is also in env".to_owned());
        }
        for name in self.config_map_env.keys() {
            let other =
                [("env", self.env.contains_key(name)), ("secret_env", self.secret_env.contains_key(name))];
            if let Some((other, _)) = other.into_iter().find(|(_, there)| *there) {
                add(format!("config_map_env[{name}]"), format!("is also in {other}"));
            }
        }
        let grace = self.termination_grace.unwrap_or(Duration::from_secs(Self::GRACE_SECONDS));
        if self.drain_delay.is_some_and(|delay| delay > grace) {
            let said = format!("is longer than termination_grace, which is {} s", whole_seconds(grace));
            add("drain_delay".to_owned(), said);
        }
        if wrong.is_empty() { Ok(()) } else { Err(Error::Invalid(wrong)) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::domain::{
        Error,
        spec::{Check, KeyRef, Port, Probe, Probes, Protocol, Spec},
    };

    fn broken(spec: &Spec) -> Vec<String> {
        match spec.check() {
            Ok(()) => Vec::new(),
            Err(Error::Invalid(violations)) => violations.into_iter().map(|v| v.field).collect(),
            Err(error) => panic!("{error}"),
        }
    }

    fn ported() -> Spec {
        let ports = vec![Port { name: "http".into(), number: 80, protocol: Protocol::Tcp }];
        Spec { ports, ..Spec::default() }
    }

    fn probing(name: &str, port: &str) -> Box<Probes> {
        let probe = |check| Some(Probe::new(check));
        let port = port.to_owned();
        Box::new(match name {
            "readiness" => Probes { readiness: probe(Check::TcpPort(port)), ..Probes::default() },
            "liveness" => {
                Probes { liveness: probe(Check::HttpGet { port, path: "/".into() }), ..Probes::default() }
            }
            _ => Probes { startup: probe(Check::Grpc { port, service: String::new() }), ..Probes::default() },
        })
    }

    #[test]
    fn a_probe_names_a_port_that_the_app_has() {
        for (name, field) in
            [("readiness", "tcp_port"), ("liveness", "http_get.port"), ("startup", "grpc.port")]
        {
            assert!(broken(&Spec { probes: Some(probing(name, "http")), ..ported() }).is_empty());
            let expected = [format!("app.spec.probes.{name}.{field}")];
            assert_eq!(broken(&Spec { probes: Some(probing(name, "admin")), ..ported() }), expected);
            assert_eq!(broken(&Spec { probes: Some(probing(name, "http")), ..Spec::default() }), expected);
        }
        let commands = Some(Box::new(Probes {
            readiness: Some(Probe::new(Check::None)),
            liveness: Some(Probe::new(Check::Exec(vec!["true".into()]))),
            startup: None,
        }));
        assert!(broken(&Spec { probes: commands, ..Spec::default() }).is_empty());
    }

    #[test]
    fn a_variable_comes_from_one_place() {
        let plain = [("A".to_owned(), "1".to_owned())];
        let taken = |name: &str| [(name.to_owned(), KeyRef::default())].into();
        let spec = |env, secret, config| Spec {
            env,
            secret_env: taken(secret),
            config_map_env: taken(config),
            ..Spec::default()
        };
        assert!(broken(&spec(plain.clone().into(), "B", "C")).is_empty());
        assert_eq!(broken(&spec(plain.clone().into(), "A", "C")), ["app.spec.secret_env[A]"]);
        assert_eq!(broken(&spec(plain.into(), "B", "A")), ["app.spec.config_map_env[A]"]);
        assert_eq!(broken(&spec([].into(), "B", "B")), ["app.spec.config_map_env[B]"]);
    }

    #[test]
    fn the_wait_before_the_signal_to_stop_is_within_the_time_to_stop() {
        let spec = |drain, grace: Option<u64>| Spec {
            drain_delay: Some(Duration::from_millis(drain)),
            termination_grace: grace.map(Duration::from_secs),
            ..Spec::default()
        };
        assert!(broken(&spec(30_000, None)).is_empty());
        assert!(broken(&spec(60_000, Some(60))).is_empty());
        assert_eq!(broken(&spec(30_001, None)), ["app.spec.drain_delay"]);
        assert_eq!(broken(&spec(1, Some(0))), ["app.spec.drain_delay"]);
    }
}
