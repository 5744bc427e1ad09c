//! HTTP/1.1 as far as benches need it: one request after another on a connection, bodies with a length.

use std::io::{self, BufRead, Read, Write};

/// A request or an answer.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// `GET /path HTTP/1.1` or `HTTP/1.1 200 OK`.
    pub start: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Message {
    /// The value of the header `name`.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The `place`th word of the first line.
    #[must_use]
    pub fn word(&self, place: usize) -> &str {
        self.start.split(' ').nth(place).unwrap_or_default()
    }

    /// The status of an answer; 0 when there is none.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }
}

/// The next message; `None` when the other side has closed.
///
/// # Errors
/// When the connection breaks, or what comes is not HTTP.
pub fn read(from: &mut impl BufRead) -> io::Result<Option<Message>> {
    let mut message = Message::default();
    if from.read_line(&mut message.start)? == 0 {
        return Ok(None);
    }
    message.start.truncate(message.start.trim_end().len());
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        message.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if let Some(length) = message.header("content-length").and_then(|text| text.parse::<u64>().ok()) {
        from.take(length).read_to_end(&mut message.body)?;
    } else if message.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        loop {
            let mut line = String::new();
            from.read_line(&mut line)?;
            let length = u64::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
            from.take(length).read_to_end(&mut message.body)?;
            from.read_line(&mut String::new())?;
            if length == 0 {
                break;
            }
        }
    }
    Ok(Some(message))
}

/// Answers with `status`, `headers` (whole lines) and `body`, in one write.
///
/// # Errors
/// When the connection breaks.
pub fn answer(to: &mut impl Write, status: u16, headers: &str, body: &[u8]) -> io::Result<()> {
    let mut out = format!("HTTP/1.1 {status} .\r\ncontent-length: {}\r\n{headers}\r\n", body.len()).into_bytes();
    out.extend_from_slice(body);
    to.write_all(&out)?;
    to.flush()
}
