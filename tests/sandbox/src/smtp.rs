//! A real mail server on loopback (RFC 5321), as small as it can be: EHLO, STARTTLS, AUTH PLAIN and LOGIN, MAIL, RCPT, DATA,
//! RSET, NOOP, QUIT, one mail after the other over one connection.
//!
//! It takes mail for anybody and delivers it to `/_sandbox/smtp`. Without a login it takes none, and a bare line feed or a
//! line above 1,000 bytes is refused as strict servers do, because both would be a mistake of ours.

use std::io;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::control::{Fault, Mode};
use crate::providers::Request;
use crate::providers::smtp::{INTERNAL_DETAIL, NO_STARTTLS, PASSWORD, QUOTA, REFUSED_LOGIN, SILENT, USER};
use crate::server::Mounted;

/// The authority that signed the server's certificate, for clients that are to trust it.
pub const CA_PEM: &str = include_str!("../certificates/ca.pem");
const CERTIFICATE_PEM: &str = include_str!("../certificates/localhost.pem");
const KEY_PEM: &str = include_str!("../certificates/localhost.key.pem");

/// RFC 5321, 4.5.3.1.6, with the line break.
const MAX_LINE: usize = 1_000;
const MAX_MAIL: usize = 40 * 1024 * 1024;

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

fn acceptor() -> io::Result<TlsAcceptor> {
    let other = io::Error::other::<tokio_rustls::rustls::Error>;
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE_PEM.as_bytes()).map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_slice(KEY_PEM.as_bytes()).map_err(io::Error::other)?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(other)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .map_err(other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves until the sandbox is dropped. `encrypted`: TLS from the first byte.
pub(crate) async fn serve(
    listener: TcpListener,
    mounted: Arc<Mounted>,
    encrypted: bool,
    mut stopped: watch::Receiver<()>,
) {
    let Ok(acceptor) = acceptor() else { return };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // The sender is never used: its end is the signal.
            _ = stopped.changed() => return,
        };
        let Ok((stream, _)) = accepted else { continue };
        let _ = stream.set_nodelay(true);
        let session = Session { mounted: Arc::clone(&mounted), acceptor: acceptor.clone() };
        tokio::spawn(async move {
            // A client that goes away is no mistake of the server's.
            let _ = session.run(stream, encrypted).await;
        });
    }
}

struct Session {
    mounted: Arc<Mounted>,
    acceptor: TlsAcceptor,
}

/// What a client has said so far.
#[derive(Default)]
struct Envelope {
    logged_in: bool,
    from: Option<String>,
    to: Vec<String>,
    mode: Option<Mode>,
}

impl Session {
    async fn run(self, stream: TcpStream, encrypted: bool) -> io::Result<()> {
        let mode = self.mounted.mode();
        tokio::time::sleep(mode.delay).await;
        match &mode.fault {
            Fault::Down => {
                self.mounted.arrive_mail();
                return Ok(());
            }
            Fault::Garbage => {
                self.mounted.arrive_mail();
                let mut stream = stream;
                return stream.write_all(b"\xff\xfe\x00 not what was expected\r\n").await;
            }
            Fault::Ok | Fault::Slow | Fault::Reset | Fault::Status(_) | Fault::Own(_) => {}
        }
        if encrypted {
            let stream = self.acceptor.accept(stream).await?;
            return self.talk(BufReader::new(Box::new(stream)), true, true).await;
        }
        self.talk(BufReader::new(Box::new(stream)), false, true).await
    }

