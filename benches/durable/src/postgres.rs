//! The same work in PostgreSQL, in a cluster of its own that is gone afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// One job: taken, its effect recorded, marked done, in one commit.
const JOB: &str = "\
BEGIN;
WITH job AS (SELECT id FROM jobs WHERE state = 0 ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1),
     effect AS (INSERT INTO effects SELECT id, 'publish', '{}' FROM job)
UPDATE jobs SET state = 3 FROM job WHERE jobs.id = job.id;
COMMIT;
";
const SECONDS: u32 = 8;

/// Jobs a second; none where PostgreSQL is not installed.
pub(crate) fn rate(clients: usize) -> anyhow::Result<Option<f64>> {
    let Some(programs) = programs() else { return Ok(None) };
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let as_user = AsUser::new(folder.path())?;
    as_user.run(&programs.join("initdb"), &["-D", text(&data)?, "-A", "trust"])?;
    let options = format!("-k {} -c listen_addresses=''", text(folder.path())?);
    let log = folder.path().join("log");
    let control = programs.join("pg_ctl");
    as_user
        .run(&control, &["-D", text(&data)?, "-o", &options, "-l", text(&log)?, "-w", "start"])?;
    let measured = measure(&as_user, &programs, folder.path(), clients);
    as_user.run(&control, &["-D", text(&data)?, "-m", "immediate", "stop"])?;
    measured.map(Some)
}

fn measure(
    as_user: &AsUser,
    programs: &Path,
    socket: &Path,
    clients: usize,
) -> anyhow::Result<f64> {
    let script = socket.join("job.sql");
    fs::write(&script, JOB)?;
    let setup = "CREATE TABLE jobs (id bigserial PRIMARY KEY, state int NOT NULL, event text);
        CREATE INDEX ON jobs (id) WHERE state = 0;
        CREATE TABLE effects (job bigint, call text, answer text);
        INSERT INTO jobs (state, event) SELECT 0, 'publish told' FROM generate_series(1, 400000);
        ANALYZE jobs;";
    let host = text(socket)?;
    as_user.run(&programs.join("psql"), &["-q", "-h", host, "-d", "postgres", "-c", setup])?;
    let (clients, seconds) = (clients.to_string(), SECONDS.to_string());
    let said = as_user.run(
        &programs.join("pgbench"),
        &[
            "-n",
            "-h",
            host,
            "-c",
            &clients,
            "-j",
            "2",
            "-T",
            &seconds,
            "-f",
            text(&script)?,
            "postgres",
        ],
    )?;
    let line = said.lines().find_map(|line| line.strip_prefix("tps = ")).context("no tps")?;
    Ok(line.split_whitespace().next().context("no figure")?.parse()?)
}

/// PostgreSQL refuses to run as root: then it runs as `postgres`, whom its package made.
struct AsUser {
    root: bool,
}

impl AsUser {
    fn new(folder: &Path) -> anyhow::Result<Self> {
        let root = rustix::process::getuid().is_root();
        if root {
            let status = Command::new("chown").args(["-R", "postgres"]).arg(folder).status()?;
            ensure!(status.success(), "the folder cannot be given to postgres");
        }
        Ok(Self { root })
    }

    fn run(&self, program: &Path, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = if self.root {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
            command.arg(program);
            command
        } else {
            Command::new(program)
        };
        command.args(arguments).current_dir("/").stdin(Stdio::null());
        // pg_ctl's server keeps what it inherits open.
        let output = if program.ends_with("pg_ctl") {
            command.stdout(Stdio::null()).stderr(Stdio::null()).output()?
        } else {
            command.output()?
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{command:?} ended with {}\n{said}\n{errors}",
            output.status
        );
        Ok(said)
    }
}

/// Debian keeps them out of the path, by version.
fn programs() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").is_file())
        .collect();
    found.sort();
    found.pop()
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path of text")
}
