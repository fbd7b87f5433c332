//! What there is to watch, and what is on its way: the answer of `/api/v1/content`.

use std::sync::Arc;

use backlot_ledger::{Invocation, InvocationId, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::work::Work;

/// Hex digits of the digest at the end of a content id.
const ID_DIGEST_DIGITS: usize = 10;
/// Longest slug at the beginning of a content id, in characters.
const SLUG_CHARS_MAX: usize = 60;

/// One piece of content: the newest job for a source object, and what is published of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Content {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) source: Source,
    pub(super) state: Stage,
    /// Why it failed, for the person who uploaded it.
    pub(super) reason: Option<String>,
    /// The newest job, where the ledger still has it.
    pub(super) invocation: Option<InvocationId>,
    pub(super) accepted_at: Option<Timestamp>,
    pub(super) ended_at: Option<Timestamp>,
    /// While the job is at work, and of one that failed on its way; else without parts.
    pub(super) progress: Work,
    /// The build that is published.
    pub(super) build: Option<String>,
    /// May be there in any state: an earlier upload under the same key stays watchable until the
    /// newer one is ready.
    #[serde(serialize_with = "shared")]
    pub(super) published: Option<Arc<Published>>,
    pub(super) links: Links,
}

/// Without serde's feature for `Arc`, which would hold for the whole program.
fn shared<S: serde::Serializer>(
    published: &Option<Arc<Published>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    published.as_deref().serialize(serializer)
}

/// The object that was uploaded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Source {
    pub(super) bucket: String,
    pub(super) key: String,
}

/// Where the newest job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// Waits for its turn.
    Queued,
    /// The source is looked at; parts are not planned yet.
    Probing,
    /// Parts are being encoded.
    Encoding,
    /// Parts are done; playlists are written and checked.
    Publishing,
    Ready,
    Failed,
    Cancelled,
}

impl Stage {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Probing => "probing",
            Self::Encoding => "encoding",
            Self::Publishing => "publishing",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Paths on this server.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Links {
    pub(super) watch: Option<String>,
    pub(super) hls: Option<String>,
    pub(super) dash: Option<String>,
    pub(super) mp4: Option<String>,
    pub(super) poster: Option<String>,
    pub(super) storyboard: Option<String>,
    pub(super) invocation: Option<String>,
}

/// `content.json`, as the encoder wrote it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Published {
    pub(super) id: String,
    #[serde(default)]
    pub(super) title: String,
    pub(super) source: Source,
    pub(super) build: String,
    #[serde(default)]
    pub(super) duration_ms: u64,
    #[serde(default)]
    pub(super) frames: u64,
    #[serde(default)]
    pub(super) width: u32,
    #[serde(default)]
    pub(super) height: u32,
    pub(super) master: Option<String>,
    pub(super) dash: Option<String>,
    pub(super) poster: Option<String>,
    pub(super) storyboard: Option<String>,
    pub(super) mp4: Option<String>,
    #[serde(default)]
    pub(super) rungs: Vec<PublishedRung>,
    #[serde(default)]
    pub(super) audio: Vec<serde_json::Value>,
    pub(super) encoder: Option<String>,
    pub(super) preset: Option<String>,
    /// When its `content.json` was written: the encoder itself sees a clock that stands still.
    #[serde(skip_deserializing)]
    pub(super) published_at: Timestamp,
}

/// One rendition as published.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PublishedRung {
    pub(super) name: String,
    pub(super) width: u32,
    pub(super) height: u32,
    #[serde(default)]
    pub(super) bytes: u64,
    #[serde(default)]
    pub(super) codec: String,
}

/// The id's digest, which alone makes it unique.
pub(super) fn id_digest(source: &Source) -> String {
    let digest = Sha256::digest(format!("{}/{}", source.bucket, source.key));
    let mut text = hex::encode(digest);
    text.truncate(ID_DIGEST_DIGITS);
    text
}

/// What the encoder will call content that it has not published yet. Only the digest at its end
/// is relied on.
fn provisional_id(source: &Source) -> String {
    let mut slug = String::new();
    for letter in file_stem(&source.key).chars() {
        if slug.len() >= SLUG_CHARS_MAX {
            break;
        }
        if letter.is_ascii_alphanumeric() {
            slug.push(letter.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-');
    let slug = if slug.is_empty() { "film" } else { slug };
    format!("{slug}-{}", id_digest(source))
}

fn file_stem(key: &str) -> &str {
    let name = key.rsplit('/').find(|part| !part.is_empty()).unwrap_or(key);
    match name.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => name,
    }
}

impl Content {
    /// Of a job, what is published, or both.
    pub(super) fn new(
        source: Source,
        job: Option<(&Invocation, Work)>,
        published: Option<Arc<Published>>,
    ) -> Self {
        let id = match &published {
            Some(published) => published.id.clone(),
            None => provisional_id(&source),
        };
        let title = match &published {
            Some(published) if !published.title.is_empty() => published.title.clone(),
            _ => file_stem(&source.key).to_owned(),
        };
        let build = published.as_ref().map(|published| published.build.clone());
        let mut links = Links::of(&id, published.as_deref());
        let Some((job, work)) = job else {
            return Self {
                id,
                title,
                source,
                state: Stage::Ready,
                reason: None,
                invocation: None,
                accepted_at: None,
                ended_at: None,
                progress: Work::default(),
                build,
                published,
                links,
            };
        };
        links.invocation = Some(format!("/api/v1/invocations/{}", job.id));
        let state = stage(job, &work);
        let told = matches!(state, Stage::Failed | Stage::Cancelled);
        Self {
            id,
            title,
            source,
            state,
            reason: job.reason.clone().filter(|_| told),
            invocation: Some(job.id.clone()),
            accepted_at: Some(job.accepted_at),
            ended_at: job.ended_at,
            progress: work,
            build,
            published,
            links,
        }
    }

    /// Whether an id from a link means this. Links made before it was published may carry a
    /// provisional slug.
    pub(super) fn answers_to(&self, id: &str) -> bool {
        self.id == id
            || id.rsplit_once('-').is_some_and(|(_, digest)| digest == id_digest(&self.source))
    }
}

impl Links {
    fn of(id: &str, published: Option<&Published>) -> Self {
        let Some(published) = published else {
            return Self { watch: Some(format!("/watch/{id}")), ..Self::default() };
        };
        let below =
            |path: &Option<String>| path.as_ref().map(|path| format!("/content/{id}/{path}"));
        Self {
            watch: Some(format!("/watch/{id}")),
            hls: below(&published.master),
            dash: below(&published.dash),
            mp4: below(&published.mp4),
            poster: below(&published.poster),
            storyboard: below(&published.storyboard),
            invocation: None,
        }
    }
}

fn stage(job: &Invocation, work: &Work) -> Stage {
    let parts = work.parts.as_slice();
    match job.state {
        State::Succeeded => Stage::Ready,
        State::Failed => Stage::Failed,
        State::Cancelled => Stage::Cancelled,
        State::Queued if parts.is_empty() => Stage::Queued,
        State::Running | State::Parked if parts.is_empty() => Stage::Probing,
        _ if parts.iter().all(|part| part.state.ended()) => Stage::Publishing,
        _ => Stage::Encoding,
    }
}
