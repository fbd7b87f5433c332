//! Path style and virtual-host style addresses.

use std::sync::Arc;

use s3s::S3Result;
use s3s::host::{S3Host, VirtualHost};

/// Finds the bucket in a host name. Names outside of the base domain are path style: a server
/// reached as `localhost`, by address or under another name must keep working.
pub(super) struct Host {
    /// `.s3.example.org`, in lower case.
    suffix: Option<String>,
}

impl Host {
    pub(super) fn new(base_domain: Option<&str>) -> Self {
        let suffix = base_domain.map(|domain| format!(".{}", domain.to_ascii_lowercase()));
        Self { suffix }
    }

    /// The bucket that a `Host` header names, in lower case.
    pub(super) fn bucket(&self, host: &str) -> Option<String> {
        let suffix = self.suffix.as_deref()?;
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let bucket = name.to_ascii_lowercase().strip_suffix(suffix)?.to_owned();
        (!bucket.is_empty()).then_some(bucket)
    }
}

/// For `s3s`, which wants to own its parser.
pub(super) struct SharedHost(pub(super) Arc<Host>);

impl S3Host for SharedHost {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let parsed = VirtualHost::new(host);
        Ok(match self.0.bucket(host) {
            Some(bucket) => parsed.with_bucket(bucket),
            None => parsed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_below_the_base_domain_carry_a_bucket() {
        let check = |base: Option<&str>, host: &str, bucket: Option<&str>| {
            assert_eq!(Host::new(base).bucket(host).as_deref(), bucket, "{base:?} {host}");
        };
        let base = Some("S3.example.org");
        check(base, "films.s3.example.org", Some("films"));
        check(base, "Films.s3.EXAMPLE.org:9000", Some("films"));
        check(base, "a.b.s3.example.org", Some("a.b"));
        check(base, "s3.example.org", None);
        check(base, ".s3.example.org", None);
        check(base, "films.s3.example.org.evil.net", None);
        check(base, "evils3.example.org", None);
        check(base, "localhost:9000", None);
        check(base, "[::1]:9000", None);
        check(None, "films.s3.example.org", None);
    }
}
