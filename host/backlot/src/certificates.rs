//! The certificates of the listeners: read at the start, and again when their files change or on
//! SIGHUP.

use std::sync::Arc;
use std::time::Duration;

use backlot_gateway::serve::{Tls, TlsFault, TlsFiles};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::fault::Fault;
use crate::node;

/// How often the files are looked at. Renewal is done weeks before it is needed.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// How often an end that comes near is told.
const NOTICE_INTERVAL: Duration = Duration::from_secs(24 * 3_600);
/// How near it is when it is told first. Certificates that renew themselves are renewed by then.
const NOTICE_BEFORE: Duration = Duration::from_secs(14 * 24 * 3_600);

/// Reads a listener's certificate, if it has one, and follows its files until `stop`. Must be called
/// within a runtime.
pub(crate) fn follow(
    files: Option<&config::Tls>,
    stop: &CancellationToken,
) -> Result<Option<Arc<Tls>>, Fault> {
    let Some(config::Tls { certificate, key }) = files else { return Ok(None) };
    let files = TlsFiles { certificate: certificate.clone(), key: key.clone() };
    let tls = Arc::new(Tls::load(files).map_err(|fault| unusable(&fault))?);
    let hangup =
        signal(SignalKind::hangup()).map_err(|err| node::internal("receiving signals", &err))?;
    tokio::spawn(keep_up(tls.clone(), hangup, stop.clone()));
    Ok(Some(tls))
}

async fn keep_up(tls: Arc<Tls>, mut hangup: Signal, stop: CancellationToken) {
    let mut look = time::interval(LOOK_INTERVAL);
    let mut notice = time::interval(NOTICE_INTERVAL);
    loop {
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            _ = notice.tick() => {
                tell_the_end(&tls);
                continue;
            }
            _ = hangup.recv() => true,
            _ = look.tick() => false,
        };
        let read = tls.clone();
        let again = move || (asked || read.is_changed()).then(|| read.reload());
        match tokio::task::spawn_blocking(again).await {
            Ok(None) => {}
            Ok(Some(Ok(()))) => tell_the_end(&tls),
            Ok(Some(Err(fault))) => {
                tracing::error!("{fault}; the certificate that was read before stays in use");
            }
            Err(err) => tracing::error!(%err, "reading a certificate failed"),
        }
    }
}

fn tell_the_end(tls: &Tls) {
    let certificate = tls.files().certificate.display();
    match tls.valid_for() {
        None => tracing::error!(%certificate, "the certificate has expired: clients refuse it"),
        Some(left) if left < NOTICE_BEFORE => {
            let hours = left.as_secs() / 3_600;
            tracing::warn!(%certificate, hours, "the certificate expires soon: renew it");
        }
        Some(_) => {}
    }
}

fn unusable(fault: &TlsFault) -> Fault {
    let help = match fault {
        TlsFault::Unreadable { .. } => "make it readable for this user, or name another file",
        TlsFault::TooLarge(_) | TlsFault::NoCertificate(_) | TlsFault::BadCertificate { .. } => {
            "name the certificate chain as PEM, such as certbot's fullchain.pem"
        }
        TlsFault::NotPem { .. } => {
            "`openssl x509 -in FILE -inform der -out FILE.pem` makes PEM of a binary certificate"
        }
        TlsFault::NoKey(_) | TlsFault::BadKey { .. } => {
            "name the private key as PEM without a password, such as certbot's privkey.pem"
        }
        TlsFault::Mismatch { .. } => "name the key that the certificate was made for",
    };
    Fault::new("E0304", fault.to_string(), help)
}
