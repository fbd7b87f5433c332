//! Reads the ledger and the content bucket, and merges them into one list.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backlot_ledger::{Invocation, InvocationFilter, Ledger};
use backlot_storage::{ListQuery, Store, StoreError};
use jiff::Timestamp;
use tokio::sync::Mutex;

use super::LiveWork;
use super::content::{Content, Published, Source};
use super::feed::CONTENT_MAX;
use super::reply::Fault;
use super::work::Work;

/// Pages of invocations read to find the newest of each source; older ones are not shown.
const PAGES_MAX: usize = 8;
/// Largest `content.json` that is read.
const POINTER_BYTES_MAX: usize = 256 * 1024;
/// How long the list of what is published is trusted while no job ends. Content may be deleted
/// over S3, and nothing tells us.
const PUBLISHED_AGE_MAX: Duration = Duration::from_secs(5);
/// Last segment of a pointer's key.
const POINTER: &str = "content.json";

/// Where the list comes from.
pub(super) struct Sources {
    pub(super) ledger: Ledger,
    pub(super) store: Store,
    pub(super) live: Arc<dyn LiveWork>,
    pub(super) encoder: String,
    pub(super) content: String,
}

/// What is published, as last seen.
#[derive(Default)]
pub(super) struct Shelf {
    state: Mutex<ShelfState>,
}

#[derive(Default)]
struct ShelfState {
    seen_at: Option<(Instant, Timestamp)>,
    by_id: HashMap<String, (String, Arc<Published>)>,
}

impl Shelf {
    /// The next look reads the bucket again.
    pub(super) async fn forget(&self) {
        self.state.lock().await.seen_at = None;
    }

    /// What is published, as seen a moment ago, but after `ended`: a job that has ended has
    /// published before.
    async fn look(
        &self,
        sources: &Sources,
        ended: Option<Timestamp>,
    ) -> Result<Vec<Arc<Published>>, Fault> {
        let mut state = self.state.lock().await;
        let is_old = |(at, time): (Instant, Timestamp)| {
            PUBLISHED_AGE_MAX < at.elapsed() || ended.is_some_and(|ended| time <= ended)
        };
        if state.seen_at.is_none_or(is_old) {
            let seen_at = (Instant::now(), Timestamp::now());
            let found = sources.published(&state.by_id).await?;
            *state = ShelfState { seen_at: Some(seen_at), by_id: found };
        }
        Ok(state.by_id.values().map(|(_, published)| published.clone()).collect())
    }
}

impl Sources {
    /// At most [`CONTENT_MAX`] pieces, the newest first.
    pub(super) async fn read(&self, shelf: &Shelf) -> Result<Vec<Content>, Fault> {
        let (jobs, removed) = self.jobs().await?;
        let ended = jobs.iter().filter_map(|(_, job)| job.ended_at).max();
        let mut published: BTreeMap<Source, Arc<Published>> = BTreeMap::new();
        for one in shelf.look(self, ended).await? {
            published.insert(one.source.clone(), one);
        }
        let mut list = Vec::with_capacity(jobs.len());
        for (source, job) in &jobs {
            let work = Work::read(&self.ledger, &*self.live, job).await?;
            list.push(Content::new(source.clone(), Some((job, work)), published.remove(source)));
        }
        for (source, one) in published {
            if !removed.contains(&source) {
                list.push(Content::new(source, None, Some(one)));
            }
        }
        list.truncate(CONTENT_MAX);
        Ok(list)
    }

    /// The newest job of each source, and the sources that were deleted last.
    async fn jobs(&self) -> Result<(Vec<(Source, Invocation)>, BTreeSet<Source>), Fault> {
        let mut seen = BTreeSet::new();
        let mut removed = BTreeSet::new();
        let mut jobs = Vec::new();
        let mut before = None;
        for _ in 0..PAGES_MAX {
            let filter = InvocationFilter {
                function: Some(self.encoder.clone()),
                roots_only: true,
                before,
                ..InvocationFilter::default()
            };
            let page = self.ledger.invocations(filter).await?;
            let Some(last) = page.last().map(|job| job.id.clone()) else { break };
            for job in page {
                let Some(source) = source_of(&job) else { continue };
                if !seen.insert(source.clone()) {
                    continue;
                }
                if job.event_kind == "backlot.object.removed" {
                    removed.insert(source);
                } else {
                    jobs.push((source, job));
                }
            }
            if CONTENT_MAX <= jobs.len() {
                break;
            }
            before = Some(last);
        }
        Ok((jobs, removed))
    }

    /// Reads the pointers that changed since `known`.
    async fn published(
        &self,
        known: &HashMap<String, (String, Arc<Published>)>,
    ) -> Result<HashMap<String, (String, Arc<Published>)>, Fault> {
        let query = ListQuery {
            bucket: self.content.clone(),
            delimiter: Some("/".to_owned()),
            limit: 1_000,
            ..ListQuery::default()
        };
        let page = match self.store.list(query).await {
            Err(StoreError::NoSuchBucket(_)) => return Ok(HashMap::new()),
            page => page?,
        };
        let mut found = HashMap::new();
        for folder in page.prefixes.iter().take(CONTENT_MAX) {
            let key = format!("{folder}{POINTER}");
            let id = folder.trim_end_matches('/').to_owned();
            let info = match self.store.head(&self.content, &key, None).await {
                // Being encoded for the first time, or deleted.
                Err(StoreError::NotFound(_) | StoreError::DeleteMarker { .. }) => continue,
                info => info?,
            };
            let entry = match known.get(&id) {
                Some((content_id, one)) if *content_id == info.content_id => one.clone(),
                _ => match self.pointer(&key).await? {
                    Some(one) if one.id == id => Arc::new(one),
                    _ => continue,
                },
            };
            found.insert(id, (info.content_id, entry));
        }
        Ok(found)
    }

    async fn pointer(&self, key: &str) -> Result<Option<Published>, Fault> {
        let reader = match self.store.open_object(&self.content, key, None).await {
            Err(StoreError::NotFound(_) | StoreError::DeleteMarker { .. }) => return Ok(None),
            reader => reader?,
        };
        let bytes = reader.read_at(0, POINTER_BYTES_MAX).await?;
        let published_at = reader.info().modified_at;
        match serde_json::from_slice::<Published>(&bytes) {
            Ok(published) => Ok(Some(Published { published_at, ..published })),
            Err(err) => {
                tracing::warn!(key, %err, "a content.json could not be read; it is not shown");
                Ok(None)
            }
        }
    }
}

fn source_of(job: &Invocation) -> Option<Source> {
    let bucket = job.event_source.strip_prefix("/buckets/")?.to_owned();
    Some(Source { bucket, key: job.event_subject.clone()? })
}
