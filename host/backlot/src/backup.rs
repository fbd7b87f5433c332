//! `backlot backup`: how backups stand, what is in them, and what is done with them.

use std::path::Path;
use std::time::Duration;

use backlot_backup::{BackupError, Restore};
use http::Method;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::{Timestamp, Unit};
use serde_json::{Value, json};

use crate::answers::{list, moment, number, printable, text};
use crate::cli::{BackupArgs, BackupVerb, ConfigFlags};
use crate::client::{self, Client, encoded};
use crate::fault::Fault;
use crate::{Done, config, out};

/// Longest wait for what goes through a whole repository.
const PATIENCE: Duration = Duration::from_secs(24 * 3_600);
/// How often progress is asked for.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// Objects of a page of a list.
const PAGE: usize = 1_000;

pub(crate) fn run(args: BackupArgs) -> Result<Done, Fault> {
    let as_json = args.remote.server.json;
    if let BackupVerb::Restore { snapshot, at, bucket, prefix, to_folder: Some(folder), .. } =
        &args.verb
    {
        let restore = Restore {
            snapshot: snapshot.clone(),
            at: *at,
            bucket: bucket.clone(),
            prefix: prefix.clone(),
            ..Restore::default()
        };
        return to_folder(&args, &restore, folder);
    }
    let client = Client::new(&args.remote)?.patient(PATIENCE);
    let wanted = args.repository.as_deref();
    client::block_on(async {
        match args.verb {
            BackupVerb::Status => status(&client, wanted, as_json).await,
            BackupVerb::Now { bucket } => {
                each(&client, wanted, "now", &json!({ "bucket": bucket }), as_json).await
            }
            BackupVerb::Snapshots => {
                let name = one(&client, wanted).await?;
                let answer = read(&client, &format!("{}/snapshots", path(&name))).await?;
                let snapshots = list(&answer, "snapshots");
                if as_json {
                    return lines(snapshots);
                }
                let mut table = format!("{:<16} {:<19}  {:>14}\n", "ID", "TAKEN", "BYTES ADDED");
                table.extend(snapshots.iter().map(|one| {
                    let id = text(one, "/id").get(..16).unwrap_or_default();
                    let added = number(one, "/bytes_added");
                    format!("{id:<16} {:<19}  {added:>14}\n", moment(one, "/time"))
                }));
                out(&table)
            }
            BackupVerb::Ls { snapshot, bucket, prefix } => {
                let name = one(&client, wanted).await?;
                listing(&client, &name, &snapshot, bucket.as_deref(), &prefix, as_json).await
            }
            BackupVerb::Verify { all } => {
                each(&client, wanted, "verify", &json!({ "all": all }), as_json).await
            }
            BackupVerb::Drill => each(&client, wanted, "drill", &json!({}), as_json).await,
            BackupVerb::Prune => each(&client, wanted, "prune", &json!({}), as_json).await,
            BackupVerb::Restore { snapshot, at, bucket, prefix, to, overwrite, .. } => {
                let name = one(&client, wanted).await?;
                let restore = Restore { snapshot, at, bucket, prefix, to, overwrite };
                each(&client, Some(&name), "restore", &json!(restore), as_json).await
            }
        }
    })
}

fn path(name: &str) -> String {
    format!("/api/v1/backups/{}", encoded(name))
}

async fn read(client: &Client, path: &str) -> Result<Value, Fault> {
    client.get(path).await?.ok_or_else(|| {
        Fault::new("E0406", "there is no such backup", "`backlot backup status` lists repositories")
    })
}

/// Names of the repositories that are meant.
async fn names(client: &Client, wanted: Option<&str>) -> Result<Vec<String>, Fault> {
    let answer = read(client, "/api/v1/backups").await?;
    let mut names: Vec<String> =
        list(&answer, "backups").iter().map(|one| text(one, "/name").to_owned()).collect();
    if let Some(wanted) = wanted {
        names.retain(|name| name == wanted);
    }
    if names.is_empty() {
        return Err(Fault::new(
            "E0406",
            match wanted {
                Some(wanted) => format!("there is no repository {wanted:?}"),
                None => "there is no repository".to_owned(),
            },
            "add one to backlot.toml: [[backup]] with name and folder",
        ));
    }
    Ok(names)
}

async fn one(client: &Client, wanted: Option<&str>) -> Result<String, Fault> {
    let mut names = names(client, wanted).await?;
    if 1 < names.len() {
        let message = format!("there are several repositories: {}", names.join(", "));
        return Err(Fault::new("E0406", message, "name one with --repository"));
    }
    Ok(names.pop().unwrap_or_default())
}

