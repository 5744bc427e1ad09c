//! A client of a few lines that shows what really came over the wire: also no answer at all, and a reset.

use std::io;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The test key as it must stand in a query.
pub(crate) const ENCODED_KEY: &str = "sandbox%2Bservice%2Fkey%3D%3D";

/// What came back before the connection ended.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Sends one request on a connection of its own.
pub(crate) async fn send(base: &str, method: &str, path: &str, headers: &str, body: &str) -> io::Result<Reply> {
    let (host, prefix) = split(base);
    let mut stream = TcpStream::connect(host).await?;
    let length = body.len();
    let request = format!(
        "{method} {prefix}{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    if bytes.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(Reply { status, head, body: bytes[end + 4..].to_vec() })
}

pub(crate) async fn get(base: &str, path: &str) -> Reply {
    send(base, "GET", path, "", "").await.unwrap()
}

pub(crate) async fn post(base: &str, path: &str, body: &str) -> Reply {
    send(base, "POST", path, "content-type: application/json\r\n", body).await.unwrap()
}

/// Asks the tax service with the right key.
pub(crate) async fn nts(base: &str, path: &str, body: &str) -> Reply {
    post(base, &format!("{path}?serviceKey={ENCODED_KEY}&returnType=JSON"), body).await
}

/// Splits `http://host/prefix` into `host` and `/prefix`.
pub(crate) fn split(base: &str) -> (&str, &str) {
    let rest = base.strip_prefix("http://").unwrap();
    rest.split_at(rest.find('/').unwrap_or(rest.len()))
}
