//! Who may sign which functions.
//!
//! What is signed is a short text that binds name, component and manifest ([`signed_text`]), with
//! the tool minisign (<https://jedisct1.github.io/minisign/>): `backlot digest` prints the text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign_verify::{PublicKey, Signature};
use sha2::{Digest, Sha256};

use crate::compile::ComponentDigest;

/// Largest signature, in bytes: minisign's own have some 300, with a comment.
pub const SIGNATURE_MAX_BYTES: usize = 4 << 10;

/// A rule of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustRule {
    /// The functions it is for: a name, in which `*` stands for anything.
    pub functions: String,
    /// Public keys of minisign in base64, one of which must have signed.
    pub keys: Vec<String>,
    /// Whether a version may go live whose `serial` is lower than that of one that was.
    pub downgrade: bool,
}

/// Why a version is not trusted, or a rule is none.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A key of a rule.
    #[error("{key:?} is no public key of minisign: {source}")]
    Key {
        /// As it was given.
        key: String,
        /// What is wrong with it.
        source: minisign_verify::Error,
    },
    /// It must be signed and is not.
    #[error("function {function:?} must be signed by one of the keys {}", .keys.join(", "))]
    Unsigned {
        /// The function's name.
        function: String,
        /// Ids of the keys.
        keys: Vec<String>,
    },
    /// The signature is none, or none of this component and manifest by a key that counts.
    #[error(
        "the signature is not one of this component and this manifest by one of the keys {}: {reason}",
        .keys.join(", ")
    )]
    Signature {
        /// Ids of the keys.
        keys: Vec<String>,
        /// What minisign says.
        reason: String,
    },
    /// An older version.
    #[error(
        "serial {} is lower than {highest}, which was live: the function is pinned against going back",
        .serial.map_or_else(|| "(none)".to_owned(), |serial| serial.to_string())
    )]
    Downgrade {
        /// Of the version.
        serial: Option<u64>,
        /// The highest that was live.
        highest: u64,
    },
}

/// The rules, ready to be asked.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    functions: String,
    keys: Vec<(String, PublicKey)>,
    downgrade: bool,
}

impl Trust {
    pub(crate) fn new(rules: &[TrustRule]) -> Result<Self, TrustError> {
        let rules = rules.iter().map(|rule| {
            let keys = rule.keys.iter().map(|text| {
                let key = PublicKey::from_base64(text.trim());
                let key = key.map_err(|source| TrustError::Key { key: text.clone(), source })?;
                Ok((key_id(text), key))
            });
            let keys = keys.collect::<Result<_, TrustError>>()?;
            Ok(Rule { functions: rule.functions.clone(), keys, downgrade: rule.downgrade })
        });
        Ok(Self { rules: rules.collect::<Result<_, TrustError>>()? })
    }

    fn of<'a>(&'a self, function: &'a str) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().filter(move |rule| matches(&rule.functions, function))
    }

    /// Who signed it; None where nobody needs to.
    pub(crate) fn check_signature(
        &self,
        function: &str,
        text: &str,
        signature: Option<&str>,
    ) -> Result<Option<String>, TrustError> {
        let keys: Vec<&(String, PublicKey)> =
            self.of(function).flat_map(|rule| &rule.keys).collect();
        if keys.is_empty() {
            return Ok(None);
        }
        let ids = || keys.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
        let Some(signature) = signature else {
            return Err(TrustError::Unsigned { function: function.to_owned(), keys: ids() });
        };
        let wrong = |reason: String| TrustError::Signature { keys: ids(), reason };
        if SIGNATURE_MAX_BYTES < signature.len() {
            return Err(wrong(format!("it is over {SIGNATURE_MAX_BYTES} bytes")));
        }
        let signature = Signature::decode(signature).map_err(|err| wrong(err.to_string()))?;
        let mut reason = String::new();
        for (id, key) in &keys {
            match key.verify(text.as_bytes(), &signature, true) {
                Ok(()) => return Ok(Some(id.clone())),
                Err(err) => reason = err.to_string(),
            }
        }
        Err(wrong(reason))
    }

    /// Refuses what would go back behind `highest`, where the function is pinned.
    pub(crate) fn check_serial(
        &self,
        function: &str,
        serial: Option<u64>,
        highest: Option<u64>,
    ) -> Result<(), TrustError> {
        let pinned = self.of(function).any(|rule| !rule.downgrade);
        match highest {
            Some(highest) if pinned && serial.is_none_or(|serial| serial < highest) => {
                Err(TrustError::Downgrade { serial, highest })
            }
            _ => Ok(()),
        }
    }
}

