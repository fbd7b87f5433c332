//! Requests that guests send: where they may go, and where not.

use std::net::SocketAddr;

use backlot_builtin::{Builtin, WEB, WEB3};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::support::Host;

const BOTH: [&Builtin; 2] = [&WEB, &WEB3];

/// A server that answers everything with where it was asked; `/redirect` elsewhere.
struct Peer {
    address: SocketAddr,
    _serving: AbortOnDropHandle<()>,
}

impl Peer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let line = head.lines().next().unwrap().to_owned();
                let status = if line.contains("/redirect") {
                    "302 Found\r\nlocation: http://127.0.0.1:1/"
                } else {
                    "200 OK"
                };
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{line}",
                    line.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { address, _serving: AbortOnDropHandle::new(serving) }
    }
}

#[tokio::test]
async fn a_granted_host_is_asked() {
    let peer = Peer::start().await;
    let port = peer.address.port();
    let grants = format!(
        "[grants]\nhttp = [{{ host = \"127.0.0.1:{port}\", private = true }}, \
         {{ host = \"localhost:{port}\", private = true }}]"
    );
    for guest in BOTH {
        let host = Host::of(guest, &grants).await;
        for name in ["127.0.0.1", "localhost"] {
            let answer = host.get(&format!("/fetch/http/{name}:{port}/a/b?c")).await.text();
            assert_eq!(answer, "200 GET /a/b?c HTTP/1.1", "{}", guest.name);
        }
        // A redirect is told, not followed.
        let answer = host.get(&format!("/fetch/http/127.0.0.1:{port}/redirect")).await.text();
        assert_eq!(answer, "302 GET /redirect HTTP/1.1");
    }
}

#[tokio::test]
async fn a_request_may_send_so_many_and_the_next_one_again() {
    let peer = Peer::start().await;
    let port = peer.address.port();
    let manifest = format!(
        "[http]\nreuse = 100\n[limits]\noutbound_calls = 1\n[grants]\n\
         http = [{{ host = \"127.0.0.1:{port}\", private = true }}]"
    );
    let target = format!("http/127.0.0.1:{port}/");
    for guest in BOTH {
        let host = Host::of(guest, &manifest).await;
        for _ in 0..3 {
            assert!(host.get(&format!("/fetch/{target}")).await.text().starts_with("200"));
        }
        let answer = host.get(&format!("/fetch-twice/{target}")).await.text();
        assert!(answer.starts_with("200"), "{answer}");
        assert!(answer.contains("ConnectionLimitReached"), "{} {answer}", guest.name);
    }
}

#[tokio::test]
async fn what_is_not_granted_is_denied() {
    let peer = Peer::start().await;
    let port = peer.address.port();
    let grants = "[grants]\nhttp = [\"api.example.com\", \"*.example.org:8443\"]";
    for guest in BOTH {
        let host = Host::of(guest, grants).await;
        for target in [
            format!("http/127.0.0.1:{port}/"),
            "https/example.org:8443/".to_owned(),
            "http/api.example.com:81/".to_owned(),
        ] {
            let answer = host.get(&format!("/fetch/{target}")).await.text();
            assert!(answer.contains("HttpRequestDenied"), "{} {target}: {answer}", guest.name);
        }
    }
}

#[tokio::test]
async fn an_address_that_is_not_public_needs_to_be_granted_as_such() {
    let peer = Peer::start().await;
    let port = peer.address.port();
    let hosts = ["127.0.0.1", "localhost", "[::1]", "2130706433", "169.254.169.254", "0.0.0.0"];
    let granted: Vec<String> = hosts.iter().map(|host| format!("\"{host}:{port}\"")).collect();
    let grants = format!("[grants]\nhttp = [{}]", granted.join(", "));
    for guest in BOTH {
        let host = Host::of(guest, &grants).await;
        for name in hosts {
            // However the name is written, what counts is the address that it means now: that is
            // the one that would be connected to, so a name server cannot change its mind.
            let answer = host.get(&format!("/fetch/http/{name}:{port}/")).await.text();
            assert!(answer.contains("DestinationIpProhibited"), "{name}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_peer_that_refuses_is_an_error_that_the_guest_can_read() {
    let grants = "[grants]\nhttp = [{ host = \"127.0.0.1:1\", private = true }]";
    for guest in BOTH {
        let host = Host::of(guest, grants).await;
        let answer = host.get("/fetch/http/127.0.0.1:1/").await.text();
        assert!(answer.contains("ConnectionRefused"), "{answer}");
        let answer = host.get("/fetch/https/127.0.0.1:1/").await.text();
        assert!(answer.contains("ConnectionRefused"), "{answer}");
    }
}
