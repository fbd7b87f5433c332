//! A repository's files as objects of an S3 bucket, laid out as restic does.

use std::io::Read;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use jiff::Timestamp;
use md5::{Digest, Md5};
use rustic_core::{
    BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend,
};
use rusty_s3::actions::{ListObjectsV2, S3Action};
use rusty_s3::{Bucket, Credentials, UrlStyle};
use ureq::Agent;
use ureq::http::StatusCode;
use url::Url;

use crate::settings::S3Target;

/// A signed request may be sent for so long.
const SIGNED_FOR: Duration = Duration::from_secs(600);
/// One request may take so long, its body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
/// So often a request is tried that failed on the way or at the server.
const ATTEMPTS: u32 = 5;
/// Before the second attempt; doubled before each further one.
const BACKOFF: Duration = Duration::from_millis(200);
/// Largest answer that is read: a pack is at most 4 GiB, as its length is 32 bits.
const ANSWER_BYTES_MAX: u64 = 1 << 32;

/// Nobody may shorten it, nor delete the version before, whoever has the keys.
const LOCK_MODE: &str = "COMPLIANCE";
/// Times in S3's headers: ISO 8601 in UTC.
const LOCK_TIME: &str = "%Y-%m-%dT%H:%M:%SZ";

/// Files in a bucket.
pub(super) struct S3 {
    agent: Agent,
    bucket: Bucket,
    credentials: Credentials,
    prefix: String,
    lock: Option<Duration>,
    location: String,
}

impl S3 {
    pub(super) fn new(target: &S3Target) -> RusticResult<S3> {
        let endpoint: Url = target.endpoint.parse().map_err(|err| {
            RusticError::with_source(ErrorKind::InvalidInput, "the endpoint is no address", err)
        })?;
        let (name, region) = (target.bucket.clone(), target.region.clone());
        let bucket = Bucket::new(endpoint, UrlStyle::Path, name, region).map_err(|err| {
            RusticError::with_source(ErrorKind::InvalidInput, "the endpoint cannot be used", err)
        })?;
        let config = Agent::config_builder()
            .timeout_global(Some(REQUEST_TIMEOUT))
            .http_status_as_error(false)
            .build();
        let prefix = if target.prefix.is_empty() {
            String::new()
        } else {
            format!("{}/", target.prefix.trim_matches('/'))
        };
        Ok(S3 {
            agent: config.into(),
            bucket,
            credentials: Credentials::new(&target.access_key, &target.secret_key),
            prefix,
            lock: target.lock_days.map(|days| Duration::from_secs(u64::from(days) * 86_400)),
            location: format!("s3:{}/{}/{}", target.endpoint, target.bucket, target.prefix),
        })
    }

    fn key(&self, tpe: FileType, id: &Id) -> String {
        let (prefix, hex) = (&self.prefix, id.to_hex());
        let hex = hex.as_str();
        match tpe {
            FileType::Config => format!("{prefix}config"),
            FileType::Pack => format!("{prefix}data/{}/{hex}", hex.get(..2).unwrap_or_default()),
            _ => format!("{prefix}{}/{hex}", tpe.dirname()),
        }
    }

    /// Sends until there is an answer that trying again would not change.
    fn send(
        &self,
        what: &str,
        mut send: impl FnMut() -> Result<(StatusCode, Vec<u8>), ureq::Error>,
    ) -> RusticResult<(StatusCode, Vec<u8>)> {
        let mut wait = BACKOFF;
        for attempt in 1..=ATTEMPTS {
            let failed = match send() {
                Ok((status, body)) if status.is_server_error() => {
                    format!("{status}: {}", excerpt(&body))
                }
                Ok(answer) => return Ok(answer),
                Err(err) => err.to_string(),
            };
            if attempt == ATTEMPTS {
                return Err(fault(format!("{what} at {}: {failed}", self.location)));
            }
            std::thread::sleep(wait);
            wait *= 2;
        }
        Err(fault(format!("{what} at {}", self.location)))
    }

    fn get(&self, key: &str, range: Option<(u32, u32)>) -> RusticResult<Bytes> {
        let url = self.bucket.get_object(Some(&self.credentials), key).sign(SIGNED_FOR);
        let (status, body) = self.send(&format!("reading {key}"), || {
            let mut request = self.agent.get(url.as_str());
            if let Some((offset, length)) = range {
                let last = (u64::from(offset) + u64::from(length)).saturating_sub(1);
                request = request.header("range", format!("bytes={offset}-{last}"));
            }
            body(request.call()?)
        })?;
        self.expect(status.is_success(), "reading", key, status, &body)?;
        if range.is_some_and(|(_, length)| body.len() != length as usize) {
            return Err(fault(format!("{key} at {} is too short", self.location)));
        }
        Ok(body.into())
    }

