//! Host side of `backlot:storage/objects@0.1.0`: what a function may do with objects.
//!
//! Nothing a guest passes is trusted. Each call is checked against the function's grants; a denial
//! is answered and told to the owner of the audit log. Whatever changes something is an [`Effect`]:
//! an attempt that is over changes nothing, and what an earlier attempt did is not done again.

mod antivirus;
mod changes;
mod pinned;

use std::sync::Arc;

use backlot_bindings::backlot::storage::objects as wit;
use backlot_ledger::{Effect, Effects, Fence, crash};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wasmtime::component::{HasData, Resource, ResourceTable};

use crate::{
    Compose, Conditions, Delete, EtagMatch, LIST_MAX, ListQuery, ObjectHeaders, ObjectInfo,
    ObjectReader, ObjectWriter, Pairs, Put, Scanner, Store, StoreError,
};

/// Most bytes of one `read` or `write`: what a call may cost the host's memory.
pub const CALL_BYTES_MAX: u64 = 8 << 20;
/// Most readers and writers that one guest may have open: each may hold a file and 512 KiB.
pub const HANDLES_MAX: u32 = 64;

type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

/// What a function may do to the objects of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Look at, open and list them.
    Read,
    /// Create, overwrite and compose them.
    Write,
    /// Change their tags.
    Tag,
    /// Delete them.
    Delete,
}

impl Access {
    fn name(self) -> &'static str {
        match self {
            Access::Read => "read",
            Access::Write => "write",
            Access::Tag => "tag",
            Access::Delete => "delete",
        }
    }
}

/// One `storage` grant of a function's manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The bucket's name.
    pub bucket: String,
    /// Only keys that begin so; empty: all.
    #[serde(default)]
    pub prefix: String,
    /// What may be done.
    pub access: Vec<Access>,
}

impl Grant {
    fn covers(&self, access: Access, bucket: &str, key: &str) -> bool {
        self.bucket == bucket && key.starts_with(&self.prefix) && self.access.contains(&access)
    }
}

/// Is told of each call that was denied, in words.
pub type OnDenied = Arc<dyn Fn(&str) + Send + Sync>;

/// Storage capability of one guest instance.
pub struct StorageCtx {
    store: Store,
    grants: Arc<[Grant]>,
    /// None: no invocation is behind the guest, so it may look at objects and change none.
    effects: Option<Effects>,
    function: Arc<str>,
    on_denied: OnDenied,
    /// None: not granted; Some(None): there is none.
    scanner: Option<Option<Arc<Scanner>>>,
    /// Readers and writers open now.
    handles: u32,
    bytes_read: u64,
    bytes_written: u64,
}

impl StorageCtx {
    /// The capability of one attempt of a function.
    #[must_use]
    pub fn new(
        store: Store,
        function: Arc<str>,
        grants: Arc<[Grant]>,
        fence: Fence,
        on_denied: OnDenied,
    ) -> StorageCtx {
        let effects = Some(Effects::new(fence));
        StorageCtx { effects, ..StorageCtx::without_invocation(store, function, grants, on_denied) }
    }

    /// The capability of a function that runs outside any invocation, such as for an HTTP request:
    /// it reads as it is granted; what changes something is denied, because nothing would keep it
    /// from being done twice.
    #[must_use]
    pub fn without_invocation(
        store: Store,
        function: Arc<str>,
        grants: Arc<[Grant]>,
        on_denied: OnDenied,
    ) -> StorageCtx {
        let (handles, bytes_read, bytes_written) = (0, 0, 0);
        StorageCtx {
            store,
            grants,
            effects: None,
            function,
            on_denied,
            scanner: None,
            handles,
            bytes_read,
            bytes_written,
        }
    }

    /// The same, which may ask the virus scanner if that is granted (None: it is not), and if there
    /// is one.
    #[must_use]
    pub fn with_scanner(self, scanner: Option<Option<Arc<Scanner>>>) -> StorageCtx {
        StorageCtx { scanner, ..self }
    }

