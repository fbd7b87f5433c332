//! Where components become machine code: a child process with limits of its own.
//!
//! A component is untrusted input for a large program, the compiler. The child gets the component on
//! standard input and gives machine code on standard output; it has no environment, no folder to
//! write to, and a bound on its memory, its processor time and its life. What it does not survive is
//! the reason why a version is refused.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::compile::{COMPONENT_MAX_BYTES, CompileError};
use crate::engine::{Engine, EngineKind};

/// Largest machine code of one component, in bytes: up to ten times the size of the Wasm.
pub(crate) const ARTIFACT_MAX_BYTES: u64 = 2 << 30;

/// How much longer than its processor time a compilation may take: cores are busy with other work.
const WALL_PER_CPU: u32 = 3;

/// What is kept of what the child says about a component it does not take.
const REASON_MAX_BYTES: u64 = 16 << 10;

/// How a process says that it gets no memory: Rust's allocator, Rust's streams, the system.
const STARVED: [&str; 3] = ["memory allocation of", "out of memory", "Cannot allocate memory"];

/// Files the child may have open: its three streams, and what the system opens for a moment.
const FILES_MAX: u64 = 16;

/// Niceness of the child: below everything that answers.
const NICENESS: i32 = 10;

/// MiB in bytes.
const MIB: u64 = 1 << 20;

/// What one compilation may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Processor time of all its threads together; 120 s by default. A JavaScript guest with its
    /// engine takes about 10.
    pub cpu_secs: u64,
    /// Address space; 4,096 MiB by default.
    pub memory_megabytes: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self { cpu_secs: 120, memory_megabytes: 4_096 }
    }
}

impl CompileLimits {
    fn wall(&self) -> Duration {
        Duration::from_secs(self.cpu_secs).saturating_mul(WALL_PER_CPU)
    }
}

/// How components are compiled.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// In this process, without limits: for components that one trusts, such as those of tests.
    InProcess,
    /// By a program that calls [`compiler_process`], in a process of its own. It gets the limits as
    /// two more arguments, and the name of the engine as a third.
    Child {
        /// The program.
        program: PathBuf,
        /// What makes it call that.
        arguments: Vec<OsString>,
        /// What it may use.
        limits: CompileLimits,
    },
}

impl Compiler {
    /// Machine code of a component.
    ///
    /// # Errors
    /// [`CompileError`]: not a component, or one that takes more than it may.
    pub(crate) async fn compile(
        &self,
        engine: &Engine,
        kind: EngineKind,
        component: Bytes,
    ) -> Result<Vec<u8>, CompileError> {
        let Self::Child { program, arguments, limits } = self else {
            let engine = engine.clone();
            let compiled = tokio::task::spawn_blocking(move || {
                engine.wasmtime().precompile_component(&component)
            });
            let compiled = compiled.await.map_err(|_| CompileError::Abandoned)?;
            return compiled.map_err(|err| CompileError::Invalid(format!("{err:#}")));
        };
        let failed = |doing| move |source| CompileError::Child { doing, source };
        let mut child = Command::new(program)
            .args(arguments)
            .args([limits.cpu_secs, limits.memory_megabytes].map(|limit| limit.to_string()))
            .arg(kind.name())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed("start"))?;
        match timeout(limits.wall(), talk(&mut child, &component)).await {
            Ok(talked) => {
                let Talked { code, reason } = talked.map_err(failed("talk to"))?;
                let status = child.wait().await.map_err(failed("wait for"))?;
                if status.success() {
                    return Ok(code);
                }
                Err(refusal(status, &reason, *limits))
            }
            Err(_) => {
                child.kill().await.map_err(failed("end"))?;
                let secs = limits.wall().as_secs();
                Err(CompileError::OverLimit { limit: format!("{secs} s in all") })
            }
        }
    }
}

/// What the child gave.
struct Talked {
    code: Vec<u8>,
    reason: String,
}

async fn talk(child: &mut Child, component: &[u8]) -> std::io::Result<Talked> {
    let (Some(mut stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(std::io::Error::other("it has no streams"));
    };
    let give = async move {
        // A child that ends early says why on the other streams.
        match stdin.write_all(component).await {
            Err(err) if err.kind() != std::io::ErrorKind::BrokenPipe => Err(err),
            _ => Ok(()),
        }
        // Dropped here: the end of the component.
    };
    let ((), code, reason) =
        tokio::try_join!(give, read(stdout, ARTIFACT_MAX_BYTES), read(stderr, REASON_MAX_BYTES))?;
    Ok(Talked { code, reason: String::from_utf8_lossy(&reason).trim().to_owned() })
}

/// Reads to the end, and keeps so much of it.
async fn read(stream: impl AsyncRead + Unpin, most: u64) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let mut stream = stream.take(most);
    stream.read_to_end(&mut kept).await?;
    tokio::io::copy(&mut stream.into_inner(), &mut tokio::io::sink()).await?;
    Ok(kept)
}

