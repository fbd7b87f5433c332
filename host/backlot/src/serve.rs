//! `backlot serve`: the server, from an empty folder to a drained stop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backlot_gateway::functions::{self, Functions};
use backlot_gateway::s3;
use backlot_gateway::serve::{Limits, serve};
use backlot_gateway::web::{self, AdminToken, Web, WebConfig};
use backlot_ledger::{Backlog, Retention};
use backlot_runtime::{COMPONENT_MAX_BYTES, CompileLimits, TrustRule};
use backlot_storage::Scanner;
use serde_json::json;

use crate::cli::ServeArgs;
use crate::config::{self, Access, Config, LogFormat};
use crate::credentials::{self, Credentials};
use crate::doors::{self, Url};
use crate::fault::Fault;
use crate::node::{self, Node, Setup};
use crate::sockets::{self, Sockets};
use crate::validator::Validation;
use crate::{Done, functions_folder, history, logging, out, signals, token};

/// MiB in bytes.
const MIB: u64 = 1024 * 1024;

pub(crate) fn run(args: ServeArgs) -> Result<Done, Fault> {
    let config = config::load(&args.flags)?.config;
    let format = if args.json { LogFormat::Json } else { config.log.format };
    let sockets = sockets::take()?;
    logging::start(&config.log.level, format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("backlot-io")
        .build()
        .map_err(|err| node::internal("starting threads", &err))?;
    runtime.block_on(serve_until_stopped(&config, sockets, args.ready_file.as_deref(), args.json))
}

async fn serve_until_stopped(
    config: &Config,
    sockets: Sockets,
    ready_file: Option<&Path>,
    json: bool,
) -> Result<Done, Fault> {
    let stop = signals::stop_token()?;
    // Addresses first: a port in use is told at once, not after everything is set up.
    let s3_tls = config.s3.tls.as_ref();
    let s3_door = doors::open("s3", sockets.s3, config.s3.address, s3_tls, &stop).await?;
    let http_tls = config.http.tls.as_ref();
    let http_door = doors::open("http", sockets.http, config.http.address, http_tls, &stop).await?;
    let functions = &config.functions;
    let functions_door = doors::open(
        "functions",
        sockets.functions,
        functions.address,
        functions.tls.as_ref(),
        &stop,
    )
    .await?;
    let addresses =
        Addresses { s3: s3_door.url, http: http_door.url, functions: functions_door.url };

    let node = Node::open(setup(config)?).await?;
    if let Some(folder) = &config.functions.folder {
        functions_folder::deploy(folder, &node.runtime).await?;
        functions_folder::follow(folder.clone(), node.runtime.clone(), stop.clone())?;
    }
    node.ledger.limit_backlog(Backlog {
        invocations: config.queue.invocations_max,
        bytes: config.queue.megabytes_max.saturating_mul(MIB),
    });
    let retention = Retention {
        age_max: Duration::from_secs(config.history.days.saturating_mul(86_400)),
        roots_max: u32::try_from(config.history.invocations_max).unwrap_or(u32::MAX),
        bytes_max: config.history.megabytes_max.saturating_mul(MIB),
    };
    tokio::spawn(history::keep(node.ledger.clone(), retention, stop.clone()));
    let credentials = credentials::load_or_create(&config.data)?;
    let keys = Keys { first: credentials, token: token::load_or_create(&config.data)? };
    let users = users(&keys.first, config)?;
    let settings =
        s3::Settings { base_domain: config.s3.base_domain.clone(), ..s3::Settings::default() };
    let front = s3::service(node.store.clone(), users, &settings);
    let web_config = WebConfig {
        hosts: config.http.hosts.clone(),
        s3_url: addresses.s3.to_string(),
        uploads: node::UPLOADS.to_owned(),
        content: node::CONTENT.to_owned(),
        encoder: node::ENCODER.to_owned(),
        token: AdminToken::new(&keys.token, token::path(&config.data).display().to_string()),
        reads_open: addresses.http.address.ip().is_loopback(),
    };
    let web = Web::new(
        web_config,
        node.ledger.clone(),
        node.store.clone(),
        node.runtime.clone(),
        node.backups.clone(),
        stop.clone(),
    );

    let s3_served =
        tokio::spawn(serve(s3_door.listener, front, s3_limits(config), s3::refuse, stop.clone()));
    let http_served = tokio::spawn(serve(
        http_door.listener,
        web.clone(),
        http_limits(config),
        web::refuse,
        stop.clone(),
    ));
    // On the threads of its guests: a request does not change threads.
    let functions_served = node.runtime.http_threads().spawn(serve(
        functions_door.listener,
        Functions::new(node.runtime.http()),
        functions_limits(config),
        functions::refuse,
        stop.clone(),
    ));
    let ran = tokio::spawn({
        let (runtime, stop) = (node.runtime.clone(), stop.clone());
        async move { runtime.run(stop).await }
    });
    web.set_ready(true);
    announce(config, &addresses, &keys, ready_file, json)?;

    stop.cancelled().await;
    web.set_ready(false);
    tracing::info!("stopping: requests at work may finish, running parts are released");
    notify(&[sd_notify::NotifyState::Stopping]);
    for (what, ended) in [
        ("the S3 listener", s3_served.await.map(drop)),
        ("the HTTP listener", http_served.await.map(drop)),
        ("the listener of functions", functions_served.await.map(drop)),
        ("the runtime", ran.await),
    ] {
        if let Err(err) = ended {
            return Err(node::internal(what, &err));
        }
    }
    tracing::info!("stopped");
    // Guests' threads and the ledger's writer end here, which may block.
    tokio::task::block_in_place(|| drop((web, node)));
    Ok(Done::Well)
}

/// What the first start makes.
struct Keys {
    first: Credentials,
    token: String,
}

struct Addresses {
    s3: Url,
    http: Url,
    functions: Url,
}

fn setup(config: &Config) -> Result<Setup<'_>, Fault> {
    let encoder = &config.encoder;
    let optional = [
        ("BACKLOT_QUALITY", encoder.quality.map(|quality| quality.to_string())),
        ("BACKLOT_RUNGS", encoder.rungs.clone()),
        ("BACKLOT_PART_SECS", encoder.part_secs.map(|secs| secs.to_string())),
        ("BACKLOT_PARTS", encoder.parts.map(|parts| parts.to_string())),
        ("BACKLOT_MP4", encoder.mp4.then(|| "1".to_owned())),
    ];
    let mut env = vec![("BACKLOT_PRESET", encoder.preset.clone())];
    env.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    Ok(Setup {
        data: &config.data,
        cache: config.cache.clone().unwrap_or_else(|| config.data.join("cache")),
        slots: encoder.slots,
        niceness: encoder.niceness,
        uploads_at_once: encoder.uploads_at_once,
        put_megabytes_max: config.s3.body_megabytes_max,
        http_requests: config.functions.requests_max,
        http_idle: config.functions.idle_max,
        compile: CompileLimits {
            cpu_secs: config.functions.compile_secs,
            memory_megabytes: config.functions.compile_megabytes,
        },
        trust: config.trust.iter().map(trust_rule).collect(),
        encoder: Some(env),
        scanner: scanner(&config.antivirus)?,
        backups: config
            .backup
            .iter()
            .map(|backup| backup.settings(&config.data))
            .collect::<Result<_, _>>()?,
        validation: (!config.validate.is_empty()).then(|| Validation {
            policies: config.validate.clone(),
            schedule: Some(config.validator.schedule.clone()),
            settle_secs: config.validator.settle_secs,
        }),
    })
}

