//! A headless Chromium, driven by the DevTools protocol over a pipe, and a site whose pages embed ours.
//!
//! The pipe needs no port and no library, and closes with the test: then Chromium ends by itself. Names lead to the site or
//! nowhere (`--host-resolver-rules`), so nothing leaves the machine.
//!
//! Source: <https://chromedevtools.github.io/devtools-protocol/>.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::client::eventually;

/// The programs looked for, unless `IEUM_CHROMIUM` names one.
const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Every page of the site: it keeps what it is told.
const SITE: &str = r#"<!doctype html><html lang="en"><title>site</title><body><script>
var got = [];
addEventListener("message", (event) => got.push({ origin: event.origin, data: event.data }));
</script></body></html>"#;

/// How long Chromium may take for one command.
const PATIENCE: Duration = Duration::from_secs(30);

/// What Chromium says of a command to a page that has closed.
const NO_SESSION: &str = "Session with given id not found";

/// A running browser.
pub(crate) struct Browser {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    next: u64,
    /// What it told without being asked.
    events: Vec<Value>,
    site: JoinHandle<()>,
}

/// A page or frame in it: the session by which it is spoken to.
pub(crate) struct Page(String);

impl Browser {
    /// Starts one, to which `origins` are the site; `None` where there is no Chromium.
    pub(crate) async fn start(origins: &[&str]) -> Option<Self> {
        let program = match std::env::var_os("IEUM_CHROMIUM") {
            Some(program) => PathBuf::from(program),
            None => std::env::split_paths(&std::env::var_os("PATH")?)
                .flat_map(|folder| PROGRAMS.map(|name| folder.join(name)))
                .find(|path| path.is_file())?,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut rules: Vec<String> = origins
            .iter()
            .map(|origin| origin.trim_start_matches("http://"))
            .map(|host| format!("MAP {host} {address}"))
            .collect();
        rules.push("MAP * ~NOTFOUND, EXCLUDE 127.0.0.1".to_owned());
        let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chromium");
        if profile.exists() {
            std::fs::remove_dir_all(&profile).unwrap();
        }
        // It reads commands from its file 3 and answers to its file 4. Its own sandbox is not to be had in a container.
        let mut process = Command::new("sh")
            .args(["-c", "exec 3<&0 4>&1 </dev/null >/dev/null; exec \"$0\" \"$@\""])
            .arg(program)
            .args(["--headless", "--no-sandbox", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("--host-resolver-rules={}", rules.join(", ")))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (commands, answers) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        let site = tokio::spawn(serve(listener));
        Some(Self { process, commands, answers, next: 0, events: Vec::new(), site })
    }

    /// A new tab at `address`.
    pub(crate) async fn open(&mut self, address: &str) -> Page {
        let target = self.call(None, "Target.createTarget", json!({"url": address})).await.unwrap();
        self.attach(&target["targetId"]).await
    }

    /// The window or frame that was opened last at an address with `part` in it.
    pub(crate) async fn opened(&mut self, part: &str) -> Page {
        let target = eventually("the page opens", async || {
            let targets = self.call(None, "Target.getTargets", json!({})).await.unwrap();
            let targets = targets["targetInfos"].as_array().unwrap();
            let new = |target: &&Value| target["attached"] == false && target["url"].as_str().unwrap().contains(part);
            targets.iter().find(new).map(|target| target["targetId"].clone())
        })
        .await;
        self.attach(&target).await
    }

    async fn attach(&mut self, target: &Value) -> Page {
        let session = self.call(None, "Target.attachToTarget", json!({"targetId": target, "flatten": true})).await;
        let page = Page(session.unwrap()["sessionId"].as_str().unwrap().to_owned());
        for method in ["Log.enable", "Runtime.enable"] {
            self.call(Some(&page), method, json!({})).await.unwrap();
        }
        page
    }

    /// What `script` comes to, as if the person had just clicked.
    pub(crate) async fn run(&mut self, page: &Page, script: &str) -> Value {
        self.evaluate(page, script).await.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// What `script` comes to, once that is something.
    pub(crate) async fn wait(&mut self, page: &Page, script: &str) -> Value {
        eventually(script, async || {
            let value = self.evaluate(page, script).await.ok()?;
            (!matches!(value, Value::Null | Value::Bool(false))).then_some(value)
        })
        .await
    }

    async fn evaluate(&mut self, page: &Page, script: &str) -> Result<Value, String> {
        let how = json!({"expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true});
        let told = self.call(Some(page), "Runtime.evaluate", how).await?;
        match told.get("exceptionDetails") {
            Some(error) => Err(error.to_string()),
            None => Ok(told["result"]["value"].clone()),
        }
    }

    /// Presses and releases a key that writes nothing. The page may close itself at either half.
    pub(crate) async fn press(&mut self, page: &Page, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            other => panic!("no such key: {other}"),
        };
        for half in ["keyDown", "keyUp"] {
            let event = json!({"type": half, "key": key, "code": key, "text": text, "windowsVirtualKeyCode": code});
            match self.call(Some(page), "Input.dispatchKeyEvent", event).await {
                Ok(_) => {}
                Err(error) if error.contains(NO_SESSION) => return,
                Err(error) => panic!("{key}: {error}"),
            }
        }
    }

    /// Writes where the focus is, as an input method does.
    pub(crate) async fn write(&mut self, page: &Page, text: &str) {
        self.call(Some(page), "Input.insertText", json!({"text": text})).await.unwrap();
    }

    /// Makes the page so large, and the one that has the focus.
    pub(crate) async fn show(&mut self, page: &Page, (width, height): (u32, u32)) {
        let phone = width < 600;
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 2, "mobile": phone});
        self.call(Some(page), "Emulation.setDeviceMetricsOverride", size).await.unwrap();
        self.call(Some(page), "Emulation.setFocusEmulationEnabled", json!({"enabled": true})).await.unwrap();
    }

    /// Has the page think that its reader likes this scheme, `dark` or `light`.
    pub(crate) async fn prefer(&mut self, page: &Page, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call(Some(page), "Emulation.setEmulatedMedia", features).await.unwrap();
    }

    /// What a screen reader meets and cannot call by a name, as the browser's own accessibility tree has it.
    pub(crate) async fn nameless(&mut self, page: &Page) -> Vec<String> {
        const NAMED: [&str; 13] = [
            "button",
            "link",
            "textbox",
            "combobox",
            "checkbox",
            "searchbox",
            "image",
            "img",
            "heading",
            "dialog",
            "meter",
            "region",
            "navigation",
        ];
        let tree = self.call(Some(page), "Accessibility.getFullAXTree", json!({})).await.unwrap();
        let nodes = tree["nodes"].as_array().unwrap().iter().filter(|node| node["ignored"] != true);
        let nameless = nodes.filter(|node| {
            let role = node["role"]["value"].as_str().unwrap_or_default();
            NAMED.contains(&role) && node["name"]["value"].as_str().unwrap_or_default().trim().is_empty()
        });
        nameless.map(|node| format!("no name: {}", node["role"]["value"])).collect()
    }

    /// Takes a picture, for people to look at: `target/tmp/{name}.png`.
    pub(crate) async fn picture(&mut self, page: &Page, name: &str) {
        let picture = self.call(Some(page), "Page.captureScreenshot", json!({"format": "png"})).await.unwrap();
        let bytes = STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png")), bytes).unwrap();
    }

    /// The errors that the browser noted for the page: what its policy forbade, what did not load.
    pub(crate) async fn complaints(&mut self, page: &Page) -> Vec<String> {
        // An answer comes after the events before it.
        self.run(page, "0").await;
        let noted = self.events.iter().filter(|event| event["sessionId"] == page.0.as_str());
        let entries = noted.filter_map(|event| match event["method"].as_str() {
            Some("Log.entryAdded") => Some(&event["params"]["entry"]),
            Some("Runtime.exceptionThrown") => Some(&event["params"]["exceptionDetails"]),
            _ => None,
        });
        entries.map(|entry| entry["text"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// One command and its answer.
    async fn call(&mut self, page: Option<&Page>, method: &str, params: Value) -> Result<Value, String> {
        self.next += 1;
        let mut command = json!({"id": self.next, "method": method, "params": params});
        if let Some(Page(session)) = page {
            command["sessionId"] = json!(session);
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).await.unwrap();
        loop {
            let mut bytes = Vec::new();
            let read = timeout(PATIENCE, self.answers.read_until(0, &mut bytes)).await;
            let read = read.unwrap_or_else(|_| panic!("{method}: Chromium does not answer")).unwrap();
            assert!(read > 0, "{method}: Chromium has ended");
            let mut told: Value = serde_json::from_slice(&bytes[..bytes.len() - 1]).unwrap();
            if told["id"] != self.next {
                // What a page was asked when it closed is not answered.
                let closed = told["method"] == "Target.detachedFromTarget"
                    && page.is_some_and(|Page(session)| told["params"]["sessionId"] == session.as_str());
                self.events.push(told);
                if closed {
                    return Err(format!("{method}: {NO_SESSION}"));
                }
            } else if told["error"].is_null() {
                return Ok(told["result"].take());
            } else {
                return Err(told["error"].to_string());
            }
        }
    }

    /// Ends it.
    pub(crate) async fn close(mut self) {
        self.site.abort();
        drop(self.commands);
        timeout(PATIENCE, self.process.wait()).await.expect("Chromium ends when its pipe closes").unwrap();
    }
}

/// Answers every request with the site's page.
async fn serve(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            // A browser sends a GET in one piece; what it says does not matter.
            let mut request = [0; 8192];
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\nconnection: close";
            let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{SITE}", SITE.len());
            // A connection that the browser opened in advance and gave up needs no answer.
            if stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
    }
}
