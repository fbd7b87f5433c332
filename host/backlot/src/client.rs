//! One GET at a running server.

use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time;

use crate::fault::Fault;

/// Longest wait for a whole answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Largest answer: a long film's invocation with all its children.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The JSON under a path; None where there is nothing.
pub(crate) async fn get(server: SocketAddr, path: &str) -> Result<Option<Value>, Fault> {
    let asked = time::timeout(ANSWER_MAX, ask(server, path)).await;
    let (status, body) = match asked {
        Ok(answer) => answer.map_err(|err| unreachable(server, &err))?,
        Err(_) => return Err(unreachable(server, &format!("no answer within {ANSWER_MAX:?}"))),
    };
    let answer: Result<Value, _> = serde_json::from_slice(&body);
    match (status, answer) {
        (StatusCode::OK, Ok(value)) => Ok(Some(value)),
        (StatusCode::NOT_FOUND, Ok(_)) => Ok(None),
        (_, Ok(value)) => {
            let reason = value.pointer("/error/message").and_then(Value::as_str);
            let reason = reason.unwrap_or("without a reason");
            Err(Fault::new("E0502", format!("the server answered {status}: {reason}"), "try again"))
        }
        (_, Err(_)) => Err(Fault::new(
            "E0502",
            format!("what answers at {server} is not Backlot ({status})"),
            "name the address of the HTTP side with --http",
        )),
    }
}

type AskError = Box<dyn std::error::Error + Send + Sync>;

async fn ask(server: SocketAddr, path: &str) -> Result<(StatusCode, Bytes), AskError> {
    let stream = TcpStream::connect(server).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request =
        Request::get(path).header("host", server.to_string()).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes();
    driver.abort();
    Ok((status, body))
}

fn unreachable(server: SocketAddr, reason: &dyn std::fmt::Display) -> Fault {
    Fault::new(
        "E0501",
        format!("no server answers at {server}: {reason}"),
        "start one with `backlot serve`, or name its address with --http",
    )
}