/// Has something done in each of the repositories that are meant.
async fn each(
    client: &Client,
    wanted: Option<&str>,
    verb: &str,
    body: &Value,
    as_json: bool,
) -> Result<Done, Fault> {
    let mut all_well = true;
    for name in names(client, wanted).await? {
        let whole = path(&name);
        let bar = spinner(&name, verb, as_json);
        let url = format!("{whole}/{verb}");
        let work = client.change(Method::POST, &url, Some(body));
        let mut work = std::pin::pin!(work);
        let answer = loop {
            tokio::select! {
                answer = &mut work => break answer,
                () = tokio::time::sleep(PROGRESS_EVERY) => {
                    if let Ok(Some(standing)) = client.get("/api/v1/backups").await {
                        let of = |one: &&Value| text(one, "/name") == name;
                        let found = list(&standing, "backups").iter().find(of);
                        let waits = found.map_or(0, |one| number(one, "/pending/changes"));
                        bar.set_message(format!("{name}: {verb}, {waits} changes wait"));
                    }
                }
            }
        };
        bar.finish_and_clear();
        let answer = answer?;
        let findings = ["faults", "differing", "failed"];
        let well = findings.iter().all(|name| list(&answer, name).is_empty());
        all_well &= well;
        if as_json {
            let line = json!({ "repository": name, "verb": verb, "well": well, "answer": answer });
            out(&format!("{line}\n"))?;
        } else {
            out(&told(&name, verb, &answer))?;
        }
    }
    Ok(if all_well { Done::Well } else { Done::SomeFailed })
}

