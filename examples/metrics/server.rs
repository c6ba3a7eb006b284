//! An HTTP/1.1 endpoint over `std::net`: statistics for a scraper, and a backend's switches.
//!
//! | request | answer |
//! |---|---|
//! | `GET /metrics` | every counter and gauge, as text |
//! | `POST /enable`, `/disable` | lookups answer, or all interpret |
//! | `POST /pause`, `/resume` | compilation stops, or goes on; they nest |
//! | `POST /clear` | every resident program is dropped |
//!
//! A POST needs `Authorization: Bearer TOKEN`; its answer is 204. One connection is served at a time,
//! for [`PATIENCE`] at most, and one request on each; what is no request is refused.

use revmc_jit::stats::is_gauge;
use revmc_jit::{JitBackend, Result, RuntimeStatsSnapshot};
use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of a request's head, and of a body, at most.
const MAX_LEN: usize = 8192;

/// <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>
pub fn exposition(stats: &RuntimeStatsSnapshot) -> String {
    let mut text = String::new();
    for (name, value) in stats.values() {
        let (kind, suffix) = if is_gauge(name) {
            ("gauge", "")
        } else {
            ("counter", "_total")
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "# TYPE revmc_jit_{name}{suffix} {kind}");
        let _ = writeln!(text, "revmc_jit_{name}{suffix} {value}");
    }
    text
}

/// A listening endpoint; its drop ends it.
pub struct Server {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens, on a thread of its own. Without a token every POST is refused.
    pub fn start(
        backend: JitBackend,
        address: impl ToSocketAddrs,
        token: Option<String>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let serve = move || {
            // An error to accept is one connection's.
            for connection in listener.incoming() {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                if let Ok(connection) = connection {
                    // Whoever has gone needs no answer.
                    let _ = serve(connection, &backend, token.as_deref());
                }
            }
        };
        let thread = thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(serve)?;
        Ok(Self {
            address,
            stopping,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        // A connection wakes the thread.
        if TcpStream::connect(self.address).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// What a request is answered with.
#[derive(Debug)]
struct Answer {
    status: &'static str,
    header: &'static str,
    body: String,
}

impl Answer {
    fn new(status: &'static str) -> Self {
        Self {
            status,
            header: "",
            body: String::new(),
        }
    }

    fn with(self, header: &'static str) -> Self {
        Self { header, ..self }
    }
}

fn serve(mut connection: TcpStream, backend: &JitBackend, token: Option<&str>) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let answer = match read_head(&mut connection, deadline)? {
        Ok(head) => respond(&head, backend, token),
        Err(refused) => refused,
    };
    let Answer {
        status,
        header,
        body,
    } = answer;
    // A 204 has no body, and so no length.
    let length = if status.starts_with("204") {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    connection.set_write_timeout(Some(PATIENCE))?;
    write!(
        connection,
        "HTTP/1.1 {status}\r\nConnection: close\r\n{header}{length}\r\n{body}"
    )
}

/// Reads a request up to its end; what it has as a body is thrown away.
fn read_head(
    connection: &mut TcpStream,
    deadline: Instant,
) -> io::Result<std::result::Result<String, Answer>> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if bytes.len() > MAX_LEN {
            let status = "431 Request Header Fields Too Large";
            return Ok(Err(Answer::new(status)));
        }
        receive(connection, deadline, &mut bytes)?;
    };
    let Ok(text) = String::from_utf8(bytes[..head].to_vec()) else {
        return Ok(Err(Answer::new("400 Bad Request")));
    };
    if header(&text, "transfer-encoding").is_some() {
        return Ok(Err(Answer::new("411 Length Required")));
    }
    let len = header(&text, "content-length").map_or(Ok(0), str::parse::<usize>);
    let Ok(len) = len else {
        return Ok(Err(Answer::new("400 Bad Request")));
    };
    if len > MAX_LEN {
        return Ok(Err(Answer::new("413 Content Too Large")));
    }
    while bytes.len() < head + 4 + len {
        receive(connection, deadline, &mut bytes)?;
    }
    Ok(Ok(text))
}

fn receive(connection: &mut TcpStream, deadline: Instant, bytes: &mut Vec<u8>) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    connection.set_read_timeout(Some(left))?;
    let mut buffer = [0; 1024];
    let read = connection.read(&mut buffer)?;
    if read == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    bytes.extend_from_slice(&buffer[..read]);
    Ok(())
}

/// The value of a header, by its name in lower case.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn respond(head: &str, backend: &JitBackend, token: Option<&str>) -> Answer {
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (Some(method), Some(path), Some("HTTP/1.1" | "HTTP/1.0"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Answer::new("400 Bad Request");
    };
    let path = path.split('?').next().unwrap_or_default();
    if path == "/metrics" {
        return match method {
            "GET" => Answer {
                body: exposition(&backend.stats()),
                ..Answer::new("200 OK")
                    .with("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n")
            },
            _ => Answer::new("405 Method Not Allowed").with("Allow: GET\r\n"),
        };
    }
    let switch: fn(&JitBackend) -> Result<()> = match path {
        "/enable" => |backend| backend.set_enabled(true),
        "/disable" => |backend| backend.set_enabled(false),
        "/pause" => |backend| {
            backend.pause();
            Ok(())
        },
        "/resume" => |backend| {
            backend.resume();
            Ok(())
        },
        "/clear" => JitBackend::clear_resident,
        _ => return Answer::new("404 Not Found"),
    };
    if method != "POST" {
        return Answer::new("405 Method Not Allowed").with("Allow: POST\r\n");
    }
    let Some(token) = token else {
        return Answer::new("403 Forbidden");
    };
    let shown = header(head, "authorization").and_then(|value| value.strip_prefix("Bearer "));
    if !shown.is_some_and(|shown| equal(shown.as_bytes(), token.as_bytes())) {
        return Answer::new("401 Unauthorized").with("WWW-Authenticate: Bearer\r\n");
    }
    match switch(backend) {
        Ok(()) => Answer::new("204 No Content"),
        Err(error) => Answer {
            body: format!("{error}\n"),
            ..Answer::new("500 Internal Server Error")
        },
    }
}

/// Compares in a time that depends on the lengths alone.
fn equal(a: &[u8], b: &[u8]) -> bool {
    let differences = a.iter().zip(b).fold(0, |acc, (a, b)| acc | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differences) == 0
}
