//! The grant `http`: the hosts that a function may send requests to.

use std::fmt;
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A host that may be asked: `"api.example.com"`, `"*.example.org:8443"`, or with addresses that
/// are not public `{ host = "db.internal:8086", private = true }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpGrant {
    /// A host name or address in lower case; `*.` before it means every name below it.
    host: String,
    /// Without one: 80 for http, 443 for https.
    port: Option<u16>,
    /// Whether it may be on this machine or in a private network.
    private: bool,
}

/// Not a host with or without a port.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no host, such as \"api.example.com\", \"*.example.org:8443\" or \"[::1]:8080\"")]
pub struct NoHost(String);

impl HttpGrant {
    /// Whether this lets a function ask that host at that port, given the port of the scheme.
    pub(crate) fn covers(&self, host: &str, port: u16, scheme_port: u16) -> bool {
        let host = host.to_ascii_lowercase();
        let named = match self.host.strip_prefix('*') {
            // Of `*.example.org` the dot is left, so the name itself is not below it.
            Some(below) => below.len() < host.len() && host.ends_with(below),
            None => host == self.host,
        };
        named && self.port.unwrap_or(scheme_port) == port
    }

    /// Whether addresses that are not public will do.
    pub(crate) fn private(&self) -> bool {
        self.private
    }
}

impl FromStr for HttpGrant {
    type Err = NoHost;

    fn from_str(text: &str) -> Result<Self, NoHost> {
        let no_host = || NoHost(text.to_owned());
        let authority: http::uri::Authority =
            text.strip_prefix("*.").unwrap_or(text).parse().map_err(|_| no_host())?;
        let port = match authority.port() {
            Some(port) => match port.as_str().parse() {
                Ok(0) | Err(_) => return Err(no_host()),
                Ok(port) => Some(port),
            },
            None => None,
        };
        let host = authority.host().to_ascii_lowercase();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
        // User names, and colons without a port behind them, are not part of host and port.
        let whole = port.map_or(host.len(), |port| host.len() + 1 + port.to_string().len());
        if host.is_empty() || !host.bytes().all(plain) || authority.as_str().len() != whole {
            return Err(no_host());
        }
        let host = if text.starts_with("*.") { format!("*.{host}") } else { host };
        Ok(Self { host, port, private: false })
    }
}

impl fmt::Display for HttpGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl Serialize for HttpGrant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.private {
            return serializer.collect_str(self);
        }
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("host", &self.to_string())?;
        map.serialize_entry("private", &true)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for HttpGrant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EitherForm)
    }
}

/// A text, or a table. (An untagged enum would say of every mistake that it matches no variant.)
struct EitherForm;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    host: String,
    #[serde(default)]
    private: bool,
}

impl<'de> Visitor<'de> for EitherForm {
    type Value = HttpGrant;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a host, or { host = \"…\", private = true }")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<HttpGrant, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HttpGrant, A::Error> {
        let Table { host, private } = Table::deserialize(MapAccessDeserializer::new(map))?;
        let grant: HttpGrant = host.parse().map_err(A::Error::custom)?;
        Ok(HttpGrant { private, ..grant })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_match_by_name_and_port() {
        for (grant, host, port, scheme_port, covers) in [
            ("api.example.com", "api.example.com", 443, 443, true),
            ("api.example.com", "API.Example.COM", 80, 80, true),
            ("api.example.com", "api.example.com", 8443, 443, false),
            ("api.example.com", "evil-api.example.com", 443, 443, false),
            ("*.example.org:8443", "a.example.org", 8443, 443, true),
            ("*.example.org:8443", "a.b.example.org", 8443, 443, true),
            ("*.example.org:8443", "example.org", 8443, 443, false),
            ("*.example.org:8443", ".example.org", 8443, 443, false),
            ("*.example.org:8443", "badexample.org", 8443, 443, false),
            ("*.example.org:8443", "a.example.org", 443, 443, false),
            ("[::1]:8080", "[::1]", 8080, 80, true),
            ("127.0.0.1:80", "127.0.0.1", 80, 80, true),
        ] {
            let grant: HttpGrant = grant.parse().unwrap();
            assert_eq!(grant.covers(host, port, scheme_port), covers, "{grant} {host}:{port}");
        }
    }

    #[test]
    fn only_hosts_are_hosts() {
        let odd = ["", "*", "*.", "a*b", "http://a", "a/b", "u@a", "a:", "a:0", "a:99999", "a b"];
        for text in odd {
            assert!(text.parse::<HttpGrant>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn both_forms_are_read_and_written() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Holder {
            http: Vec<HttpGrant>,
        }
        let text = "http = [\"a.b\", { host = \"c:1\", private = true }]";
        let read: Holder = toml::from_str(text).unwrap();
        assert_eq!(read.http.iter().map(HttpGrant::private).collect::<Vec<_>>(), [false, true]);
        let again = toml::to_string(&read).unwrap();
        assert_eq!(toml::from_str::<Holder>(&again).unwrap(), read, "{again}");
        let wrong = toml::from_str::<Holder>("http = [{ host = \"a\", secret = 1 }]").unwrap_err();
        assert!(wrong.to_string().contains("unknown field `secret`"), "{wrong}");
    }
}
