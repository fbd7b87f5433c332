//! Ordinary S3 clients, pointed at a server: aws, s3cmd, and the programs of `tests/clients`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::server::Server;
use crate::stdout;

/// Two more users than the first, and a base domain, as the programs expect them.
pub const CONFIG: &str = r#"
[s3]
base_domain = "s3.localhost"

[[users]]
name = "reader"
access_key = "readerKEY"
secret_key = "reader-secret-0123456789"
buckets = [{ bucket = "shared", access = ["read"] }]

[[users]]
name = "writer"
access_key = "writerKEY"
secret_key = "writer-secret-0123456789"
buckets = [{ bucket = "shared", access = ["write"] }]
"#;

/// A server with the users and the base domain that the client programs expect.
///
/// # Errors
/// As [`Server::start`].
pub fn start(folder: &Path) -> anyhow::Result<Server> {
    let config = folder.join("backlot.toml");
    std::fs::write(&config, CONFIG)?;
    let config = config.to_str().expect("the folder's name is UTF-8");
    Server::start_with(folder, &["--config", config], &[])
}

/// A program of the pinned environment that `tests/setup.sh` makes.
///
/// # Errors
/// When the environment cannot be made (the first time it needs the Python package index).
pub fn installed(program: &str) -> anyhow::Result<Command> {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let environment = stdout(&mut Command::new(tests.join("setup.sh")))?;
    let mut command = Command::new(Path::new(&environment).join("bin").join(program));
    // Certificates of the machine are of no use on loopback, and rclone and aws fail on some.
    command.env_remove("AWS_CA_BUNDLE").env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

/// A program of `tests/clients`, to be run against a server.
///
/// # Errors
/// As [`installed`].
pub fn python(server: &Server, program: &str) -> anyhow::Result<Command> {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    let mut command = installed("python")?;
    command.arg(programs.join(program)).arg(server.folder.join("ready.json"));
    Ok(command)
}

/// The AWS command line, with 5 MiB parts.
///
/// # Errors
/// As [`installed`].
pub fn aws(server: &Server) -> anyhow::Result<Command> {
    let config = server.folder.join("aws-config");
    // Without it this client presigns by the scheme of 2006, which is refused.
    let signature = "signature_version = s3v4";
    let parts = "multipart_threshold = 5MB\n  multipart_chunksize = 5MB";
    let text = format!("[default]\nregion = us-east-1\ns3 =\n  {signature}\n  {parts}\n");
    std::fs::write(&config, text)?;
    let mut command = installed("aws")?;
    command
        .env("AWS_CONFIG_FILE", config)
        .env("AWS_ACCESS_KEY_ID", &server.ready.access_key)
        .env("AWS_SECRET_ACCESS_KEY", &server.ready.secret_key)
        .arg("--endpoint-url")
        .arg(format!("http://{}", server.ready.s3));
    Ok(command)
}

/// s3cmd, with 5 MiB parts.
///
/// # Errors
/// As [`installed`].
pub fn s3cmd(server: &Server) -> anyhow::Result<Command> {
    let mut command = installed("s3cmd")?;
    command
        .args(["--config", "/dev/null", "--no-ssl", "--no-progress", "--multipart-chunk-size-mb=5"])
        .arg(format!("--access_key={}", server.ready.access_key))
        .arg(format!("--secret_key={}", server.ready.secret_key))
        .arg(format!("--host={}", server.ready.s3))
        .arg(format!("--host-bucket={}", server.ready.s3));
    Ok(command)
}