    fn expect(
        &self,
        fine: bool,
        what: &str,
        key: &str,
        status: StatusCode,
        body: &[u8],
    ) -> RusticResult<()> {
        if fine {
            return Ok(());
        }
        Err(fault(format!("{what} {key} at {}: {status}: {}", self.location, excerpt(body))))
    }
}

fn body(
    mut answer: ureq::http::Response<ureq::Body>,
) -> Result<(StatusCode, Vec<u8>), ureq::Error> {
    let mut bytes = Vec::new();
    answer.body_mut().as_reader().take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok((answer.status(), bytes))
}

fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(body.get(..300).unwrap_or(body)).into_owned()
}

fn fault(text: String) -> Box<RusticError> {
    RusticError::new(ErrorKind::Backend, text)
}

impl ReadBackend for S3 {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn list_with_size(&self, tpe: FileType) -> RusticResult<Vec<(Id, u32)>> {
        let prefix = match tpe {
            FileType::Config => format!("{}config", self.prefix),
            FileType::Pack => format!("{}data/", self.prefix),
            _ => format!("{}{}/", self.prefix, tpe.dirname()),
        };
        let mut files = Vec::new();
        let mut token = None;
        loop {
            let mut list = self.bucket.list_objects_v2(Some(&self.credentials));
            list.with_prefix(prefix.clone());
            if let Some(token) = token.take() {
                list.with_continuation_token(token);
            }
            let url = list.sign(SIGNED_FOR);
            let (status, body) =
                self.send("listing", || body(self.agent.get(url.as_str()).call()?))?;
            self.expect(status.is_success(), "listing", &prefix, status, &body)?;
            let page = ListObjectsV2::parse_response(&String::from_utf8_lossy(&body))
                .map_err(|err| fault(format!("a list at {}: {err}", self.location)))?;
            for object in page.contents {
                let name = object.key.rsplit('/').next().unwrap_or_default();
                let size = u32::try_from(object.size.unwrap_or(0)).unwrap_or(u32::MAX);
                if tpe == FileType::Config {
                    files.extend((object.key == prefix).then(|| (Id::default(), size)));
                } else if let Ok(id) = name.parse() {
                    files.push((id, size));
                }
            }
            token = page.next_continuation_token;
            if token.is_none() {
                return Ok(files);
            }
        }
    }

    fn read_full(&self, tpe: FileType, id: &Id) -> RusticResult<Bytes> {
        self.get(&self.key(tpe, id), None)
    }

    fn read_partial(
        &self,
        tpe: FileType,
        id: &Id,
        _cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        self.get(&self.key(tpe, id), Some((offset, length)))
    }

    fn warmup_path(&self, tpe: FileType, id: &Id) -> String {
        self.key(tpe, id)
    }
}

impl WriteBackend for S3 {
    fn write_bytes(
        &self,
        tpe: FileType,
        id: &Id,
        _cacheable: bool,
        content: BytesList,
    ) -> RusticResult<()> {
        let key = self.key(tpe, id);
        let bytes = content.into_vec().concat();
        let mut put = self.bucket.put_object(Some(&self.credentials), &key);
        let mut headers = Vec::new();
        if let Some(lock) = self.lock {
            let until = Timestamp::now() + lock;
            headers = vec![
                ("content-md5", BASE64.encode(Md5::digest(&bytes))),
                ("x-amz-object-lock-mode", LOCK_MODE.to_owned()),
                ("x-amz-object-lock-retain-until-date", until.strftime(LOCK_TIME).to_string()),
            ];
        }
        for (name, value) in &headers {
            put.headers_mut().insert(*name, value.clone());
        }
        let url = put.sign(SIGNED_FOR);
        let (status, answer) = self.send(&format!("writing {key}"), || {
            let request = self.agent.put(url.as_str());
            let request =
                headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
            body(request.send(&bytes[..])?)
        })?;
        self.expect(status.is_success(), "writing", &key, status, &answer)
    }

    fn remove(&self, tpe: FileType, id: &Id, _cacheable: bool) -> RusticResult<()> {
        let key = self.key(tpe, id);
        let url = self.bucket.delete_object(Some(&self.credentials), &key).sign(SIGNED_FOR);
        let (status, answer) = self
            .send(&format!("removing {key}"), || body(self.agent.delete(url.as_str()).call()?))?;
        let fine = status.is_success() || status == StatusCode::NOT_FOUND;
        self.expect(fine, "removing", &key, status, &answer)
    }
}
