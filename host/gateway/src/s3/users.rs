//! Who may use the S3 front door, and which buckets they may touch.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Result, s3_error};

/// One user: a pair of keys, a name for the record, and what is allowed.
#[derive(Clone)]
pub struct User {
    /// Name that events and the audit log carry.
    pub name: String,
    /// Public half of the pair.
    pub access_key: String,
    /// Secret half. Never logged.
    pub secret_key: String,
    /// Buckets this user may touch. `None`: all of them, and buckets may be created, deleted and
    /// configured.
    pub buckets: Option<Vec<BucketRule>>,
}

/// What a user may do with the objects of one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketRule {
    /// The bucket's name.
    pub bucket: String,
    /// Get, head and list.
    pub read: bool,
    /// Put, copy to, delete and tag.
    pub write: bool,
}

/// What an operation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Read,
    Write,
    /// To create, delete or configure a bucket.
    Manage,
}

/// Why a set of users cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsersError {
    /// Two users share an access key.
    #[error("access key {0:?} is given to two users")]
    SharedAccessKey(String),
    /// An access key that could not appear in a signature.
    #[error("access key {0:?} of user {1:?} is empty or has characters other than A-Z a-z 0-9 - _")]
    BadAccessKey(String, String),
    /// Too short to be secret.
    #[error("the secret key of user {0:?} has fewer than {SECRET_CHARS_MIN} characters")]
    WeakSecret(String),
}

/// Least length of a secret key; Amazon's have 40 characters.
pub const SECRET_CHARS_MIN: usize = 16;

/// All users, by access key. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Users {
    by_access_key: Arc<HashMap<String, Arc<User>>>,
}

impl Users {
    /// Checks and indexes users.
    ///
    /// # Errors
    /// See [`UsersError`].
    pub fn new(users: impl IntoIterator<Item = User>) -> Result<Self, UsersError> {
        let mut by_access_key = HashMap::new();
        for user in users {
            let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if user.access_key.is_empty() || !user.access_key.bytes().all(fine) {
                return Err(UsersError::BadAccessKey(user.access_key, user.name));
            }
            if user.secret_key.len() < SECRET_CHARS_MIN {
                return Err(UsersError::WeakSecret(user.name));
            }
            let key = user.access_key.clone();
            if by_access_key.insert(key.clone(), Arc::new(user)).is_some() {
                return Err(UsersError::SharedAccessKey(key));
            }
        }
        Ok(Self { by_access_key: Arc::new(by_access_key) })
    }

    pub(super) fn by_access_key(&self, access_key: &str) -> Option<&Arc<User>> {
        self.by_access_key.get(access_key)
    }
}

impl User {
    pub(super) fn may(&self, bucket: &str, need: Need) -> bool {
        let Some(rules) = &self.buckets else { return true };
        rules.iter().any(|rule| {
            rule.bucket == bucket
                && match need {
                    Need::Read => rule.read,
                    Need::Write => rule.write,
                    Need::Manage => false,
                }
        })
    }

    /// Whether the bucket appears in this user's list of buckets.
    pub(super) fn sees(&self, bucket: &str) -> bool {
        self.may(bucket, Need::Read) || self.may(bucket, Need::Write)
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .field("access_key", &self.access_key)
            .field("buckets", &self.buckets)
            .finish_non_exhaustive()
    }
}

/// Secrets for `s3s`, which compares signatures in constant time.
pub(super) struct Keys(Option<Arc<Users>>);

impl Keys {
    pub(super) fn of(users: Arc<Users>) -> Self {
        Self(Some(users))
    }

    pub(super) fn none() -> Self {
        Self(None)
    }
}

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let user = self.0.as_ref().and_then(|users| users.by_access_key(access_key));
        user.map(|user| SecretKey::from(user.secret_key.as_str())).ok_or_else(|| {
            s3_error!(InvalidAccessKeyId, "the access key is not known to this server")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(access_key: &str, buckets: Option<Vec<BucketRule>>) -> User {
        User {
            name: "anna".into(),
            access_key: access_key.into(),
            secret_key: "0123456789abcdef".into(),
            buckets,
        }
    }

    #[test]
    fn a_rule_allows_what_it_says_and_only_there() {
        let rule = |bucket: &str, read, write| BucketRule { bucket: bucket.into(), read, write };
        let anna = user("A", Some(vec![rule("in", false, true), rule("out", true, false)]));
        let may = |bucket, need| anna.may(bucket, need);
        assert!(may("in", Need::Write) && !may("in", Need::Read));
        assert!(may("out", Need::Read) && !may("out", Need::Write));
        assert!(!may("in", Need::Manage) && !may("other", Need::Read));
        assert!(anna.sees("in") && anna.sees("out") && !anna.sees("other"));
        assert!(user("B", None).may("anything", Need::Manage));
        assert!(!user("C", Some(vec![])).sees("anything"));
    }

    #[test]
    fn users_that_cannot_work_are_refused() {
        let shared = Users::new([user("A", None), user("A", None)]).unwrap_err();
        assert_eq!(shared, UsersError::SharedAccessKey("A".into()));
        assert!(matches!(Users::new([user("", None)]), Err(UsersError::BadAccessKey(..))));
        assert!(matches!(Users::new([user("a/b", None)]), Err(UsersError::BadAccessKey(..))));
        let weak = User { secret_key: "short".into(), ..user("A", None) };
        assert_eq!(Users::new([weak]).unwrap_err(), UsersError::WeakSecret("anna".into()));
    }

    #[test]
    fn the_secret_stays_out_of_debug_output() {
        let users = Users::new([user("A", None)]).unwrap();
        assert!(!format!("{users:?}").contains("0123456789abcdef"));
    }
}
