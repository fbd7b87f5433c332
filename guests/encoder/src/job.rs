//! The whole story of a film, from the event of its upload to the event of its publication.
//!
//! The host may run [`created`] again from its start at any time. What was decided is remembered,
//! what was made is stored, and the children that were started are the same children: whatever is
//! done already costs next to nothing the second time.

use backlot_packaging::storyboard::tile_size;
use backlot_sdk::children::{self, Ending};
use backlot_sdk::{Event, context};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::announce::{self, SourceNote};
use crate::fault::Fault;
use crate::messages::{PartDone, PartOrder, SoundDone, SoundOrder, Upload};
use crate::names::{self, Keys};
use crate::plan::{self, Part, Plan};
use crate::settings::Settings;
use crate::store::{self, Source};
use crate::{PART_KEY, probe, publish, validate};

/// Keys of audio children: the number follows.
const SOUND_KEY: &str = "audio-";
/// How often the parent looks at its children: it is woken when the next sixteenth has ended, so
/// that it sees a failure before all of the work is done.
const WAITS: usize = 16;
/// Why an encoding that failed cannot go on where it was.
const TIDIED: &str = "what was made is gone: to encode anew, replay with --fresh";
/// Longer and shorter side of a poster, in pixels.
const POSTER_SIDES_PX: (u32, u32) = (1_280, 720);

/// An upload was made: make a film of it.
pub fn created(event: &Event) -> Result<Option<Vec<u8>>, Fault> {
    let (upload, source) = read_event(event)?;
    let id = names::content_id(&upload.bucket, &upload.key);
    if let Some(reason) = recall::<String>("failed")? {
        fail(&id, &source, &reason)?;
        return Err(Fault::Publisher(format!("{reason} ({TIDIED})")));
    }
    match film(&upload, &source, &id) {
        Ok(content) => Ok(Some(content)),
        Err(Fault::Gone) => {
            remove_build(&id)?;
            Ok(None)
        }
        Err(Fault::Publisher(reason)) => {
            remember("failed", &reason)?;
            fail(&id, &source, &reason)?;
            Err(Fault::Publisher(reason))
        }
        Err(passing) => Err(passing),
    }
}

/// Nothing of it is left, and the publisher is told.
fn fail(id: &str, source: &SourceNote, reason: &str) -> Result<(), Fault> {
    remove_build(id)?;
    announce::failed(id, source, reason)
}

/// An upload was deleted: what was being made of it goes, what is published stays.
pub fn removed(event: &Event) -> Result<(), Fault> {
    let (upload, _) = read_event(event)?;
    let id = names::content_id(&upload.bucket, &upload.key);
    sweep(&id)
}

/// The encoding of an upload ran out of attempts: nothing half-made is left, and the publisher is
/// told.
pub fn gave_up(event: &Event) -> Result<(), Fault> {
    let GivenUp { event: cause, reason } = serde_json::from_slice(&event.data)?;
    let bucket = cause.source.strip_prefix("/buckets/").unwrap_or(&cause.source).to_owned();
    let id = names::content_id(&bucket, &cause.subject);
    let source =
        SourceNote { bucket, key: cause.subject, etag: String::new(), content_id: String::new() };
    sweep(&id)?;
    let reason = reason.unwrap_or_default();
    announce::failed(&id, &source, &format!("given up after several attempts: {reason}"))
}

/// Make, publish and announce a film; the answer is its `content.json`.
fn film(upload: &Upload, source: &SourceNote, id: &str) -> Result<Vec<u8>, Fault> {
    // Decide what to make; the same in each run.
    let plan: Plan = match recall("plan")? {
        Some(plan) => plan,
        None => {
            // Once, and before anything is stored: what a later attempt deleted of this build would
            // not be stored again.
            if recall::<bool>("swept")?.is_none() {
                sweep(id)?;
                remember("swept", &true)?;
            }
            let settings = Settings::read(std::env::vars()).map_err(|mistake| {
                Fault::Publisher(format!("the encoder's settings are wrong: {mistake}"))
            })?;
            let opened = Source::open(upload)?;
            remember("plan", &probe::plan(upload, &opened, &settings)?)?
        }
    };
    let keys = Keys { id: id.to_owned(), build: plan.build.clone() };

    // Did an earlier run get to the end?
    let published = pointer(&keys)?;
    if let Some(pointer) = &published
        && pointer.build == plan.build
    {
        announce::ready(id, &pointer.content)?;
        tidy(&keys, pointer.previous.as_deref())?;
        return Ok(pointer.content.clone());
    }

    // What an earlier run stored is not stored again.
    if !store::is_stored(&plan.index)? {
        return Err(gone(&plan.index));
    }

    // Encode: one child a part, one an audio track.
    let (sound_ids, part_ids) = start(upload, &plan, &keys)?;
    report(&plan, &[]);
    let sounds: Vec<SoundDone> = outcomes(&sound_ids, &part_ids)?;
    let parts: Vec<PartDone> = wait(&part_ids, &plan)?;

    // Put together, check, and lay out what will be published.
    let film = validate::film(&plan, parts)?;
    let laid_out = publish::lay_out(&plan, &keys, &film, &sounds)?;
    let previous = published.map(|pointer| pointer.build);
    let content = serde_json::to_vec(&laid_out.content(source, previous.clone()))?;

    // The one write that publishes. What it was made of goes only then: an invocation that ends
    // before it finds all of that again.
    store::put(&keys.pointer(), "application/json", &content)?;
    announce::ready(id, &content)?;
    tidy(&keys, previous.as_deref())?;
    Ok(content)
}

