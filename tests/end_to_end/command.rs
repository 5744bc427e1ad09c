//! `cargo up` as a process, on ports of its own beside the system that runs already: what it leaves behind when it ends.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use xtask::up::MAIL_ABOVE;

use super::client::{Client, eventually};
use super::{Stage, binary, repository};

/// A second instance, and where it listens.
struct Second {
    process: Child,
    ports: [u16; 3],
    key: String,
}

/// Three ports in a row that are free, and the fourth that comes with the last of them. They are below those that the system
/// gives to connections on their way out, of which there are many here.
fn free_ports() -> [u16; 3] {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let places = std::iter::repeat_with(|| fastrand::u16(10_000..30_000)).map(|first| [first, first + 1, first + 2]);
    let mut free = places.take(100).filter(|ports| ports.iter().all(|port| free(*port)) && free(ports[2] + MAIL_ABOVE));
    free.next().expect("four free ports")
}

impl Second {
    async fn start(options: &[&str]) -> Self {
        let ports = free_ports();
        let mut process = Command::new(binary("xtask"))
            .args(["up", "--no-build"])
            .args(options)
            .envs(
                ["IEUM_PORT", "IEUM_AWS_PORT", "IEUM_SANDBOX_PORT"].into_iter().zip(ports.map(|port| port.to_string())),
            )
            .current_dir(repository())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let ready = async {
            let mut said = String::new();
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some(key) = line.strip_prefix("api key: ") {
                    assert!(said.contains(&format!("ready http://127.0.0.1:{}", ports[0])), "{said}");
                    return key.to_owned();
                }
                said.push_str(&line);
            }
            panic!("it ended before it was ready: {said}");
        };
        let key = timeout(Duration::from_secs(60), ready).await.expect("ready within a minute");
        Self { process, ports, key }
    }

    async fn signal(&self, name: &str) {
        let id = self.process.id().unwrap().to_string();
        assert!(Command::new("kill").args([name, &id]).status().await.unwrap().success());
    }

    async fn nothing_listens(&self) {
        eventually("its ports are free", async || {
            let open = |port: &u16| TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], *port))).is_ok();
            (!self.ports.iter().any(open)).then_some(())
        })
        .await;
    }
}

pub(crate) async fn a_second_instance_runs_beside_the_first_and_sigterm_leaves_nothing(stage: &mut Stage) {
    let mut second = Second::start(&[]).await;
    let url = |port: usize| format!("http://127.0.0.1:{}", second.ports[port]);
    let client = Client::new(&url(0), &url(2), &url(1), &second.key);
    assert_eq!(client.company("1234567891").await.status, 200);
    assert_eq!(stage.client.raw("GET", "/v1/health", &[], "").await.status, 200, "the first is not disturbed");
    second.signal("-TERM").await;
    let status = timeout(Duration::from_secs(20), second.process.wait()).await.expect("it ends").unwrap();
    assert!(status.success(), "{status}");
    second.nothing_listens().await;
}

pub(crate) async fn a_crash_of_the_command_takes_its_children_along(_: &mut Stage) {
    let mut second = Second::start(&[]).await;
    second.signal("-KILL").await;
    assert!(!second.process.wait().await.unwrap().success());
    second.nothing_listens().await;
}

pub(crate) async fn secrets_from_a_file_win_and_ctrl_c_leaves_nothing(_: &mut Stage) {
    let file = std::env::temp_dir().join(format!("ieum-secrets-{}.json", std::process::id()));
    std::fs::write(&file, r#"{"nice": {"app_key": "nobodys", "app_secret": "nobodys"}}"#).unwrap();
    let mut second = Second::start(&["--secrets", file.to_str().unwrap()]).await;
    std::fs::remove_file(&file).unwrap();
    let url = |port: usize| format!("http://127.0.0.1:{}", second.ports[port]);
    let client = Client::new(&url(0), &url(2), &url(1), &second.key);
    assert_eq!(client.company("1234567891").await.status, 503, "NICE refuses credentials that are nobody's");
    second.signal("-INT").await;
    let status = timeout(Duration::from_secs(20), second.process.wait()).await.expect("it ends").unwrap();
    assert!(status.success(), "{status}");
    second.nothing_listens().await;
}
