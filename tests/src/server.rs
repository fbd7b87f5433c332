//! One `backlot serve`, with its own folder and ports.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::{backlot, guest_cache, run, wait_for};

/// The longest a start may take on a loaded machine.
const START_MAX: Duration = Duration::from_secs(120);
/// The longest a clean stop may take.
const STOP_MAX: Duration = Duration::from_secs(60);

/// States of invocations that nothing more happens to.
const ENDED: [&str; 3] = ["succeeded", "failed", "cancelled"];

/// What the server writes when it is ready.
#[derive(Clone, Debug, Deserialize)]
pub struct Ready {
    /// Address of the S3 front door.
    pub s3: String,
    /// Address of pages and API.
    pub http: String,
    /// Address of HTTP functions.
    pub functions: String,
    /// The first user's access key.
    pub access_key: String,
    /// The first user's secret key.
    pub secret_key: String,
    /// What changes over the API need.
    pub admin_token: String,
}

/// A running server. Killed when dropped.
pub struct Server {
    child: Child,
    /// Where it listens and who may sign.
    pub ready: Ready,
    /// The folder of its state, log and client configurations.
    pub folder: PathBuf,
}

impl Server {
    /// Start in `folder` (which may hold the state of an earlier one) and wait until ready.
    ///
    /// # Errors
    /// When the server ends or is not ready in time: the error carries its log.
    pub fn start(folder: &Path) -> anyhow::Result<Self> {
        Self::start_with(folder, &[], &[])
    }

    /// [`Server::start`] with more arguments and environment variables.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_with(
        folder: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let ready_file = folder.join("ready.json");
        if ready_file.is_file() {
            fs::remove_file(&ready_file)?;
        }
        let log = File::options().create(true).append(true).open(folder.join("server.log"))?;
        let mut child = Command::new(backlot())
            .args(["serve", "--s3", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .args(["--functions", "127.0.0.1:0", "--data"])
            .arg(folder.join("data"))
            .arg("--ready-file")
            .arg(&ready_file)
            .args(arguments)
            .env("BACKLOT_CACHE", guest_cache())
            .envs(environment.iter().copied())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let ready = wait_for("the server's start", START_MAX, || {
            if let Some(status) = child.try_wait()? {
                return Err(anyhow!("ended with {status}"));
            }
            match fs::read(&ready_file) {
                // A file seen before its end is written does not parse yet.
                Ok(text) => Ok(serde_json::from_slice(&text).ok()),
                Err(_) => Ok(None),
            }
        });
        let ready = match ready {
            Ok(ready) => ready,
            Err(error) => {
                child.kill().and_then(|()| child.wait()).context("ending it")?;
                let log = fs::read_to_string(folder.join("server.log"))?;
                return Err(error.context(log));
            }
        };
        Ok(Self { child, ready, folder: folder.to_owned() })
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// kill -9, at whatever it was doing.
    ///
    /// # Errors
    /// When the process cannot be ended.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// How the process ended, if it did by itself.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Send a signal, such as `HUP`.
    ///
    /// # Errors
    /// When there is no such process or signal.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        run(Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()))?;
        Ok(())
    }

    /// SIGTERM, then wait for the end, which must be a clean one.
    ///
    /// # Errors
    /// When it does not end in time or not with success.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.signal("TERM")?;
        let child = &mut self.child;
        let status = wait_for("the server's end", STOP_MAX, || Ok(child.try_wait()?))?;
        ensure!(status.success(), "ended with {status}");
        Ok(())
    }

