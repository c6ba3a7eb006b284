//! The endpoint of `examples/metrics`, by an HTTP client that is not ours.

mod runtime_support;
#[path = "../examples/metrics/server.rs"]
mod server;

use revmc_jit::JitBackend;
use revmc_jit::stats::is_gauge;
use runtime_support::{config, contract, request};
use server::Server;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use ureq::Agent;
use ureq::http::Response;

const TOKEN: &str = "a token of this test";

struct Client {
    backend: JitBackend,
    server: Server,
    agent: Agent,
}

impl Client {
    fn new(token: Option<&str>) -> Self {
        let backend = JitBackend::new(config()).unwrap();
        let token = token.map(str::to_owned);
        let server = Server::start(backend.clone(), "127.0.0.1:0", token).unwrap();
        let config = Agent::config_builder().http_status_as_error(false);
        Self {
            backend,
            server,
            agent: config.build().into(),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address())
    }

    fn get(&self, path: &str) -> Response<ureq::Body> {
        self.agent.get(self.url(path)).call().unwrap()
    }

    /// The status that a POST is answered with.
    fn post(&self, path: &str, authorization: Option<&str>) -> u16 {
        let mut post = self.agent.post(self.url(path));
        if let Some(value) = authorization {
            post = post.header("Authorization", value);
        }
        post.send_empty().unwrap().status().as_u16()
    }

    /// Uses a switch as its owner does.
    fn switch(&self, path: &str) {
        let status = self.post(path, Some(&format!("Bearer {TOKEN}")));
        assert_eq!(status, 204, "{path}");
    }

    /// What a scraper reads: each value, and whether it is a gauge.
    fn scrape(&self) -> BTreeMap<String, (u64, bool)> {
        let mut response = self.get("/metrics");
        assert_eq!(response.status(), 200);
        let kind = response.headers()["content-type"].to_str().unwrap();
        assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
        let text = response.body_mut().read_to_string().unwrap();
        let (mut values, mut kinds) = (BTreeMap::new(), BTreeMap::new());
        for line in text.lines() {
            if let Some(line) = line.strip_prefix("# TYPE ") {
                let (name, kind) = line.split_once(' ').unwrap();
                assert!(matches!(kind, "gauge" | "counter"), "{line}");
                kinds.insert(name.to_owned(), kind == "gauge");
            } else {
                let (name, value) = line.split_once(' ').unwrap();
                let is_gauge = kinds[name];
                let before = values.insert(name.to_owned(), (value.parse().unwrap(), is_gauge));
                assert_eq!(before, None, "{name}");
            }
        }
        assert_eq!(values.len(), kinds.len());
        values
    }

    fn value(&self, name: &str) -> u64 {
        self.scrape()[&format!("revmc_jit_{name}")].0
    }
}

#[test]
fn a_scrape_has_every_value() {
    let client = Client::new(None);
    let (key, code) = contract(1);
    client.backend.compile_jit_sync(request(1)).unwrap();
    for _ in 0..3 {
        assert!(client.backend.lookup_ref(&key, &code).program().is_some());
    }
    let scraped = client.scrape();
    let stats = client.backend.stats();
    assert_eq!(scraped.len(), stats.values().count());
    for (name, _) in stats.values() {
        let suffix = if is_gauge(name) { "" } else { "_total" };
        let (_, gauge) = scraped[&format!("revmc_jit_{name}{suffix}")];
        assert_eq!(gauge, is_gauge(name), "{name}");
    }
    assert_eq!(client.value("hits_total"), 3);
    assert_eq!(client.value("published_total"), 1);
    assert_eq!(client.value("resident_entries"), 1);
}

#[test]
fn switches_switch() {
    let client = Client::new(Some(TOKEN));
    let (key, code) = contract(2);
    client.backend.compile_jit_sync(request(2)).unwrap();
    client.switch("/disable");
    assert!(!client.backend.enabled());
    assert!(client.backend.lookup_ref(&key, &code).program().is_none());
    client.switch("/enable");
    assert!(client.backend.lookup_ref(&key, &code).program().is_some());
    client.switch("/pause");
    client.switch("/pause");
    assert_eq!(client.value("paused"), 2);
    client.switch("/resume");
    client.switch("/resume");
    assert_eq!(client.value("paused"), 0);
    assert_eq!(client.value("resident_entries"), 1);
    client.switch("/clear");
    assert_eq!(client.value("resident_entries"), 0);
    assert_eq!(client.value("clears_total"), 1);
}

#[test]
fn nobody_else_may() {
    let client = Client::new(Some(TOKEN));
    let paths = ["/enable", "/disable", "/pause", "/resume", "/clear"];
    let wrong = [
        None,
        Some("Bearer".to_owned()),
        Some("Bearer x".to_owned()),
        Some(format!("Bearer {TOKEN}x")),
        Some(format!("Bearer {}", &TOKEN[1..])),
        Some(format!("Basic {TOKEN}")),
        Some(TOKEN.to_owned()),
    ];
    let before = client.backend.stats();
    for path in paths {
        for authorization in &wrong {
            let status = client.post(path, authorization.as_deref());
            assert_eq!(status, 401, "{path} {authorization:?}");
        }
        // A link that somebody follows is none either.
        let response = client.get(path);
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["allow"], "POST");
    }
    assert_eq!(client.backend.stats().clears, before.clears);
    assert_eq!(client.backend.stats().paused, 0);
    assert!(client.backend.enabled());
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(client.post("/metrics", Some(&bearer)), 405);
    assert_eq!(client.post("/nothing", Some(&bearer)), 404);
    assert_eq!(client.get("/").status(), 404);
    // Without a token there is nothing to show.
    let closed = Client::new(None);
    for path in paths {
        assert_eq!(closed.post(path, Some("Bearer ")), 403, "{path}");
        assert_eq!(closed.post(path, None), 403, "{path}");
    }
}

#[test]
fn what_is_no_request_is_refused_and_the_next_one_served() {
    let client = Client::new(Some(TOKEN));
    let long = format!("GET /metrics HTTP/1.1\r\nx: {}", "x".repeat(20_000));
    let requests: [(&[u8], &str); 7] = [
        (b"\r\n\r\n", "400"),
        (b"GET /metrics\r\n\r\n", "400"),
        (b"GET /metrics HTTP/2\r\n\r\n", "400"),
        (b"GET /\xff HTTP/1.1\r\n\r\n", "400"),
        (b"POST /pause HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "400"),
        (
            b"POST /pause HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "411",
        ),
        (
            b"POST /pause HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n",
            "413",
        ),
    ];
    for (request, status) in requests {
        let mut connection = TcpStream::connect(client.server.address()).unwrap();
        connection.write_all(request).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    // The server may close before all of it was sent.
    let mut connection = TcpStream::connect(client.server.address()).unwrap();
    let _ = connection.write_all(long.as_bytes());
    drop(connection);
    // One that says nothing, and goes.
    drop(TcpStream::connect(client.server.address()).unwrap());
    assert_eq!(client.value("paused"), 0);
}
