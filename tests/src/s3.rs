//! A small S3 client for tests that count: presigned requests, one connection each, no retries. An
//! `Ok` is an acknowledgement of the server; an error may mean that it did it all the same.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, ensure};
use jiff::Timestamp;
use rusty_s3::Method;
use rusty_s3::signing::sign;
use url::Url;

use crate::server::Ready;

/// The longest a server may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const SIGNED_FOR_SECS: u64 = 600;
const REGION: &str = "us-east-1";

/// Talks to one server as its first user.
#[derive(Clone, Debug)]
pub struct S3 {
    ready: Ready,
}

/// What a list says of one version.
struct Entry {
    key: String,
    id: Option<String>,
}

impl S3 {
    /// For the server that said this when it was ready.
    pub fn new(ready: &Ready) -> Self {
        Self { ready: ready.clone() }
    }

    /// Make a bucket; one that is there is as good.
    ///
    /// # Errors
    /// When the server does not say that it is there.
    pub fn make_bucket(&self, bucket: &str) -> anyhow::Result<()> {
        let (status, body) = self.ask(Method::Put, bucket, &[], b"")?;
        ensure!(status == 200 || status == 409, "{bucket}: {status} {}", text(&body));
        Ok(())
    }

    /// Have a bucket keep versions.
    ///
    /// # Errors
    /// When the server does not say that it will.
    pub fn keep_versions(&self, bucket: &str) -> anyhow::Result<()> {
        let body = b"<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                     <Status>Enabled</Status></VersioningConfiguration>";
        let (status, body) = self.ask(Method::Put, bucket, &[("versioning", "")], body)?;
        ensure!(status == 200, "{bucket}: {status} {}", text(&body));
        Ok(())
    }

    /// Store an object.
    ///
    /// # Errors
    /// When the server does not say that it is stored.
    pub fn put(&self, bucket: &str, key: &str, body: &[u8]) -> anyhow::Result<()> {
        let (status, body) = self.ask(Method::Put, &format!("{bucket}/{key}"), &[], body)?;
        ensure!(status == 200, "{bucket}/{key}: {status} {}", text(&body));
        Ok(())
    }

    /// The bytes of an object, if there is one.
    ///
    /// # Errors
    /// When the server says anything else.
    pub fn get(&self, bucket: &str, key: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let (status, body) = self.ask(Method::Get, &format!("{bucket}/{key}"), &[], b"")?;
        ensure!(status == 200 || status == 404, "{bucket}/{key}: {status} {}", text(&body));
        Ok((status == 200).then_some(body))
    }

    /// The keys of a bucket, in order.
    ///
    /// # Errors
    /// When the server does not answer with lists.
    pub fn keys(&self, bucket: &str) -> anyhow::Result<Vec<String>> {
        let mut keys: Vec<String> = Vec::new();
        loop {
            let after = keys.last().cloned().unwrap_or_default();
            let mut query = vec![("list-type", "2")];
            if !after.is_empty() {
                query.push(("start-after", &after));
            }
            let (page, more) = self.list(bucket, &query)?;
            keys.extend(page.into_iter().map(|entry| entry.key));
            if !more {
                return Ok(keys);
            }
        }
    }

    /// How many versions and markers each key of a bucket has.
    ///
    /// # Errors
    /// When the server does not answer with lists.
    pub fn versions(&self, bucket: &str) -> anyhow::Result<BTreeMap<String, usize>> {
        let mut counts = BTreeMap::new();
        let mut last: Option<Entry> = None;
        loop {
            let (key, id) = match &last {
                Some(Entry { key, id }) => (key.clone(), id.clone().unwrap_or_default()),
                None => (String::new(), String::new()),
            };
            let mut query = Vec::new();
            if !key.is_empty() {
                query.extend([("key-marker", key.as_str()), ("version-id-marker", &id)]);
            }
            query.push(("versions", ""));
            query.sort_unstable();
            let (page, more) = self.list(bucket, &query)?;
            for entry in &page {
                *counts.entry(entry.key.clone()).or_default() += 1;
            }
            last = page.into_iter().next_back();
            if !more {
                return Ok(counts);
            }
        }
    }

    /// The entries of a page, and whether there are more.
    fn list(&self, bucket: &str, query: &[(&str, &str)]) -> anyhow::Result<(Vec<Entry>, bool)> {
        let (status, body) = self.ask(Method::Get, bucket, query, b"")?;
        let body = text(&body);
        ensure!(status == 200, "{bucket}: {status} {body}");
        // Keys of tests need no unescaping, so that this need be no reader of XML.
        let more = element(&body, "IsTruncated") == Some("true");
        let mut entries = Vec::new();
        for piece in body.split("<Key>").skip(1) {
            let (key, rest) = piece.split_once("</Key>").context("a key")?;
            let id = element(rest, "VersionId").map(str::to_owned);
            entries.push(Entry { key: key.to_owned(), id });
        }
        Ok((entries, more))
    }

    /// Status and body.
    fn ask(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<(u16, Vec<u8>)> {
        let Ready { s3, access_key, secret_key, .. } = &self.ready;
        let url = Url::parse(&format!("http://{s3}/{path}"))?;
        let verb = method.to_str();
        let url = sign(
            &Timestamp::now(),
            method,
            url,
            access_key,
            secret_key,
            None,
            REGION,
            SIGNED_FOR_SECS,
            query.iter().copied(),
            std::iter::empty(),
        );
        let mut stream = TcpStream::connect(s3)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        let target = format!("{}?{}", url.path(), url.query().unwrap_or_default());
        let len = body.len();
        // HTTP/1.0: the end of the connection is the end of the answer.
        let mut request =
            format!("{verb} {target} HTTP/1.0\r\nHost: {s3}\r\nContent-Length: {len}\r\n\r\n")
                .into_bytes();
        request.extend_from_slice(body);
        stream.write_all(&request)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n").context("no answer")?;
        let status = std::str::from_utf8(answer.get(9..12).context("no status")?)?.parse()?;
        let length = text(&answer[..head]).to_ascii_lowercase();
        let length = length.lines().find_map(|line| line.strip_prefix("content-length:"));
        let body = answer.split_off(head + 4);
        // A server that was killed in the middle of its answer must not pass for one that ended it.
        let whole = length.is_none_or(|length| length.trim().parse() == Ok(body.len()));
        ensure!(whole, "{verb} {path}: the answer is cut off");
        Ok((status, body))
    }
}

fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once('<').map(|(value, _)| value)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