fn scanner(config: &config::Antivirus) -> Result<Option<Arc<Scanner>>, Fault> {
    let Some(address) = &config.socket else { return Ok(None) };
    let address = address.parse().map_err(|err| {
        Fault::new(
            "E0104",
            format!("antivirus.socket: {err}"),
            "name clamd's socket, such as /run/clamav/clamd.ctl or 127.0.0.1:3310",
        )
    })?;
    let bytes_max = config.megabytes_max.saturating_mul(MIB);
    let timeout = Duration::from_secs(config.timeout_secs);
    Ok(Some(Arc::new(Scanner::new(address, bytes_max, timeout, config.scans_max))))
}

fn s3_limits(config: &Config) -> Limits {
    Limits {
        connections_max: config.s3.connections_max,
        requests_max: config.s3.requests_max,
        body_bytes_max: config.s3.body_megabytes_max.saturating_mul(MIB),
        drain_timeout: Duration::from_secs(config.s3.drain_secs),
        ..Limits::default()
    }
}

fn http_limits(config: &Config) -> Limits {
    Limits {
        connections_max: config.http.connections_max,
        requests_max: config.http.requests_max,
        // The largest body that any path takes: a component.
        body_bytes_max: COMPONENT_MAX_BYTES as u64,
        drain_timeout: Duration::from_secs(config.http.drain_secs),
        ..Limits::default()
    }
}

