//! Where the address and the token come from.

use std::{fs, os::unix::fs::PermissionsExt};

use super::{Ran, gantry, run_with};

#[tokio::test]
async fn a_missing_server_is_named() {
    let Ran { exit, err, .. } = gantry("info --server 127.0.0.1:1").await;
    assert_eq!(exit, Some(1));
    assert!(err.contains("http://127.0.0.1:1") && err.contains("gantryd --insecure-loopback"), "{err}");
    let Ran { exit, .. } = gantry("get a/b/c/d").await;
    assert_eq!(exit, Some(2));
}

#[tokio::test]
async fn the_file_says_where_the_server_is_and_who_asks() {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let path = dir.path().join("gantry/config.toml");
    fs::create_dir_all(dir.path().join("gantry")).expect("it can be made");
    let write = |text: &str, mode: u32| {
        fs::write(&path, text).expect("it can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it can be closed");
    };
    let home = dir.path().to_str().expect("it is UTF-8");
    let (xdg, server) = (("XDG_CONFIG_HOME", home), ("GANTRY_ADDR", "{}"));

    write("token = 'of-file'\nnamespace = 'prod'\n", 0o600);
    let Ran { exit, out, err } = run_with("info", "", &[xdg, server]).await;
    assert_eq!((exit, err.as_str()), (Some(0), ""), "{out}");
    for line in [
        "You are:     Bearer of-file",
        "(from GANTRY_ADDR)",
        "Namespace:   prod (from ",
        "warning: may not list nodes",
    ] {
        assert!(out.contains(line), "{line} is missing in: {out}");
    }
    let Ran { out, .. } = run_with("info", "", &[xdg, server, ("GANTRY_TOKEN", "of-env")]).await;
    assert!(out.contains("Bearer of-env") && out.contains("set (from GANTRY_TOKEN)"), "{out}");
    let Ran { err, .. } = run_with("info -o json -v", "", &[xdg, server]).await;
    assert!(err.contains("Namespace:   prod (from ") && !err.contains("of-file"), "{err}");

    write("token = 'of-file'\n", 0o644);
    let Ran { exit, err, .. } = run_with("info", "", &[xdg, server]).await;
    assert!(exit == Some(0) && err.starts_with("warning: ") && err.contains("chmod 600"), "{err}");

    fs::write(dir.path().join("gantry/secret"), "of-secret\n").expect("it can be written");
    write("token_file = 'secret'\n", 0o644);
    let Ran { out, err, .. } = run_with("info", "", &[xdg, server]).await;
    assert!(out.contains("Bearer of-secret") && err.is_empty(), "{out}{err}");

    write("sever = 'a:1'\n", 0o600);
    let Ran { exit, err, .. } = run_with("info", "", &[xdg, server]).await;
    assert!(
        exit == Some(2)
            && err.contains("config.toml is not a valid configuration: line 1: ")
            && err.contains("sever"),
        "{err}"
    );
}

#[tokio::test]
async fn a_file_that_was_named_must_exist() {
    let Ran { exit, err, .. } =
        run_with("info", "", &[("GANTRY_ADDR", "{}"), ("GANTRY_CONFIG", "/nowhere/x.toml")]).await;
    assert!(exit == Some(2) && err.contains("/nowhere/x.toml cannot be read"), "{err}");
    let Ran { exit, err, .. } = gantry("info --token-file /nowhere/token").await;
    assert!(exit == Some(2) && err.contains("/nowhere/token cannot be read"), "{err}");
}

#[tokio::test]
async fn a_token_is_not_sent_where_others_can_read_it() {
    let Ran { exit, err, .. } = gantry("info --server 192.0.2.1:7420 --token secret").await;
    assert_eq!(exit, Some(2), "{err}");
    assert!(err.contains("not sent to http://192.0.2.1:7420") && err.contains("https://"), "{err}");
    assert!(!err.contains("secret"), "{err}");
    let Ran { exit, err, .. } = gantry("info --token two\twords").await;
    assert!(exit == Some(2) && err.contains("the token is empty"), "{err}");
}

#[tokio::test]
async fn whoever_named_the_server_that_does_not_answer_is_told() {
    let Ran { exit, err, .. } = run_with("list", "", &[("GANTRY_ADDR", "127.0.0.1:1")]).await;
    assert!(exit == Some(1) && err.contains("address:  from GANTRY_ADDR"), "{err}");
    // TLS to a server without TLS gives no answer either.
    let Ran { exit, err, .. } = run_with("list", "", &[("GANTRY_ADDR", "https://{}")]).await;
    assert!(exit == Some(1) && err.contains("no Gantry server answers at https://"), "{err}");
}