    /// Everything the server printed so far.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.folder.join("server.log"))?)
    }

    /// Copy a file to an object with rclone.
    ///
    /// # Errors
    /// When rclone fails.
    pub fn upload(&self, file: &Path, bucket: &str, key: &str) -> anyhow::Result<()> {
        run(self.rclone().arg("copyto").arg(file).arg(format!("backlot:{bucket}/{key}")))?;
        Ok(())
    }

    /// rclone with a remote `backlot:` that is this server.
    pub fn rclone(&self) -> Command {
        let mut rclone = Command::new("rclone");
        rclone
            .env_remove("AWS_CA_BUNDLE")
            .env("RCLONE_CONFIG", self.folder.join("rclone.conf"))
            .env("RCLONE_CONFIG_BACKLOT_TYPE", "s3")
            .env("RCLONE_CONFIG_BACKLOT_PROVIDER", "Other")
            .env("RCLONE_CONFIG_BACKLOT_ENDPOINT", format!("http://{}", self.ready.s3))
            .env("RCLONE_CONFIG_BACKLOT_ACCESS_KEY_ID", &self.ready.access_key)
            .env("RCLONE_CONFIG_BACKLOT_SECRET_ACCESS_KEY", &self.ready.secret_key)
            // Without it a missing configuration file is a notice on every call.
            .arg("--quiet");
        rclone
    }

    /// GET from the pages and API; status and body.
    ///
    /// # Errors
    /// When the connection fails or the answer is not HTTP.
    pub fn get(&self, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        let mut stream = TcpStream::connect(&self.ready.http)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        // HTTP/1.0: no chunks and the connection's end is the body's.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.ready.http)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n").context("no head")?;
        let status = std::str::from_utf8(answer.get(9..12).context("no status")?)?.parse()?;
        Ok((status, answer.split_off(head + 4)))
    }

    /// A request with the server's first token; status and JSON.
    ///
    /// # Errors
    /// When the connection fails or the answer is not JSON.
    pub fn change(&self, method: &str, path: &str, body: &str) -> anyhow::Result<(u16, Value)> {
        let mut stream = TcpStream::connect(&self.ready.http)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.ready.http,
            self.ready.admin_token,
            body.len()
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n").context("no head")?;
        let status = std::str::from_utf8(answer.get(9..12).context("no status")?)?.parse()?;
        Ok((status, serde_json::from_slice(answer.get(head + 4..).context("no body")?)?))
    }

    /// The command line, against this server, with its first token.
    pub fn backlot(&self, verb: &str) -> Command {
        let mut command = Command::new(backlot());
        command.args(verb.split(' ')).args(["--http", &self.ready.http]);
        command.env("BACKLOT_TOKEN", &self.ready.admin_token).current_dir(&self.folder);
        command
    }

    /// The JSON answer of an API path.
    ///
    /// # Errors
    /// When the answer is not 200 or not JSON.
    pub fn json(&self, path: &str) -> anyhow::Result<Value> {
        let (status, body) = self.get(path)?;
        ensure!(status == 200, "{path}: {status} {}", String::from_utf8_lossy(&body));
        Ok(serde_json::from_slice(&body)?)
    }

    /// Every invocation there is a record of, the newest first.
    ///
    /// # Errors
    /// As [`Server::json`].
    pub fn invocations(&self) -> anyhow::Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut path = "/api/v1/invocations?limit=500".to_owned();
        loop {
            let page = self.json(&path)?;
            all.extend(page["invocations"].as_array().context("a list")?.iter().cloned());
            let Some(next) = page["next"].as_str() else { return Ok(all) };
            path = format!("/api/v1/invocations?limit=500&before={next}");
        }
    }

    /// Every invocation once none is queued, running or parked; None before.
    ///
    /// # Errors
    /// As [`Server::json`].
    pub fn quiet(&self) -> anyhow::Result<Option<Vec<Value>>> {
        let all = self.invocations()?;
        let ended = |run: &Value| run["state"].as_str().is_some_and(|state| ENDED.contains(&state));
        Ok(all.iter().all(ended).then_some(all))
    }

    /// Wait until the upload under this key is ready or failed; its entry of the content list.
    ///
    /// # Errors
    /// When that is not within `limit`.
    pub fn settled(&self, key: &str, limit: Duration) -> anyhow::Result<Value> {
        wait_for(&format!("the encoding of {key}"), limit, || {
            let list = self.json("/api/v1/content")?;
            let jobs = list["content"].as_array().context("a list")?;
            let job = jobs.iter().find(|job| job["source"]["key"] == key);
            Ok(job.filter(|job| job["state"] == "ready" || job["state"] == "failed").cloned())
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended is as good.
        if self.child.kill().is_ok() && self.child.wait().is_err() {
            eprintln!("the server could not be waited for");
        }
    }
}