/// What is signed, byte for byte: four lines, each with its end.
#[must_use]
pub fn signed_text(function: &str, component: ComponentDigest, manifest: &str) -> String {
    let manifest = hex::encode(Sha256::digest(manifest));
    format!(
        "backlot function 1\nname {function}\ncomponent sha256 {component}\n\
         manifest sha256 {manifest}\n"
    )
}

/// As minisign prints it: the eight bytes after the algorithm, as a number.
fn key_id(key: &str) -> String {
    let bytes = STANDARD.decode(key.trim()).unwrap_or_default();
    let id = bytes.get(2..10).and_then(|id| id.first_chunk::<8>()).copied().unwrap_or_default();
    format!("{:016X}", u64::from_le_bytes(id))
}

/// Whether a pattern with `*` is that name. Patterns come from the configuration.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            (0..=name.len()).any(|at| name.get(at..).is_some_and(|name| matches(rest, name)))
        }),
    }
}

#[cfg(test)]
mod tests {
    use minisign::KeyPair;

    use super::*;

    const MANIFEST: &str = "name = \"pay-out\"\n";

    fn text(component: &[u8], manifest: &str) -> String {
        signed_text("pay-out", ComponentDigest::of(component), manifest)
    }

    fn sign(keys: &KeyPair, text: &str) -> String {
        minisign::sign(None, &keys.sk, text.as_bytes(), None, None).unwrap().to_string()
    }

    fn trust(keys: &[&KeyPair]) -> Trust {
        let keys = keys.iter().map(|keys| keys.pk.to_base64()).collect();
        Trust::new(&[TrustRule { functions: "pay-*".into(), keys, downgrade: false }]).unwrap()
    }

    #[test]
    fn only_a_signature_of_both_by_a_named_key_counts() {
        let [ours, other] = [(); 2].map(|()| KeyPair::generate_unencrypted_keypair().unwrap());
        let trust = trust(&[&ours]);
        let text = text(b"component", MANIFEST);
        let check =
            |text: &str, signature: Option<&str>| trust.check_signature("pay-out", text, signature);
        let signature = sign(&ours, &text);
        let signer = check(&text, Some(&signature)).unwrap().unwrap();
        assert_eq!(signer, key_id(&ours.pk.to_base64()));
        assert!(matches!(check(&text, None), Err(TrustError::Unsigned { .. })));
        let refused = |text: &str, signature: &str| {
            matches!(check(text, Some(signature)), Err(TrustError::Signature { .. }))
        };
        assert!(refused(&super::tests::text(b"other", MANIFEST), &signature));
        assert!(refused(&super::tests::text(b"component", "name = \"x\"\n"), &signature));
        assert!(refused(&text, &sign(&other, &text)));
        assert!(refused(&text, "nonsense") && refused(&text, &"a".repeat(5_000)));
        // Others need none.
        assert_eq!(trust.check_signature("hello", &text, None).unwrap(), None);
        // One of several keys is enough.
        let both = super::tests::trust(&[&ours, &other]);
        let signed = both.check_signature("pay-out", &text, Some(&sign(&other, &text)));
        assert_eq!(signed.unwrap(), Some(key_id(&other.pk.to_base64())));
        let named = check(&text, None).unwrap_err().to_string();
        assert!(named.contains(&signer), "{named}");
    }

    #[test]
    fn a_pinned_function_never_goes_back() {
        let trust = trust(&[]);
        for (function, serial, highest, taken) in [
            ("pay-out", Some(3), None, true),
            ("pay-out", Some(3), Some(3), true),
            ("pay-out", Some(2), Some(3), false),
            ("pay-out", None, Some(3), false),
            ("pay-out", None, None, true),
            ("hello", Some(2), Some(3), true),
        ] {
            let checked = trust.check_serial(function, serial, highest);
            assert_eq!(checked.is_ok(), taken, "{function} {serial:?} {highest:?}");
        }
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, is) in [
            ("pay-*", "pay-out", true),
            ("pay-*", "pay", false),
            ("*", "anything", true),
            ("*-in", "pay-in", true),
            ("p*-*n", "pay-in", true),
            ("pay", "pay-in", false),
        ] {
            assert_eq!(matches(pattern, name), is, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let rule = TrustRule { keys: vec!["RWQ".into()], ..TrustRule::default() };
        assert!(matches!(Trust::new(&[rule]), Err(TrustError::Key { .. })));
    }
}