    /// Bytes of objects that the guest has read, for its account.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Bytes that the guest has written to objects, finished or not, for its account.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    fn allow(&self, access: Access, bucket: &str, key: &str) -> Result<(), wit::Error> {
        if self.grants.iter().any(|grant| grant.covers(access, bucket, key)) {
            let may = access == Access::Read || self.effects.is_some();
            return if may { Ok(()) } else { Err(self.only_reads()) };
        }
        let text = format!("no grant to {} {key:?} in bucket {bucket:?}", access.name());
        Err(self.denied(text))
    }

    fn denied(&self, text: String) -> wit::Error {
        (self.on_denied)(&text);
        wit::Error::Denied(text)
    }

    /// The effect that this call is now, for a guest that may have any.
    fn effect(
        &self,
        call: &'static str,
        subject: String,
        arguments: &[&[u8]],
    ) -> Result<Effect, wit::Error> {
        let effects = self.effects.as_ref().ok_or_else(|| self.only_reads())?;
        Ok(effects.next(call, subject, arguments))
    }

    fn only_reads(&self) -> wit::Error {
        self.denied("not a durable invocation: objects can be read, not changed".to_owned())
    }

    async fn opened(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<ObjectReader, wit::Error> {
        self.allow(Access::Read, bucket, key)?;
        self.store.open_object(bucket, key, version).await.map_err(convert_error)
    }

    async fn created(
        &self,
        bucket: String,
        key: String,
        options: wit::WriteOptions,
    ) -> Result<ObjectWriter, wit::Error> {
        self.allow(Access::Write, &bucket, &key)?;
        let Options { headers, metadata, conditions } = convert_options(options);
        let principal = self.principal();
        let put = Put { bucket, key, headers, metadata, conditions, principal, ..Put::default() };
        self.store.writer(put).await.map_err(convert_error)
    }

    fn principal(&self) -> String {
        format!("function:{}", self.function)
    }

    /// The effect that this call is, and what is to be done with it.
    async fn once<T>(
        &mut self,
        effect: Effect,
        work: impl AsyncFnOnce(Option<Effect>) -> Result<T, StoreError>,
    ) -> Result<T, wit::Error> {
        let answer = work(Some(effect.clone())).await.map_err(convert_error)?;
        // Only what was done counts: a call that failed is the same call when it is made again.
        if let Some(effects) = &mut self.effects {
            effects.done(&effect);
        }
        crash::point("effect.after");
        Ok(answer)
    }

    fn take_handle(&mut self) -> Result<(), wit::Error> {
        if HANDLES_MAX <= self.handles {
            let text = format!("open readers and writers: the limit is {HANDLES_MAX}");
            return Err(wit::Error::OverLimit(text));
        }
        self.handles += 1;
        Ok(())
    }
}

/// What the linker gets: the store state hands out views.
pub struct HasStorage;

impl HasData for HasStorage {
    type Data<'a> = StorageView<'a>;
}

/// The capability together with the guest's table of handles, for the time of one call.
pub struct StorageView<'a> {
    /// Handles of the guest.
    pub table: &'a mut ResourceTable,
    /// The capability.
    pub ctx: &'a mut StorageCtx,
}

/// What is behind a `writer`, with how it was described: nothing once it is finished or has failed.
struct Writer(Option<(ObjectWriter, Vec<u8>)>);

impl StorageView<'_> {
    fn reader(&self, handle: &Resource<wit::Reader>) -> wasmtime::Result<&ObjectReader> {
        Ok(self.table.get(&Resource::<ObjectReader>::new_borrow(handle.rep()))?)
    }

    fn writer(&mut self, handle: &Resource<wit::Writer>) -> wasmtime::Result<&mut Writer> {
        Ok(self.table.get_mut(&Resource::<Writer>::new_borrow(handle.rep()))?)
    }
}

impl wit::HostReader for StorageView<'_> {
    async fn info(&mut self, handle: Resource<wit::Reader>) -> wasmtime::Result<wit::ObjectInfo> {
        Ok(convert_info(self.reader(&handle)?.info()))
    }

    async fn read(
        &mut self,
        handle: Resource<wit::Reader>,
        offset: u64,
        len: u32,
    ) -> Answer<Vec<u8>> {
        if let Err(err) = at_most("bytes of one read", len.into(), CALL_BYTES_MAX) {
            return Ok(Err(err));
        }
        let bytes = self.reader(&handle)?.read_at(offset, len as usize).await;
        self.ctx.bytes_read += bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        Ok(bytes.map(Vec::from).map_err(convert_error))
    }

    async fn drop(&mut self, handle: Resource<wit::Reader>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<ObjectReader>::new_own(handle.rep()))?;
        self.ctx.handles = self.ctx.handles.saturating_sub(1);
        Ok(())
    }
}