/// Once a build is published: viewers of the film before it keep theirs; what is older goes, and so
/// does the work.
fn tidy(keys: &Keys, previous: Option<&str>) -> Result<(), Fault> {
    store::delete_under(&keys.content_prefix(), |key| {
        let build = names::build_of(&keys.id, key);
        !key.starts_with(&keys.work_prefix())
            && (build.is_none() || build == Some(&keys.build) || build == previous)
    })
}

/// Start the children, or find them again.
fn start(upload: &Upload, plan: &Plan, keys: &Keys) -> Result<(Vec<String>, Vec<String>), Fault> {
    if let Some(started) = recall("children")? {
        return Ok(started);
    }
    let function = context::current().function;
    let mut sounds = Vec::new();
    for (number, &track) in plan.audio.iter().enumerate() {
        let order = SoundOrder {
            upload: upload.clone(),
            index: plan.index.clone(),
            work: keys.work_prefix(),
            track,
        };
        let key = format!("{SOUND_KEY}{number}");
        sounds.push(children::start(&function, &key, &serde_json::to_vec(&order)?)?);
    }
    let mut parts = Vec::new();
    for part in plan::start_order(&plan.parts) {
        let order = PartOrder {
            upload: upload.clone(),
            index: plan.index.clone(),
            work: keys.work_prefix(),
            part,
            picture: plan.picture,
            speed: plan.speed,
            frame_rate: plan.frame_rate,
            gop: plan.gop,
            rungs: plan.rungs.clone(),
            tiles: plan
                .tiles
                .iter()
                .copied()
                .filter(|frame| (part.first..part.last).contains(frame))
                .collect(),
            tile_size: tile_size(plan.display.0, plan.display.1),
            poster_size: poster_size(plan.display),
        };
        let key = format!("{PART_KEY}{:04}", part.index);
        parts.push(children::start(&function, &key, &serde_json::to_vec(&order)?)?);
    }
    remember("children", &(sounds, parts))
}

/// Wait for the parts, group by group in the order they were started.
fn wait(parts: &[String], plan: &Plan) -> Result<Vec<PartDone>, Fault> {
    let mut done: Vec<PartDone> = Vec::new();
    for group in parts.chunks(parts.len().div_ceil(WAITS).max(1)) {
        done.extend(outcomes(group, parts)?);
        report(plan, &done);
    }
    Ok(done)
}

/// What these children say they made. If one failed, the `others` are ended.
fn outcomes<T: DeserializeOwned>(ids: &[String], others: &[String]) -> Result<Vec<T>, Fault> {
    let mut answers = Vec::new();
    let ended = if ids.is_empty() { Vec::new() } else { children::wait(ids)? };
    for outcome in ended {
        let reason = match outcome.ending {
            Ending::Succeeded(Some(key)) => {
                let key = String::from_utf8_lossy(&key);
                let stored = store::get(&key)?.ok_or_else(|| gone(&key))?;
                answers.push(serde_json::from_slice(&stored)?);
                continue;
            }
            Ending::Succeeded(None) => "a part of the work gave no answer".to_owned(),
            Ending::Failed(reason) if reason == Fault::Gone.to_string() => {
                cancel(others)?;
                return Err(Fault::Gone);
            }
            Ending::Failed(reason) => reason,
            Ending::Cancelled => "the encoding was cancelled".to_owned(),
        };
        cancel(others)?;
        return Err(Fault::Publisher(reason));
    }
    Ok(answers)
}

/// Part of the work is not where it was stored.
fn gone(key: &str) -> Fault {
    Fault::Publisher(format!("{key} is missing ({TIDIED})"))
}