fn functions_limits(config: &Config) -> Limits {
    Limits {
        connections_max: config.functions.connections_max,
        requests_max: config.functions.requests_max,
        drain_timeout: Duration::from_secs(config.functions.drain_secs),
        ..Limits::default()
    }
}

fn users(first: &Credentials, config: &Config) -> Result<s3::Users, Fault> {
    let mut users = vec![s3::User {
        name: first.name.clone(),
        access_key: first.access_key.clone(),
        secret_key: first.secret_key.clone(),
        buckets: None,
    }];
    users.extend(config.users.iter().map(|user| s3::User {
        name: user.name.clone(),
        access_key: user.access_key.clone(),
        secret_key: user.secret_key.clone(),
        buckets: user.buckets.as_ref().map(|rules| rules.iter().map(rule).collect()),
    }));
    s3::Users::new(users)
        .map_err(|err| Fault::new("E0104", err.to_string(), "change [[users]] in backlot.toml"))
}

fn trust_rule(rule: &config::Trust) -> TrustRule {
    TrustRule {
        functions: rule.functions.clone(),
        keys: rule.keys.clone(),
        downgrade: rule.downgrade,
    }
}

fn rule(rule: &config::Bucket) -> s3::BucketRule {
    s3::BucketRule {
        bucket: rule.bucket.clone(),
        read: rule.access.contains(&Access::Read),
        write: rule.access.contains(&Access::Write),
    }
}

/// Says that it is ready: to the file, to the service manager, and to the person.
fn announce(
    config: &Config,
    addresses: &Addresses,
    keys: &Keys,
    ready_file: Option<&Path>,
    json: bool,
) -> Result<(), Fault> {
    let data = std::path::absolute(&config.data).unwrap_or_else(|_| config.data.clone());
    let credentials = &keys.first;
    if let Some(path) = ready_file {
        let ready = json!({
            "s3": addresses.s3.address.to_string(),
            "http": addresses.http.address.to_string(),
            "functions": addresses.functions.address.to_string(),
            "access_key": credentials.access_key,
            "secret_key": credentials.secret_key,
            "admin_token": keys.token,
        });
        credentials::write_private(path, format!("{ready}\n").as_bytes()).map_err(|err| {
            Fault::new(
                "E0303",
                format!("the ready file {} cannot be written: {err}", path.display()),
                "name another with --ready-file",
            )
        })?;
    }
    notify(&[sd_notify::NotifyState::Ready]);
    let text = if json {
        let started = json!({
            "event": "ready", "data": data, "s3": addresses.s3.to_string(),
            "http": addresses.http.to_string(),
            "functions": addresses.functions.to_string(),
            "access_key": credentials.access_key,
            "credentials": data.join(credentials::FILE), "admin_token": data.join(token::FILE),
        });
        format!("{started}\n")
    } else {
        banner(&data, addresses, credentials)
    };
    out(&text).map(drop)
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    if let Err(err) = sd_notify::notify(states) {
        tracing::warn!(%err, "the service manager could not be notified");
    }
}

fn banner(data: &Path, addresses: &Addresses, credentials: &Credentials) -> String {
    let Addresses { s3, http, functions } = addresses;
    let secret: PathBuf = data.join(credentials::FILE);
    let token = data.join(token::FILE);
    let (data, secret, token) = (data.display(), secret.display(), token.display());
    let access_key = &credentials.access_key;
    let (host, ssl) = (s3.address, if s3.tls { "--ssl" } else { "--no-ssl" });
    let (uploads, version) = (node::UPLOADS, env!("CARGO_PKG_VERSION"));
    format!(
        "\
Backlot {version}

  Watch      {http}/
  Upload     {s3}  (S3, bucket `{uploads}`)
  Functions  {functions}/
  Data       {data}
  Access key {access_key}
  Secret key in {secret}
  API token  in {token}

Upload a film with any S3 client; encoding starts by itself:

  export AWS_ACCESS_KEY_ID={access_key} AWS_DEFAULT_REGION=us-east-1
  export AWS_SECRET_ACCESS_KEY=$(sed -n 's/^secret_key = \"\\(.*\\)\"$/\\1/p' '{secret}')
  aws --endpoint-url {s3} s3 cp film.mp4 s3://{uploads}/

  s3cmd --access_key=$AWS_ACCESS_KEY_ID --secret_key=$AWS_SECRET_ACCESS_KEY \\
    {ssl} --host={host} --host-bucket={host} put film.mp4 s3://{uploads}/

Ctrl-C stops it in good order.
"
    )
}