/// Why the child did not give machine code.
fn refusal(status: std::process::ExitStatus, reason: &str, limits: CompileLimits) -> CompileError {
    use std::os::unix::process::ExitStatusExt;
    let CompileLimits { cpu_secs, memory_megabytes } = limits;
    let (xcpu, kill) =
        (rustix::process::Signal::XCPU.as_raw(), rustix::process::Signal::KILL.as_raw());
    if STARVED.iter().any(|words| reason.contains(words)) {
        return CompileError::OverLimit { limit: format!("{memory_megabytes} MiB of memory") };
    }
    match status.signal() {
        Some(signal) if signal == xcpu || signal == kill => {
            CompileError::OverLimit { limit: format!("{cpu_secs} s of processor time") }
        }
        Some(signal) => CompileError::Invalid(format!("the compiler died of signal {signal}")),
        None => CompileError::Invalid(reason.to_owned()),
    }
}

/// The child's whole life: limits itself, reads a component from standard input, and writes its
/// machine code to standard output.
///
/// # Errors
/// Why there is no machine code, for standard error.
pub fn compiler_process(limits: CompileLimits, kind: EngineKind) -> Result<(), String> {
    restrict(limits).map_err(|err| format!("the compiler cannot limit itself: {err}"))?;
    let mut component = Vec::new();
    std::io::stdin()
        .lock()
        .take(COMPONENT_MAX_BYTES as u64 + 1)
        .read_to_end(&mut component)
        .map_err(|err| format!("no component on standard input: {err}"))?;
    if COMPONENT_MAX_BYTES < component.len() {
        return Err(CompileError::TooLarge { bytes: component.len() }.to_string());
    }
    let engine = Engine::compiling(kind).map_err(|err| format!("{err:#}"))?;
    let code = engine.precompile_component(&component).map_err(|err| format!("{err:#}"))?;
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(&code).and_then(|()| stdout.flush());
    written.map_err(|err| format!("standard output: {err}"))
}

/// From here on the process has these limits; it can never raise them again.
fn restrict(limits: CompileLimits) -> Result<(), rustix::io::Errno> {
    let CompileLimits { cpu_secs, memory_megabytes } = limits;
    for (resource, most) in [
        (Resource::As, memory_megabytes.saturating_mul(MIB)),
        (Resource::Cpu, cpu_secs),
        // It writes to no file.
        (Resource::Fsize, 0),
        (Resource::Nofile, FILES_MAX),
        (Resource::Core, 0),
    ] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    rustix::process::setpriority_process(None, NICENESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_childs_machine_code_is_the_hosts() {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let hash = |engine: &wasmtime::Engine| {
            let mut hasher = DefaultHasher::new();
            engine.precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        for (kind, host) in [
            (EngineKind::Durable, Engine::durable(1).unwrap()),
            (EngineKind::Http, Engine::http(1).unwrap()),
        ] {
            assert_eq!(hash(host.wasmtime()), hash(&Engine::compiling(kind).unwrap()));
            assert_eq!(kind.name().parse(), Ok(kind));
        }
    }

    /// A child that runs this script of the shell.
    async fn compiled_by(script: &str) -> Result<Vec<u8>, CompileError> {
        let compiler = Compiler::Child {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            limits: CompileLimits { cpu_secs: 1, memory_megabytes: 64 },
        };
        let engine = Engine::durable(1).unwrap();
        let component = Bytes::from_static(b"component");
        compiler.compile(&engine, EngineKind::Durable, component).await
    }

    #[tokio::test]
    async fn what_the_child_says_is_the_answer() {
        assert_eq!(compiled_by("cat").await.unwrap(), b"component");
        let refused = compiled_by("echo 'unknown section' >&2; exit 1").await.unwrap_err();
        assert!(refused.to_string().contains("unknown section"), "{refused}");
        let refused = compiled_by("kill -XCPU $$").await.unwrap_err();
        assert!(refused.to_string().contains("more than 1 s of processor time"), "{refused}");
        let refused =
            compiled_by("echo 'memory allocation of 9 bytes failed' >&2; kill -ABRT $$").await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("more than 64 MiB of memory"), "{refused}");
        let refused = compiled_by("kill -SEGV $$").await.unwrap_err();
        assert!(refused.to_string().contains("died of signal 11"), "{refused}");
    }

    #[tokio::test]
    async fn a_child_sees_no_environment() {
        let seen = compiled_by("env").await.unwrap();
        let seen = String::from_utf8(seen).unwrap();
        // What the shell itself sets.
        assert!(seen.lines().all(|line| line.starts_with("PWD=")), "{seen}");
    }

    #[tokio::test]
    async fn a_child_that_does_not_end_is_ended() {
        let refused = compiled_by("exec sleep 1000").await.unwrap_err();
        assert!(refused.to_string().contains("more than 3 s in all"), "{refused}");
    }
}
