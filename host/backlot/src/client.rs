//! Requests to a running server.

mod endpoint;
mod stream;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::time;
use tokio_util::task::AbortOnDropHandle;

use crate::cli::{ConfigFlags, Remote, Server};
use crate::config::{self, Config};
use crate::fault::Fault;
use crate::{node, token};

use endpoint::{Trust, silent, unreachable};

pub(crate) use endpoint::Endpoint;
pub(crate) use stream::Events;

/// Longest wait for a whole answer, and for the head of a stream.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Largest answer: a long film's invocation with all its children.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// `publish` has no --data for the folder, so the variable is named.
const TOKEN_HELP: &str =
    "set BACKLOT_DATA to the server's data folder, or BACKLOT_TOKEN to the token";
/// What stays as it is in a path or a query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A server, and what changes of it need.
pub(crate) struct Client {
    endpoint: Endpoint,
    trust: Trust,
    flags: ConfigFlags,
    token: Option<String>,
    patience: Duration,
}

/// Runs what a verb does.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|err| node::internal("starting threads", &err))?
        .block_on(work)
}

/// As part of a path or the value of a query.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

impl Client {
    pub(crate) fn new(remote: &Remote) -> Result<Self, Fault> {
        Self::of(&remote.server, remote.data.as_deref())
    }

    /// With the folder that the token is in, if it was named.
    pub(crate) fn of(server: &Server, data: Option<&Path>) -> Result<Self, Fault> {
        let flags = ConfigFlags {
            config: server.config.clone(),
            data: data.map(Path::to_owned),
            ..ConfigFlags::default()
        };
        let named = server.ca.clone().map_or(Trust::Authorities, Trust::File);
        let (endpoint, trust) = match &server.http {
            Some(endpoint) => (endpoint.clone(), named),
            None => {
                let http = configured(&flags)?.http;
                let endpoint = Endpoint::new(http.address, http.tls.is_some());
                (endpoint, http.tls.map_or(named, |tls| Trust::Configured(tls.certificate)))
            }
        };
        Ok(Self { endpoint, trust, flags, token: server.token.clone(), patience: ANSWER_MAX })
    }

    /// The same, which waits so long for an answer.
    pub(crate) fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The JSON under a path; None where there is nothing.
    pub(crate) async fn get(&self, path: &str) -> Result<Option<Value>, Fault> {
        // Where reading needs a token, the one that changes need will do; elsewhere none is missed.
        let body = Bytes::new();
        let request = match self.token() {
            Ok(token) => self.request(Method::GET, path, Some((&token, body)))?,
            Err(_) => self.request(Method::GET, path, None)?,
        };
        match self.ask(request).await {
            Ok(value) => Ok(Some(value)),
            Err(fault) if fault.code == NOT_THERE => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Asks for a change.
    pub(crate) async fn change(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Fault> {
        let body = body.map(ToString::to_string).unwrap_or_default();
        self.ask(self.request(method, path, Some((&self.token()?, body.into())))?).await
    }

    /// The JSON under a path that cannot be read without a token.
    pub(crate) async fn get_with_token(&self, path: &str) -> Result<Value, Fault> {
        self.change(Method::GET, path, None).await
    }

    /// Puts bytes under a path.
    pub(crate) async fn upload(&self, path: &str, bytes: Bytes) -> Result<Value, Fault> {
        self.ask(self.request(Method::PUT, path, Some((&self.token()?, bytes)))?).await
    }

    /// Server-Sent Events under a path.
    pub(crate) async fn events(&self, path: &str) -> Result<Events, Fault> {
        let request = self.request(Method::GET, path, None)?;
        let (response, driver) = self.send(request).await?;
        if response.status() == StatusCode::OK {
            return Ok(Events::new(self.endpoint.clone(), response.into_body(), driver));
        }
        Err(match self.read(response).await {
            Err(fault) => fault,
            Ok(_) => self.not_backlot(StatusCode::OK),
        })
    }

    async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Value, Fault> {
        let (response, _driver) = self.send(request).await?;
        self.read(response).await
    }

    /// With a token and a body, where there are.
    fn request(
        &self,
        method: Method,
        path: &str,
        change: Option<(&str, Bytes)>,
    ) -> Result<Request<Full<Bytes>>, Fault> {
        let mut request =
            Request::builder().method(method).uri(path).header("host", self.endpoint.to_string());
        let mut body = Bytes::new();
        if let Some((token, bytes)) = change {
            request = request
                .header("authorization", format!("Bearer {token}"))
                .header("content-type", "application/cloudevents+json");
            body = bytes;
        }
        request.body(Full::from(body)).map_err(|err| {
            Fault::new("E0504", format!("no request can be made: {err}"), "mend the token")
        })
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, AbortOnDropHandle<()>), Fault> {
        let sent = async {
            let stream = self.endpoint.connect(&self.trust).await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            // What goes wrong on the connection is told where the answer is read.
            let driver = AbortOnDropHandle::new(tokio::spawn(async { drop(connection.await) }));
            Ok::<_, BoxError>((sender.send_request(request).await?, driver))
        };
        match time::timeout(self.patience, sent).await {
            Ok(sent) => sent.map_err(|err| unreachable(&self.endpoint, err.as_ref())),
            Err(_) => Err(silent(&self.endpoint, &self.no_answer())),
        }
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Value, Fault> {
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
        let body = match time::timeout(self.patience, body).await {
            Ok(body) => body.map_err(|err| unreachable(&self.endpoint, &*err))?.to_bytes(),
            Err(_) => return Err(silent(&self.endpoint, &self.no_answer())),
        };
        match serde_json::from_slice::<Value>(&body) {
            Ok(value) if status.is_success() => Ok(value),
            Ok(value) => Err(refusal(status, &value)),
            Err(_) => Err(self.not_backlot(status)),
        }
    }

    fn not_backlot(&self, status: StatusCode) -> Fault {
        Fault::new(
            "E0502",
            format!("what answers at {} is not Backlot ({status})", self.endpoint),
            "name the address of the HTTP side with --http, as https://NAME:PORT if it speaks TLS",
        )
    }

    fn no_answer(&self) -> String {
        format!("no answer within {:?}", self.patience)
    }

    fn token(&self) -> Result<String, Fault> {
        if let Some(token) = &self.token {
            return Ok(token.trim().to_owned());
        }
        let path: PathBuf = token::path(&configured(&self.flags)?.data);
        token::read(&path).map_err(|err| {
            Fault::new(
                "E0504",
                format!("changes need the server's token, and {} has none: {err}", path.display()),
                TOKEN_HELP,
            )
        })
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Code of what is not there; each verb has its own words for it.
pub(crate) const NOT_THERE: &str = "E0503";

fn configured(flags: &ConfigFlags) -> Result<Config, Fault> {
    Ok(config::load(flags)?.config)
}

/// What the server says against it.
fn refusal(status: StatusCode, answer: &Value) -> Fault {
    let reason = answer.pointer("/error/message").and_then(Value::as_str);
    let reason = reason.unwrap_or("without a reason");
    match status {
        StatusCode::NOT_FOUND => Fault::new(
            NOT_THERE,
            reason,
            "`backlot runs` lists invocations, `backlot functions` functions",
        ),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Fault::new("E0504", format!("the server does not take the token: {reason}"), TOKEN_HELP)
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            Fault::new("E0506", format!("the server is busy: {reason}"), "try again later")
        }
        status if status.is_client_error() => {
            Fault::new("E0505", format!("the server refuses: {reason}"), "change what it names")
        }
        status => {
            Fault::new("E0502", format!("the server answered {status}: {reason}"), "try again")
        }
    }
}
