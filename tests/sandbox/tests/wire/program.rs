//! The program: what it prints, how it ends, what it says about a taken port.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ieum-sandbox"));
    command.env_remove("IEUM_SANDBOX_PORT").stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A child that is killed when the test stops early.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn it_says_where_it_listens_and_ends_cleanly_on_either_signal() {
    for signal in ["-TERM", "-INT"] {
        let mut running = Running(program().args(["--port", "0"]).spawn().unwrap());
        let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
        let mut line = || lines.next().unwrap().unwrap();
        let first = line();
        let url = first.strip_prefix("sandbox ").unwrap().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        assert!(line().ends_with(&format!("{url}/nice")));
        assert!(line().ends_with(&format!("{url}/nts")));
        assert_eq!(crate::client::get(&url, "/_sandbox/nice").await.status, 200);

        let pid = running.0.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let deadline = Instant::now() + Duration::from_secs(10);
        let status = loop {
            match running.0.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < deadline, "still running after {signal}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}

#[test]
fn a_taken_port_is_a_clear_message_and_exit_code_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut running = Running(program().env("IEUM_SANDBOX_PORT", &port).spawn().unwrap());
    let status = running.0.wait().unwrap();
    let mut message = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut message).unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(message.contains(&format!("port {port} of 127.0.0.1 is taken")), "{message}");
}

#[test]
fn a_wrong_argument_is_exit_code_2() {
    let output = program().arg("--colour").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("usage: ieum-sandbox"));
}
