//! Lambda's Runtime API, for one process: it hands out events and takes what comes back.

use std::io::{self, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ieum_bench::wire;

/// What the process does.
#[derive(Debug)]
pub(crate) enum Signal {
    /// It asks for an event.
    Polled(Instant),
    /// It has answered one.
    Answered(Instant, Vec<u8>),
    /// It has failed.
    Failed(String),
}

/// The interface of one process.
#[derive(Debug)]
pub(crate) struct Runtime {
    /// For `AWS_LAMBDA_RUNTIME_API`.
    pub(crate) address: String,
    pub(crate) events: Sender<Vec<u8>>,
    pub(crate) signals: Receiver<Signal>,
}

impl Runtime {
    pub(crate) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?.to_string();
        let (events, waiting) = channel::<Vec<u8>>();
        let (tell, signals) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (waiting, tell) = (Arc::clone(&waiting), tell.clone());
                thread::spawn(move || serve(stream, &waiting, &tell));
            }
        });
        Ok(Self { address, events, signals })
    }
}

fn serve(stream: TcpStream, waiting: &Mutex<Receiver<Vec<u8>>>, tell: &Sender<Signal>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(request) = wire::read(&mut stream)? {
        let now = Instant::now();
        let path = request.word(1);
        if path.ends_with("/invocation/next") {
            let _ = tell.send(Signal::Polled(now));
            let event = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(event) = event else { return Ok(()) };
            let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + Duration::from_secs(10);
            let headers = format!(
                "content-type: application/json\r\n\
                 lambda-runtime-aws-request-id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\r\n\
                 lambda-runtime-deadline-ms: {}\r\n\
                 lambda-runtime-invoked-function-arn: arn:aws:lambda:ap-northeast-2:000000000000:function:verify\r\n\
                 lambda-runtime-trace-id: Root=1-691fe2c8-7b1d2f0a3c4d5e6f70819203;Parent=53995c3f42cd8ad8;Sampled=0\r\n",
                deadline.as_millis()
            );
            wire::answer(stream.get_mut(), 200, &headers, &event)?;
        } else {
            let signal = if path.ends_with("/response") {
                Signal::Answered(now, request.body)
            } else {
                Signal::Failed(format!("{path}: {}", String::from_utf8_lossy(&request.body)))
            };
            wire::answer(stream.get_mut(), 202, "content-type: application/json\r\n", b"{\"status\":\"OK\"}")?;
            let _ = tell.send(signal);
        }
    }
    Ok(())
}
