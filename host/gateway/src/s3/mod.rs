//! The S3 front door: Amazon's API over our own store.
//!
//! `s3s` speaks the protocol (signatures, chunked bodies, XML); this module decides. A request
//! passes four stations:
//!
//! 1. [`front`]: what can be refused without knowing who asks; request ids, the audit log.
//! 2. [`gate`]: runs once the signature holds. Names the user, checks that nothing that matters
//!    was left out of the signature, and hands on a plain request to a second `s3s` service.
//! 3. [`access`]: may this user do this; and does the request ask only for what we implement.
//! 4. [`backend`]: the operations, over [`Store`].
//!
//! **Invariant: what is not implemented is refused, never ignored.** Query parameters and
//! `x-amz-*` headers are checked against lists of those we honour ([`vocabulary`]).

mod access;
mod attributes;
mod backend;
mod buckets;
mod checksums;
mod conditions;
mod copies;
mod deletes;
mod encoding;
mod errors;
mod front;
mod gate;
mod host;
mod listing;
mod multipart;
mod quarantine;
mod range;
mod reads;
mod tagging;
mod users;
mod vocabulary;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use backlot_storage::Store;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};

pub use front::{Front, refuse};
pub use users::{BucketRule, SECRET_CHARS_MIN, User, Users, UsersError};

/// Region that is answered where a client asks for one.
const REGION: &str = "us-east-1";

/// Settings of the S3 front door.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Largest XML document in a request, in bytes. A batch delete of 1,000 of the longest keys,
    /// each escaped, is about 1.2 MB.
    pub xml_bytes_max: usize,
    /// How far a client's clock may be off; Amazon allows 15 minutes.
    pub clock_skew_max: Duration,
    /// Host name under which `<bucket>.<base domain>` addresses a bucket. Without it (and for
    /// every other host name) the bucket is the first segment of the path.
    pub base_domain: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            xml_bytes_max: 2 * 1024 * 1024,
            clock_skew_max: Duration::from_secs(15 * 60),
            base_domain: None,
        }
    }
}

/// The S3 service over a store; serve it with [`crate::serve::serve`] and [`refuse`].
#[must_use]
pub fn service(store: Store, users: Users, settings: &Settings) -> Front {
    let users = Arc::new(users);
    let host = Arc::new(host::Host::new(settings.base_domain.as_deref()));

    let mut operations = S3ServiceBuilder::new(backend::Backend::new(store));
    configure(&mut operations, settings, &host);
    // Never asked for a secret: the gate has removed the signature. `s3s` consults the access
    // rules only where there is an authentication provider.
    operations.set_auth(users::Keys::none());
    operations.set_access(access::Rules);

    let mut signatures = S3ServiceBuilder::new(Nothing);
    configure(&mut signatures, settings, &host);
    signatures.set_auth(users::Keys::of(users.clone()));
    signatures.set_route(gate::Gate::new(
        operations.build(),
        users.clone(),
        host,
        settings.xml_bytes_max,
    ));
    Front::new(signatures.build(), users)
}

fn configure(builder: &mut S3ServiceBuilder, settings: &Settings, host: &Arc<host::Host>) {
    let mut config = S3Config::default();
    config.xml_max_body_size = settings.xml_bytes_max;
    config.presigned_url_max_skew_time_secs =
        u32::try_from(settings.clock_skew_max.as_secs()).unwrap_or(u32::MAX);
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder.set_host(host::SharedHost(host.clone()));
}

/// Behind the signature check every request takes the [`gate`], so nothing is implemented here.
struct Nothing;

impl s3s::S3 for Nothing {}

/// What the stations share with one another about one request, in its extensions.
#[derive(Clone)]
struct Caller {
    user: Arc<User>,
    /// Region the request was signed for.
    region: Option<String>,
}

type Service = S3Service;