fn cancel(ids: &[String]) -> Result<(), Fault> {
    for id in ids {
        children::cancel(id)?;
    }
    Ok(())
}

/// Delete what is stored of this invocation's build, unless it is published.
fn remove_build(id: &str) -> Result<(), Fault> {
    let Some(plan) = recall::<Plan>("plan")? else { return sweep(id) };
    let keys = Keys { id: id.to_owned(), build: plan.build };
    if pointer(&keys)?.is_some_and(|pointer| pointer.build == keys.build) {
        return store::delete_under(&keys.work_prefix(), |_| false);
    }
    store::delete_under(&keys.build_prefix(), |_| false)
}

/// Delete every build of a content but the published one and the one before it.
fn sweep(id: &str) -> Result<(), Fault> {
    let keys = Keys { id: id.to_owned(), build: String::new() };
    let pointer = pointer(&keys)?;
    let published = pointer.as_ref().map(|pointer| pointer.build.as_str());
    let previous = pointer.as_ref().and_then(|pointer| pointer.previous.as_deref());
    store::delete_under(&keys.content_prefix(), |key| match names::build_of(id, key) {
        None => true,
        build => [published, previous].contains(&build),
    })
}

/// What is published of a content. Only what is needed here is read, so that what other versions
/// of this guest wrote is understood too.
#[derive(Deserialize)]
struct Pointer {
    build: String,
    #[serde(default)]
    previous: Option<String>,
    /// All of `content.json`.
    #[serde(skip)]
    content: Vec<u8>,
}

fn pointer(keys: &Keys) -> Result<Option<Pointer>, Fault> {
    let Some(content) = store::get(&keys.pointer())? else { return Ok(None) };
    let pointer: Pointer = serde_json::from_slice(&content)?;
    Ok(Some(Pointer { content, ..pointer }))
}

fn recall<T: DeserializeOwned>(name: &str) -> Result<Option<T>, Fault> {
    match context::recall(name) {
        Some(value) => Ok(Some(serde_json::from_slice(&value)?)),
        None => Ok(None),
    }
}

fn remember<T: DeserializeOwned + serde::Serialize>(name: &str, value: &T) -> Result<T, Fault> {
    let first = context::remember(name, &serde_json::to_vec(value)?)?;
    Ok(serde_json::from_slice(&first)?)
}

/// Show how much is finished: parts, and the frames in them.
fn report(plan: &Plan, parts: &[PartDone]) {
    let frames = |part: &Part| part.last - part.first;
    let strand = |name: &str, done: u64, total: u64, unit: &str| context::Progress {
        name: name.to_owned(),
        done,
        total,
        unit: unit.to_owned(),
    };
    context::report_progress(&[
        strand("plan", parts.len() as u64, plan.parts.len() as u64, "parts"),
        strand("film", parts.iter().map(|done| frames(&done.part)).sum(), plan.frames, "frames"),
    ]);
}

fn poster_size((width, height): (u32, u32)) -> (u32, u32) {
    let (longer, shorter) = POSTER_SIDES_PX;
    let (across, down) = if height <= width { (longer, shorter) } else { (shorter, longer) };
    let scale = (f64::from(across) / f64::from(width.max(1)))
        .min(f64::from(down) / f64::from(height.max(1)))
        .min(1.0);
    let side = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
    (side(width), side(height))
}

/// S3's record of an object event (`backlot.object.*`).
#[derive(Deserialize)]
struct Record {
    s3: S3,
}

#[derive(Deserialize)]
struct S3 {
    bucket: Bucket,
    object: Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    key: String,
    #[serde(default)]
    e_tag: Option<String>,
    #[serde(default)]
    version_id: Option<String>,
    #[serde(default)]
    content_id: Option<String>,
}

/// The data of `backlot.function.failed`.
#[derive(Deserialize)]
struct GivenUp {
    event: Cause,
    reason: Option<String>,
}

/// The event that started what failed.
#[derive(Deserialize)]
struct Cause {
    source: String,
    subject: String,
}

fn read_event(event: &Event) -> Result<(Upload, SourceNote), Fault> {
    let Record { s3: S3 { bucket, object } } = serde_json::from_slice(&event.data)?;
    let content_id = object.content_id.unwrap_or_default();
    let upload = Upload {
        bucket: bucket.name.clone(),
        key: object.key.clone(),
        version: object.version_id.filter(|version| version != "null"),
        content_id: content_id.clone(),
    };
    let source = SourceNote {
        bucket: bucket.name,
        key: object.key,
        etag: object.e_tag.unwrap_or_default(),
        content_id,
    };
    Ok((upload, source))
}
