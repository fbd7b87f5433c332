//! Logs go to standard error, so that data on standard output stays data.

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;
use crate::fault::Fault;

/// Starts logging. `directives` are those of `RUST_LOG`: `info`, or `warn,backlot_runtime=debug`.
pub(crate) fn start(directives: &str, format: LogFormat) -> Result<(), Fault> {
    // `s3s` calls every refused request an error of the server; the audit log and the store's own
    // errors say what an operator needs. Directives that name it win over this one.
    let filter =
        EnvFilter::try_new(format!("s3s=off,rustic_core=warn,{directives}")).map_err(|err| {
            Fault::new(
                "E0103",
                format!("log.level is {directives:?}: {err}"),
                "use error, warn, info, debug or trace",
            )
        })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|err| {
        Fault::new("E0901", format!("logging could not be started: {err}"), "report this")
    })
}
