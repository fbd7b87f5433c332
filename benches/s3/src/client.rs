//! A compiled client: requests signed by rusty-s3, sent by hyper over kept connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};

const BUCKET: &str = "bench";
const SIGNED_FOR: Duration = Duration::from_secs(3_600);
/// Objects that are read in turn.
const OBJECTS: usize = 64;

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) per_sec: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

impl Rate {
    fn of(mut latencies: Vec<Duration>, wall: Duration) -> anyhow::Result<Self> {
        latencies.sort_unstable();
        let at = |share: usize| {
            let index = (latencies.len() * share / 100).min(latencies.len() - 1);
            latencies.get(index).map(|latency| latency.as_secs_f64() * 1e3).context("no requests")
        };
        let per_sec = latencies.len() as f64 / wall.as_secs_f64();
        Ok(Self { per_sec, p50_ms: at(50)?, p99_ms: at(99)? })
    }

    /// The median of each figure by itself.
    pub(crate) fn median(rates: &[Self]) -> Self {
        let middle = |of: fn(&Self) -> f64| {
            let mut values: Vec<f64> = rates.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        Self {
            per_sec: middle(|rate| rate.per_sec),
            p50_ms: middle(|rate| rate.p50_ms),
            p99_ms: middle(|rate| rate.p99_ms),
        }
    }
}

/// Talks to one server.
#[derive(Clone)]
pub(crate) struct Client {
    http: Http<HttpConnector, Full<Bytes>>,
    bucket: Arc<Bucket>,
    credentials: Arc<Credentials>,
}

impl Client {
    pub(crate) fn new(endpoint: &str, access_key: &str, secret: &str) -> anyhow::Result<Self> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let endpoint = format!("http://{endpoint}").parse()?;
        Ok(Self {
            http: Http::builder(TokioExecutor::new()).build(connector),
            bucket: Arc::new(Bucket::new(endpoint, UrlStyle::Path, BUCKET, "us-east-1")?),
            credentials: Arc::new(Credentials::new(access_key, secret)),
        })
    }

    /// PUTs for `time`, then GETs of what was put.
    pub(crate) async fn measure(
        &self,
        size: usize,
        at_once: usize,
        time: Duration,
    ) -> anyhow::Result<(Rate, Rate)> {
        let create = self.bucket.create_bucket(&self.credentials).sign(SIGNED_FOR);
        // A bucket that is there from an earlier round is as good.
        self.send(Method::PUT, create.to_string(), Bytes::new()).await?;
        let body: Bytes = (0..size).map(|index| (index * 7 + index / 251) as u8).collect();
        let put = self.load(Method::PUT, &body, at_once, time).await?;
        let get = self.load(Method::GET, &body, at_once, time).await?;
        Ok((put, get))
    }

    async fn load(
        &self,
        method: Method,
        body: &Bytes,
        at_once: usize,
        time: Duration,
    ) -> anyhow::Result<Rate> {
        let next = Arc::new(AtomicUsize::new(0));
        let begun = Instant::now();
        let mut tasks = Vec::new();
        for _ in 0..at_once {
            let (client, method, body) = (self.clone(), method.clone(), body.clone());
            let next = next.clone();
            tasks.push(tokio::spawn(async move {
                let mut latencies = Vec::new();
                // Every object is written at least once before it is read.
                while begun.elapsed() < time || next.load(Ordering::Relaxed) < OBJECTS {
                    let number = next.fetch_add(1, Ordering::Relaxed) % OBJECTS;
                    let key = format!("{}/{number}", body.len());
                    let asked = Instant::now();
                    client.one(&method, &key, &body).await?;
                    latencies.push(asked.elapsed());
                }
                anyhow::Ok(latencies)
            }));
        }
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.extend(task.await??);
        }
        Rate::of(latencies, begun.elapsed())
    }

    async fn one(&self, method: &Method, key: &str, body: &Bytes) -> anyhow::Result<()> {
        let credentials = Some(&*self.credentials);
        let (url, sent, expected) = if *method == Method::PUT {
            (self.bucket.put_object(credentials, key).sign(SIGNED_FOR), body.clone(), 0)
        } else {
            let url = self.bucket.get_object(credentials, key).sign(SIGNED_FOR);
            (url, Bytes::new(), body.len())
        };
        let (status, received) = self.send(method.clone(), url.to_string(), sent).await?;
        ensure!(status == 200, "{method} {key}: {status}");
        ensure!(*method == Method::PUT || received == expected, "{key}: {received} bytes");
        Ok(())
    }

    /// Status and number of bytes of the answer.
    async fn send(&self, method: Method, url: String, body: Bytes) -> anyhow::Result<(u16, usize)> {
        let request = Request::builder().method(method).uri(url).body(Full::new(body))?;
        let mut answer = self.http.request(request).await?;
        let mut received = 0;
        while let Some(frame) = answer.body_mut().frame().await {
            received += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok((answer.status().as_u16(), received))
    }
}
