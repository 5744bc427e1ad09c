//! The command line, as a person meets it before anything is started.

#![expect(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::net::TcpListener;
use std::process::{Command, Output};

fn xtask(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask")).args(arguments).envs(variables.iter().copied()).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn help_names_every_option() {
    let output = xtask(&["up", "--help"], &[]);
    assert!(output.status.success());
    for option in ["--check", "--env", "--secrets", "--no-build", "IEUM_PORT", "IEUM_AWS_PORT", "IEUM_SANDBOX_PORT"] {
        assert!(said(&output).contains(option), "{option}");
    }
}

#[test]
fn an_unknown_argument_or_a_bad_value_is_told_with_the_allowed_form() {
    for (arguments, told) in [
        (&["down"][..], "`up`"),
        (&["up", "--fast"], "--no-build"),
        (&["up", "--env", "NAME"], "NAME=VALUE"),
        (&["up", "--env"], "followed by a value"),
    ] {
        let output = xtask(arguments, &[]);
        assert!(!output.status.success() && said(&output).contains(told), "{arguments:?}: {}", said(&output));
    }
    let output = xtask(&["up"], &[("IEUM_PORT", "many")]);
    assert!(!output.status.success() && said(&output).contains("IEUM_PORT"), "{}", said(&output));
}

#[test]
fn a_taken_port_is_told_with_the_variable_that_moves_it_and_nothing_is_started() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ports = [("IEUM_PORT", port.as_str()), ("IEUM_AWS_PORT", "0"), ("IEUM_SANDBOX_PORT", "0")];
    let output = xtask(&["up", "--no-build"], &ports);
    assert!(!output.status.success());
    assert!(said(&output).contains(&port) && said(&output).contains("IEUM_PORT"), "{}", said(&output));
}