impl wit::HostWriter for StorageView<'_> {
    async fn write(&mut self, handle: Resource<wit::Writer>, data: Vec<u8>) -> Answer<()> {
        if let Err(err) = at_most("bytes of one write", data.len() as u64, CALL_BYTES_MAX) {
            return Ok(Err(err));
        }
        self.ctx.bytes_written += data.len() as u64;
        let slot = self.writer(&handle)?;
        let Some((writer, _)) = slot.0.as_mut() else { return Ok(Err(spent())) };
        let answer = writer.write(Bytes::from(data)).await;
        if answer.is_err() {
            slot.0 = None;
        }
        Ok(answer.map_err(convert_error))
    }

    async fn finish(&mut self, handle: Resource<wit::Writer>) -> Answer<wit::ObjectInfo> {
        let Some((writer, described)) = self.writer(&handle)?.0.take() else {
            return Ok(Err(spent()));
        };
        let sealed = match writer.seal().await {
            Ok(sealed) => sealed,
            Err(err) => return Ok(Err(convert_error(err))),
        };
        // The bytes are arguments too; their entity tag stands for them.
        let put = sealed.put();
        let effect = self.ctx.effect(
            "backlot:storage/objects.create",
            format!("{}/{}", put.bucket, put.key),
            &[put.bucket.as_bytes(), put.key.as_bytes(), &described, sealed.etag().as_bytes()],
        );
        let effect = match effect {
            Ok(effect) => effect,
            Err(denied) => return Ok(Err(denied)),
        };
        let info = self.ctx.once(effect, async |effect| sealed.commit(effect).await).await;
        Ok(info.map(|info| convert_info(&info)))
    }

    async fn drop(&mut self, handle: Resource<wit::Writer>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Writer>::new_own(handle.rep()))?;
        self.ctx.handles = self.ctx.handles.saturating_sub(1);
        Ok(())
    }
}

impl wit::Host for StorageView<'_> {
    async fn head(
        &mut self,
        bucket: String,
        key: String,
        version: Option<String>,
    ) -> Answer<wit::ObjectInfo> {
        if let Err(denied) = self.ctx.allow(Access::Read, &bucket, &key) {
            return Ok(Err(denied));
        }
        let info = self.ctx.store.head(&bucket, &key, version.as_deref()).await;
        Ok(info.map(|info| convert_info(&info)).map_err(convert_error))
    }

    async fn open(
        &mut self,
        bucket: String,
        key: String,
        version: Option<String>,
    ) -> Answer<Resource<wit::Reader>> {
        let reader = match self.ctx.opened(&bucket, &key, version.as_deref()).await {
            Ok(reader) => reader,
            Err(err) => return Ok(Err(err)),
        };
        if let Err(full) = self.ctx.take_handle() {
            return Ok(Err(full));
        }
        let handle = self.table.push(reader)?;
        Ok(Ok(Resource::new_own(handle.rep())))
    }

    async fn create(
        &mut self,
        bucket: String,
        key: String,
        options: wit::WriteOptions,
    ) -> Answer<Resource<wit::Writer>> {
        let described = described(&options);
        let writer = match self.ctx.created(bucket, key, options).await {
            Ok(writer) => writer,
            Err(err) => return Ok(Err(err)),
        };
        if let Err(full) = self.ctx.take_handle() {
            return Ok(Err(full));
        }
        let handle = self.table.push(Writer(Some((writer, described))))?;
        Ok(Ok(Resource::new_own(handle.rep())))
    }

    async fn compose(
        &mut self,
        bucket: String,
        key: String,
        sources: Vec<String>,
        options: wit::WriteOptions,
    ) -> Answer<wit::ObjectInfo> {
        let reads = sources.iter().map(|source| (Access::Read, source));
        let mut needed = std::iter::once((Access::Write, &key)).chain(reads);
        if let Err(denied) =
            needed.try_for_each(|(access, key)| self.ctx.allow(access, &bucket, key))
        {
            return Ok(Err(denied));
        }
        let described = described(&options);
        let Options { headers, metadata, conditions } = convert_options(options);
        let mut arguments = vec![bucket.as_bytes(), key.as_bytes(), &described];
        arguments.extend(sources.iter().map(String::as_bytes));
        let effect = match self.ctx.effect(
            "backlot:storage/objects.compose",
            format!("{bucket}/{key}"),
            &arguments,
        ) {
            Ok(effect) => effect,
            Err(denied) => return Ok(Err(denied)),
        };
        let compose = Compose {
            bucket,
            key,
            sources,
            headers,
            metadata,
            tags: Pairs::new(),
            conditions,
            effect: None,
            principal: self.ctx.principal(),
        };
        let store = self.ctx.store.clone();
        let work = async |effect| store.compose(Compose { effect, ..compose }).await;
        Ok(self.ctx.once(effect, work).await.map(|info| convert_info(&info)))
    }

    async fn delete(&mut self, bucket: String, key: String) -> Answer<()> {
        if let Err(denied) = self.ctx.allow(Access::Delete, &bucket, &key) {
            return Ok(Err(denied));
        }
        let effect = match self.ctx.effect(
            "backlot:storage/objects.delete",
            format!("{bucket}/{key}"),
            &[bucket.as_bytes(), key.as_bytes()],
        ) {
            Ok(effect) => effect,
            Err(denied) => return Ok(Err(denied)),
        };
        let principal = self.ctx.principal();
        let delete = Delete { bucket, key, principal, ..Delete::default() };
        let store = self.ctx.store.clone();
        let work = async |effect| store.delete(Delete { effect, ..delete }).await;
        Ok(self.ctx.once(effect, work).await.map(drop))
    }

    async fn copy(
        &mut self,
        source: wit::Pinned,
        bucket: String,
        key: String,
        if_none_match: bool,
    ) -> Answer<wit::ObjectInfo> {
        Ok(self.ctx.copy(source, bucket, key, if_none_match).await)
    }

    async fn tags(
        &mut self,
        bucket: String,
        key: String,
        version: Option<String>,
    ) -> Answer<Vec<(String, String)>> {
        Ok(self.ctx.tags(bucket, key, version).await)
    }

    async fn tag(
        &mut self,
        object: wit::Pinned,
        set: Vec<(String, String)>,
        remove: Vec<String>,
    ) -> Answer<()> {
        Ok(self.ctx.tag(object, set, remove).await)
    }

    async fn delete_version(&mut self, object: wit::Pinned) -> Answer<()> {
        Ok(self.ctx.delete_version(object).await)
    }

    async fn list(
        &mut self,
        bucket: String,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Answer<Vec<wit::ObjectInfo>> {
        if let Err(denied) = self.ctx.allow(Access::Read, &bucket, &prefix) {
            return Ok(Err(denied));
        }
        if limit == 0 {
            return Ok(Err(wit::Error::Invalid("limit is 0".into())));
        }
        if let Err(err) = at_most("objects of one list", limit.into(), LIST_MAX.into()) {
            return Ok(Err(err));
        }
        let query = ListQuery { bucket, prefix, delimiter: None, after, limit };
        let page = self.ctx.store.list(query).await;
        Ok(page.map(|page| page.objects.iter().map(convert_info).collect()).map_err(convert_error))
    }
}

