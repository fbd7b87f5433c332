//! What a function may do with one version of an object: copy it, tag it, delete it.

use backlot_bindings::backlot::storage::objects as wit;
use backlot_ledger::objects::{ObjectRef, Origin, SourceConditions, Tagging};

use super::{Access, StorageCtx, convert_error, convert_info};
use crate::{
    Conditions, Copy, Delete, EtagMatch, MetadataDirective, Pairs, StoreError, TagDirective,
};

type Result<T> = std::result::Result<T, wit::Error>;

impl StorageCtx {
    pub(super) async fn copy(
        &mut self,
        source: wit::Pinned,
        bucket: String,
        key: String,
        if_none_match: bool,
    ) -> Result<wit::ObjectInfo> {
        self.allow(Access::Read, &source.bucket, &source.key)?;
        self.allow(Access::Write, &bucket, &key)?;
        let mut arguments = arguments(&source).to_vec();
        let flag = [u8::from(if_none_match)];
        arguments.extend([bucket.as_bytes(), key.as_bytes(), flag.as_slice()]);
        let call = "backlot:storage/objects.copy";
        let effect = self.effect(call, format!("{bucket}/{key}"), &arguments)?;
        let content_id = Some(source.content_id.clone());
        let copy = Copy {
            source: object(source),
            source_conditions: SourceConditions { content_id, ..SourceConditions::default() },
            bucket,
            key,
            metadata: MetadataDirective::Copy,
            tags: TagDirective::Copy,
            conditions: Conditions {
                if_none_match: if_none_match.then_some(EtagMatch::Any),
                ..Conditions::default()
            },
            checksum: None,
            effect: None,
            principal: self.principal(),
        };
        let store = self.store.clone();
        let work = async |effect| match store.copy(Copy { effect, ..copy }).await {
            Err(StoreError::PreconditionFailed { condition: "content-id" }) => {
                Err(StoreError::NotFound("the version is replaced".into()))
            }
            answer => answer,
        };
        self.once(effect, work).await.map(|info| convert_info(&info))
    }

    pub(super) async fn tags(
        &self,
        bucket: String,
        key: String,
        version: Option<String>,
    ) -> Result<Vec<(String, String)>> {
        self.allow(Access::Read, &bucket, &key)?;
        let tags = self.store.tags(&ObjectRef { bucket, key, version }).await;
        Ok(tags.map_err(convert_error)?.1.into_iter().collect())
    }

    pub(super) async fn tag(
        &mut self,
        pinned: wit::Pinned,
        set: Vec<(String, String)>,
        remove: Vec<String>,
    ) -> Result<()> {
        self.allow(Access::Tag, &pinned.bucket, &pinned.key)?;
        let set: Pairs = set.into_iter().collect();
        let change = serde_json::json!({ "set": set, "remove": remove }).to_string();
        let mut arguments = arguments(&pinned).to_vec();
        arguments.push(change.as_bytes());
        let subject = format!("{}/{}", pinned.bucket, pinned.key);
        let effect = self.effect("backlot:storage/objects.tag", subject, &arguments)?;
        let (content_id, principal) = (pinned.content_id.clone(), self.principal());
        let object = object(pinned);
        let store = self.store.clone();
        let work = async |effect| {
            let origin = Origin { effect, principal };
            store.tag(Tagging { object, content_id, set, remove, origin }).await
        };
        self.once(effect, work).await
    }

    pub(super) async fn delete_version(&mut self, pinned: wit::Pinned) -> Result<()> {
        self.allow(Access::Delete, &pinned.bucket, &pinned.key)?;
        let subject = format!("{}/{}", pinned.bucket, pinned.key);
        let call = "backlot:storage/objects.delete-version";
        let effect = self.effect(call, subject, &arguments(&pinned))?;
        let wit::Pinned { bucket, key, version, content_id } = pinned;
        let delete = Delete {
            bucket,
            key,
            version: Some(version),
            content_id: Some(content_id),
            principal: self.principal(),
            ..Delete::default()
        };
        let store = self.store.clone();
        let work = async |effect| store.delete(Delete { effect, ..delete }).await;
        self.once(effect, work).await.map(drop)
    }
}

/// What tells one version from every other.
fn arguments(object: &wit::Pinned) -> [&[u8]; 4] {
    let wit::Pinned { bucket, key, version, content_id } = object;
    [bucket.as_bytes(), key.as_bytes(), version.as_bytes(), content_id.as_bytes()]
}

fn object(object: wit::Pinned) -> ObjectRef {
    ObjectRef { bucket: object.bucket, key: object.key, version: Some(object.version) }
}
