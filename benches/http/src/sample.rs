//! One row: wrk against a server, and what the server used meanwhile.

use std::fs;
use std::process::Command;

use anyhow::Context;
use backlot_tests::stdout;

/// How hard wrk asks.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) secs: u64,
    pub(crate) connections: u64,
}

/// Before the clock runs: instances, pages and branch predictors are warm then.
const WARM_UP_SECS: u64 = 1;

/// Ask a server that is process `pid`, and print what that gave.
pub(crate) fn measure(
    who: &str,
    pid: u32,
    url: &str,
    host: Option<&str>,
    load: Load,
) -> anyhow::Result<()> {
    wrk(url, host, Load { secs: WARM_UP_SECS, ..load })?;
    let before = cpu_ticks(pid)?;
    let report = wrk(url, host, load)?;
    let ticks = cpu_ticks(pid)? - before;
    if report.contains("Non-2xx") || report.contains("Socket errors") {
        anyhow::bail!("{who} failed requests:\n{report}");
    }
    let requests: f64 = field(&report, "requests in", 0).context("the number of requests")?;
    let rate: f64 = value_after(&report, "Requests/sec:").context("the rate")?.parse()?;
    let p50 = micros(value_after(&report, "50%").context("p50")?)?;
    let p99 = micros(value_after(&report, "99%").context("p99")?)?;
    // Linux counts in hundredths of a second (proc(5), sysconf(_SC_CLK_TCK)).
    let cpu_us = ticks as f64 * 10_000.0 / requests;
    let rss = resident_mib(pid)?;
    println!("{who:32} {rate:8.0} {p50:8.0} {p99:8.0} {cpu_us:11.1} {rss:8.1}");
    Ok(())
}

fn wrk(url: &str, host: Option<&str>, load: Load) -> anyhow::Result<String> {
    let mut wrk = Command::new("wrk");
    wrk.args(["--latency", "--threads", "1"]);
    wrk.arg("--connections").arg(load.connections.to_string());
    wrk.arg("--duration").arg(format!("{}s", load.secs));
    if let Some(host) = host {
        wrk.arg("--header").arg(format!("Host: {host}"));
    }
    stdout(wrk.arg(url)).context("wrk (Debian: apt-get install wrk)")
}

/// The number before a text.
fn field(report: &str, text: &str, at: usize) -> Option<f64> {
    let line = report.lines().find(|line| line.contains(text))?;
    line.split_whitespace().nth(at)?.parse().ok()
}

fn value_after<'a>(report: &'a str, label: &str) -> Option<&'a str> {
    let mut words = report.split_whitespace();
    words.find(|word| *word == label)?;
    words.next()
}

fn micros(text: &str) -> anyhow::Result<f64> {
    let (number, factor) = match (text.strip_suffix("us"), text.strip_suffix("ms")) {
        (Some(number), _) => (number, 1.0),
        (_, Some(number)) => (number, 1e3),
        _ => (text.trim_end_matches('s'), 1e6),
    };
    Ok(number.parse::<f64>()? * factor)
}

/// User and system time of a process, with that of its threads that have ended.
fn cpu_ticks(pid: u32) -> anyhow::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may have spaces; what is after its bracket has none.
    let rest = stat.rsplit_once(')').context("a name in brackets")?.1;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next().context("utime")?.parse()?;
    let system: u64 = fields.next().context("stime")?.parse()?;
    Ok(user + system)
}

fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}