/// The arguments of a write besides its name and bytes, to tell effects apart by. Their form is kept
/// with invocations that a later version of the host goes on with: only what a guest can pass is in
/// it, under names of its own.
fn described(options: &wit::WriteOptions) -> Vec<u8> {
    let wit::WriteOptions { content_type, metadata, if_match, if_none_match } = options;
    let described = serde_json::json!({
        "content-type": content_type,
        "metadata": metadata,
        "if-match": if_match,
        "if-none-match": if_none_match,
    });
    described.to_string().into_bytes()
}

struct Options {
    headers: ObjectHeaders,
    metadata: Pairs,
    conditions: Conditions,
}

fn convert_options(options: wit::WriteOptions) -> Options {
    Options {
        headers: ObjectHeaders { content_type: options.content_type, ..ObjectHeaders::default() },
        metadata: options
            .metadata
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect(),
        conditions: Conditions {
            if_match: options.if_match.map(EtagMatch::Is),
            if_none_match: options.if_none_match.then_some(EtagMatch::Any),
        },
    }
}

fn convert_info(info: &ObjectInfo) -> wit::ObjectInfo {
    wit::ObjectInfo {
        bucket: info.bucket.clone(),
        key: info.key.clone(),
        version: info.version_id.clone(),
        content_id: info.content_id.clone(),
        size: info.size,
        etag: info.etag.clone(),
        content_type: info.headers.content_type.clone(),
        modified_at_ms: u64::try_from(info.modified_at.as_millisecond()).unwrap_or(0),
        metadata: info.metadata.clone().into_iter().collect(),
    }
}

/// Each failure as the case that a guest can act on.
fn convert_error(err: StoreError) -> wit::Error {
    match err {
        StoreError::NoSuchBucket(_) => wit::Error::NoSuchBucket,
        StoreError::NotFound(_)
        | StoreError::NoSuchVersion(_)
        | StoreError::DeleteMarker { .. } => wit::Error::NotFound,
        StoreError::PreconditionFailed { .. } => wit::Error::PreconditionFailed,
        StoreError::OverLimit { .. } => wit::Error::OverLimit(err.to_string()),
        StoreError::Fenced => wit::Error::Fenced,
        StoreError::Busy | StoreError::Disk(_) | StoreError::Unavailable(_) => {
            wit::Error::Unavailable(err.to_string())
        }
        // Of the rest a guest can cause only what its arguments say.
        other => wit::Error::Invalid(other.to_string()),
    }
}

fn at_most(what: &'static str, got: u64, limit: u64) -> Result<(), wit::Error> {
    crate::limits::at_most(what, got, limit).map_err(convert_error)
}

fn spent() -> wit::Error {
    wit::Error::Invalid("the writer is finished, or failed before".into())
}