    async fn talk(&self, mut wire: BufReader<Box<dyn Wire>>, encrypted: bool, greet: bool) -> io::Result<()> {
        if greet {
            say(&mut wire, "220 localhost ESMTP sandbox").await?;
        }
        let mut envelope = Envelope::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            if wire.read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            let Some(text) = command(&line) else {
                say(&mut wire, "500 5.5.2 a line ends with CRLF and has at most 1000 bytes").await?;
                continue;
            };
            let verb = text.split(' ').next().unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" | "HELO" => {
                    let offers = !encrypted && !self.mounted.mode().is_own(NO_STARTTLS);
                    let starttls = if offers { "250-STARTTLS\r\n" } else { "" };
                    say(
                        &mut wire,
                        &format!(
                            "250-localhost\r\n{starttls}250-8BITMIME\r\n250-SIZE {MAX_MAIL}\r\n250 AUTH PLAIN LOGIN"
                        ),
                    )
                    .await?;
                }
                "STARTTLS" if !encrypted => {
                    say(&mut wire, "220 2.0.0 go on").await?;
                    let stream = self.acceptor.accept(wire.into_inner()).await?;
                    return Box::pin(self.talk(BufReader::new(Box::new(stream)), true, false)).await;
                }
                "AUTH" => envelope.logged_in = self.log_in(&mut wire, &text).await?,
                "MAIL" if !envelope.logged_in => say(&mut wire, "530 5.7.0 log in first").await?,
                "MAIL" => {
                    let mode = self.mounted.arrive_mail();
                    envelope = Envelope { logged_in: true, from: path(&text), ..Envelope::default() };
                    let quota = mode.is_own(QUOTA);
                    envelope.mode = Some(mode);
                    match (&envelope.from, quota) {
                        (_, true) => say(&mut wire, &format!("550 5.4.5 daily limit, {INTERNAL_DETAIL}")).await?,
                        (Some(_), false) => say(&mut wire, "250 2.1.0 ok").await?,
                        (None, false) => say(&mut wire, "501 5.1.7 no such form").await?,
                    }
                }
                "RCPT" if envelope.from.is_none() => say(&mut wire, "503 5.5.1 first MAIL").await?,
                "RCPT" => match (envelope.mode.as_ref().map(|mode| &mode.fault), path(&text)) {
                    (Some(Fault::Status(status)), _) => {
                        say(&mut wire, &format!("{status} {}.1.1 {INTERNAL_DETAIL}", status / 100)).await?;
                    }
                    (_, Some(recipient)) => {
                        envelope.to.push(recipient);
                        say(&mut wire, "250 2.1.5 ok").await?;
                    }
                    (_, None) => say(&mut wire, "501 5.1.3 no such form").await?,
                },
                "DATA" if envelope.to.is_empty() => say(&mut wire, "503 5.5.1 first RCPT").await?,
                "DATA" => {
                    say(&mut wire, "354 go on").await?;
                    let Some(mail) = content(&mut wire).await? else {
                        say(&mut wire, "554 5.6.0 a line ends with CRLF and has at most 1000 bytes").await?;
                        continue;
                    };
                    let mode = envelope.mode.take().unwrap_or_else(Mode::ok);
                    let taken = self.mounted.take_mail(&as_request(&envelope, encrypted, mail), &mode);
                    if mode.is_own(SILENT) || matches!(mode.fault, Fault::Reset) {
                        return Ok(());
                    }
                    say(&mut wire, &format!("250 {taken}")).await?;
                    envelope = Envelope { logged_in: true, ..Envelope::default() };
                }
                "RSET" => {
                    envelope = Envelope { logged_in: envelope.logged_in, ..Envelope::default() };
                    say(&mut wire, "250 2.0.0 ok").await?;
                }
                "NOOP" => say(&mut wire, "250 2.0.0 ok").await?,
                "QUIT" => return say(&mut wire, "221 2.0.0 bye").await,
                _ => say(&mut wire, "500 5.5.1 unknown").await?,
            }
        }
    }

    async fn log_in(&self, wire: &mut BufReader<Box<dyn Wire>>, text: &str) -> io::Result<bool> {
        let words: Vec<&str> = text.split(' ').collect();
        let decoded = |text: &str| STANDARD.decode(text.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let known = match (words.get(1).map(|word| word.to_ascii_uppercase()).as_deref(), words.get(2)) {
            (Some("PLAIN"), Some(response)) => decoded(response) == Some(format!("\0{USER}\0{PASSWORD}")),
            (Some("LOGIN"), _) => {
                let mut answers = Vec::new();
                for question in ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"] {
                    say(wire, question).await?;
                    let mut line = String::new();
                    wire.read_line(&mut line).await?;
                    answers.push(decoded(&line));
                }
                answers == [Some(USER.to_owned()), Some(PASSWORD.to_owned())]
            }
            _ => false,
        };
        let let_in = known && !self.mounted.mode().is_own(REFUSED_LOGIN);
        let answer = if let_in { "235 2.7.0 welcome".to_owned() } else { format!("535 5.7.8 {INTERNAL_DETAIL}") };
        say(wire, &answer).await?;
        Ok(let_in)
    }
}

fn as_request(envelope: &Envelope, encrypted: bool, mail: Vec<u8>) -> Request {
    let mut query = vec![("encrypted".to_owned(), encrypted.to_string())];
    query.extend(envelope.from.clone().map(|from| ("from".to_owned(), from)));
    query.extend(envelope.to.iter().map(|to| ("to".to_owned(), to.clone())));
    Request { method: Method::POST, path: "/".to_owned(), query, headers: HeaderMap::new(), body: Bytes::from(mail) }
}

async fn say(wire: &mut BufReader<Box<dyn Wire>>, line: &str) -> io::Result<()> {
    wire.write_all(format!("{line}\r\n").as_bytes()).await?;
    wire.flush().await
}

/// A command without its line break; `None` when it is no line of SMTP.
fn command(line: &[u8]) -> Option<String> {
    let text = line.strip_suffix(b"\r\n").filter(|text| text.len() + 2 <= MAX_LINE && !text.contains(&b'\r'))?;
    String::from_utf8(text.to_vec()).ok()
}

/// What stands between `<` and `>`.
fn path(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('<')?;
    let (address, _) = rest.split_once('>')?;
    Some(address.to_owned())
}

/// The mail up to the line with a dot, with the dots of its own that were doubled made single again. `None` when a line of
/// it is none.
async fn content(wire: &mut BufReader<Box<dyn Wire>>) -> io::Result<Option<Vec<u8>>> {
    let (mut mail, mut line, mut fine) = (Vec::new(), Vec::new(), true);
    loop {
        line.clear();
        if wire.read_until(b'\n', &mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(fine.then_some(mail));
        }
        fine &= line.ends_with(b"\r\n") && line.len() <= MAX_LINE && mail.len() <= MAX_MAIL;
        mail.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