fn spinner(name: &str, verb: &str, as_json: bool) -> ProgressBar {
    if as_json {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(format!("{name}: {verb}"));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn told(name: &str, verb: &str, answer: &Value) -> String {
    let count = |path: &str| number(answer, path);
    match verb {
        "now" => {
            let snapshots = list(answer, "snapshots");
            let sum = |path: &str| snapshots.iter().map(|one| number(one, path)).sum::<u64>();
            let taken = snapshots
                .iter()
                .filter(|one| one.get("snapshot").is_some_and(Value::is_string))
                .count();
            format!(
                "{name}: {} objects stored, {} removed, in {taken} snapshots; {} bytes, {} added\n",
                sum("/stored"),
                sum("/removed"),
                sum("/bytes"),
                sum("/bytes_added"),
            )
        }
        "verify" => {
            let (part, parts) = (count("/part/0"), count("/part/1"));
            let faults = list(answer, "faults");
            let mut text = if faults.is_empty() {
                format!("{name}: part {part} of {parts} is whole\n")
            } else {
                format!("{name}: part {part} of {parts} is damaged\n")
            };
            text.extend(
                faults
                    .iter()
                    .filter_map(Value::as_str)
                    .map(|fault| format!("  {}\n", printable(fault))),
            );
            text.extend(list(answer, "hits").iter().map(|hit| {
                let (bucket, key) =
                    (crate::answers::text(hit, "/bucket"), crate::answers::text(hit, "/key"));
                format!("  lost: {}/{}\n", printable(bucket), printable(key))
            }));
            text
        }
        "drill" => {
            let mut text = format!(
                "{name}: {} objects restored on trial, {} bytes; {} compared byte for byte, {} by digest\n",
                count("/objects"),
                count("/bytes"),
                count("/compared"),
                count("/by_digest"),
            );
            text.extend(list(answer, "differing").iter().map(|one| {
                let part = |path: &str| printable(crate::answers::text(one, path));
                format!("  differs: {}/{}: {}\n", part("/0"), part("/1"), part("/2"))
            }));
            text
        }
        "prune" => format!(
            "{name}: {} snapshots forgotten, {} kept, {} bytes to be freed\n",
            list(answer, "forgotten").len(),
            count("/kept"),
            count("/bytes_freed"),
        ),
        _ => restored(answer),
    }
}

fn restored(answer: &Value) -> String {
    let left = match number(answer, "/left") {
        0 => String::new(),
        left => format!("; {left} left as they are: add --overwrite"),
    };
    let mut told = format!(
        "{} objects, {} bytes restored to {}{left}\n",
        number(answer, "/objects"),
        number(answer, "/bytes"),
        printable(text(answer, "/to")),
    );
    told.extend(list(answer, "failed").iter().map(|one| {
        let part = |path: &str| printable(text(one, path));
        format!("  NOT restored: {}/{}: {}\n", part("/0"), part("/1"), part("/2"))
    }));
    told
}

async fn status(client: &Client, wanted: Option<&str>, as_json: bool) -> Result<Done, Fault> {
    let mut all = Vec::new();
    for name in names(client, wanted).await? {
        all.push(read(client, &path(&name)).await?);
    }
    if as_json {
        return lines(&all);
    }
    let mut shown = String::new();
    for one in &all {
        shown.push_str(&format!("{}  {}\n", text(one, "/name"), text(one, "/location")));
        let (stored, distinct) = (number(one, "/sizes/stored"), number(one, "/sizes/distinct"));
        if stored != 0 {
            shown.push_str(&format!("  {stored} bytes hold {distinct} distinct ones\n"));
        }
        let snapshot = list(one, "last").iter().find(|run| text(run, "/kind") == "snapshot");
        let total = |name: &str| snapshot.map_or(0, |run| number(run, name));
        let (bytes, added) = (total("/details/total_bytes"), total("/details/total_bytes_added"));
        if 0 < added {
            let ratio = bytes as f64 / added as f64;
            let line = format!("  {bytes} bytes of objects took {added}: {ratio:.2} to 1\n");
            shown.push_str(&line);
        }
        let waits = number(one, "/pending/changes");
        let since = age(text(one, "/pending/oldest"));
        shown.push_str(&format!("  {waits} changes wait for a snapshot{since}\n"));
        for bucket in list(one, "buckets") {
            let name = printable(text(bucket, "/bucket"));
            let last = match text(bucket, "/last_success") {
                "" => "never backed up".to_owned(),
                _ => format!("backed up as of {}", moment(bucket, "/last_success")),
            };
            let since = age(text(bucket, "/oldest_pending"));
            let waits = if since.is_empty() { "" } else { ", a change waits" };
            shown.push_str(&format!("  {name:<24} {last}{waits}{since}\n"));
        }
        for run in list(one, "last") {
            let went =
                if run.get("succeeded") == Some(&Value::Bool(true)) { "well" } else { "FAILED" };
            let kind = text(run, "/kind");
            shown.push_str(&format!("  last {kind:<9} {} {went}\n", moment(run, "/ended")));
        }
    }
    out(&shown)
}

/// How long ago that was, for people.
fn age(since: &str) -> String {
    let Ok(since) = since.parse::<Timestamp>() else { return String::new() };
    let secs = since.duration_until(Timestamp::now()).round(Unit::Second);
    secs.map(|age| format!(", for {age:#}")).unwrap_or_default()
}

async fn listing(
    client: &Client,
    name: &str,
    snapshot: &str,
    bucket: Option<&str>,
    prefix: &str,
    as_json: bool,
) -> Result<Done, Fault> {
    let mut skip = 0;
    let mut snapshot = snapshot.to_owned();
    loop {
        let bucket = bucket.map(|bucket| format!("&bucket={}", encoded(bucket)));
        let query = format!(
            "{}/objects?snapshot={}&prefix={}&skip={skip}&limit={PAGE}{}",
            path(name),
            encoded(&snapshot),
            encoded(prefix),
            bucket.unwrap_or_default(),
        );
        let answer = client.get_with_token(&query).await?;
        let objects = list(&answer, "objects");
        if as_json {
            lines(objects)?;
        } else {
            let line = |one: &Value| {
                let (bucket, key) = (text(one, "/bucket"), text(one, "/key"));
                let (size, at) = (number(one, "/size"), moment(one, "/modified"));
                format!("{size:>12} {at:<19}  {}/{}\n", printable(bucket), printable(key))
            };
            out(&objects.iter().map(line).collect::<String>())?;
        }
        if answer.get("more") != Some(&Value::Bool(true)) {
            return Ok(Done::Well);
        }
        // A newer snapshot may come between two pages.
        snapshot = text(&answer, "/snapshot/id").to_owned();
        skip += objects.len();
    }
}

fn lines(values: &[Value]) -> Result<Done, Fault> {
    out(&values.iter().map(|one| format!("{one}\n")).collect::<String>())
}

/// Without a server: what is needed when it is lost.
fn to_folder(args: &BackupArgs, restore: &Restore, folder: &Path) -> Result<Done, Fault> {
    let as_json = args.remote.server.json;
    let flags = ConfigFlags {
        config: args.remote.server.config.clone(),
        data: args.remote.data.clone(),
        ..ConfigFlags::default()
    };
    let config = config::load(&flags)?.config;
    let wanted = args.repository.as_deref();
    let mut meant = config.backup.iter().filter(|one| wanted.is_none_or(|name| one.name == name));
    let (Some(found), None) = (meant.next(), meant.next()) else {
        return Err(Fault::new(
            "E0406",
            "the configuration has none or several such repositories",
            "name one that it has with --repository",
        ));
    };
    let settings = found.settings(&config.data)?;
    let bar = spinner(&found.name, "restore", as_json);
    let done = backlot_backup::to_folder(&settings, restore, folder, &mut |so_far| {
        bar.set_message(format!("{} objects, {} bytes", so_far.objects, so_far.bytes));
    });
    bar.finish_and_clear();
    let done = done.map_err(|err| {
        let help = match err {
            BackupError::Password { .. } => "put the copy of the password file there",
            _ => "`backlot backup snapshots` lists what there is; an empty folder is never in the way",
        };
        Fault::new("E0406", err.to_string(), help)
    })?;
    let answer = json!(done);
    out(&if as_json { format!("{answer}\n") } else { restored(&answer) })?;
    Ok(if done.failures == 0 { Done::Well } else { Done::SomeFailed })
}
