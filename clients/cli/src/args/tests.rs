//! Valid and invalid command lines.

use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn a_deploy_names_an_app_or_a_file() {
    assert!(parse("gantry deploy shop --image a:1 --port http=8080/http -e A=1 -e B=2 -- --verbose").is_ok());
    assert!(parse("gantry deploy -f - --reason x --etag y --dry-run --force --adopt").is_ok());
    assert!(parse("gantry deploy").is_err());
    assert!(parse("gantry deploy shop -f app.yaml").is_err());
    assert!(parse("gantry deploy -f app.yaml --image a:1").is_err());
    assert!(parse("gantry deploy shop --replicas -1").is_err());
    assert!(parse("gantry watch shop -A").is_err());
}

#[test]
fn several_resources_fit_into_one_flag() {
    let line = "gantry deploy shop --request cpu=250m,memory=256Mi --request ephemeral-storage=1Gi";
    let Ok(Cli { command: Command::Deploy(deploy), .. }) = parse(line) else {
        panic!("the line is in order");
    };
    assert_eq!(deploy.spec.requests.len(), 3);
}

#[test]
fn counts_and_states_have_bounds() {
    assert!(parse("gantry scale shop 0").is_ok());
    assert!(parse("gantry scale shop 10000 --hold-for 1h").is_ok());
    for line in
        ["gantry scale shop", "gantry scale shop -1", "gantry scale shop 10001", "gantry list --state blue"]
    {
        assert!(parse(line).is_err(), "{line}");
    }
    assert!(parse("gantry list -A --state FAILED,degraded").is_ok());
    assert!(parse("gantry rollouts shop --rollout 3 --limit 2").is_err());
    assert!(parse("gantry list --token a --token-file b").is_err());
}

#[test]
fn an_autoscaler_is_set_within_bounds() {
    for line in [
        "gantry autoscale shop",
        "gantry autoscale shop --mode ACTIVE --min 0 --max 10000 --cpu 1 --memory 1000 --reason x",
        "gantry autoscale shop --rps 0.5 --concurrency 1e3 --metric a=1 --metric b=2 --etag e --dry-run",
        "gantry autoscale shop --freeze-for 2h",
        "gantry autoscale shop --clear-targets --startup-duration measured",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
    for flags in [
        "--mode on",
        "--min -1",
        "--max 0",
        "--max 10001",
        "--cpu 0",
        "--cpu 1001",
        "--memory -5",
        "--rps 0",
        "--rps -1",
        "--rps inf",
        "--concurrency NaN",
        "--metric a",
        "--metric a=0",
        "--freeze-for 1h --mode active",
        "--clear-targets --cpu 60",
        "--scale-up-duration 5",
        // These flags are about a change, and there is none.
        "--dry-run",
        "--etag e",
        "--reason x",
    ] {
        assert!(parse(&format!("gantry autoscale shop {flags}")).is_err(), "{flags}");
    }
}

#[test]
fn decisions_are_those_of_one_app_or_followed() {
    for line in [
        "gantry decisions shop --outcome scaled,HELD --limit 5",
        "gantry decisions shop -f --explain",
        "gantry decisions -A -f",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
    for line in [
        "gantry decisions",
        "gantry decisions -A",
        "gantry decisions shop -A -f",
        "gantry decisions shop -f --limit 5",
        "gantry decisions shop --limit 0",
        "gantry decisions shop --outcome good",
        "gantry report shop",
        "gantry report shop a=-1",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn every_command_explains_itself_with_an_example() {
    for command in Cli::command().get_subcommands_mut() {
        let name = command.get_name().to_owned();
        let help = command.render_long_help().to_string();
        assert!(help.contains("Example"), "{name} has no example");
        assert!(help.contains(&format!("gantry {name}")), "the example of {name} does not show it");
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            assert!(argument.get_help().is_some(), "{name} {} is not explained", argument.get_id());
        }
    }
}
