//! The parts put together: is every frame there exactly once, when it should be?

use backlot_packaging::av1::Av1Config;
use backlot_packaging::fragment::Fragment;

use crate::fault::Fault;
use crate::messages::{PartDone, TilesDone};
use crate::plan::{Plan, Rung};

/// One rung of the whole film.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilmRung {
    /// What was ordered.
    pub rung: Rung,
    /// The encoder's configuration, the same in all parts.
    pub config: Av1Config,
    /// Keys of the parts' fragments, in order.
    pub keys: Vec<String>,
    /// The fragments, with offsets from the begin of the first.
    pub fragments: Vec<Fragment>,
    /// Bytes of all fragments.
    pub bytes: u64,
}

/// The video of the whole film.
#[derive(Debug, Clone, PartialEq)]
pub struct Film {
    /// The rungs, best first.
    pub rungs: Vec<FilmRung>,
    /// The thumbnails of each part that has some, in order.
    pub tiles: Vec<TilesDone>,
}

/// Put the parts together, sorted by their index and never by when they ended, and check that the
/// film is whole: parts as planned, every frame once, fragments at groups of pictures, times without
/// a gap, and one configuration for each rung.
pub fn film(plan: &Plan, mut parts: Vec<PartDone>) -> Result<Film, Fault> {
    parts.sort_by_key(|done| done.part.index);
    let planned = plan.parts.iter().copied();
    if !parts.iter().map(|done| done.part).eq(planned) {
        return Err(fault("the parts are not those of the plan"));
    }
    let rungs = plan
        .rungs
        .iter()
        .enumerate()
        .map(|(position, rung)| film_rung(plan, rung, position, &parts))
        .collect::<Result<_, _>>()?;
    let tiles: Vec<TilesDone> = parts.into_iter().filter_map(|done| done.tiles).collect();
    if !tiles.iter().flat_map(|done| &done.frames).eq(&plan.tiles) {
        return Err(fault("the thumbnails are not those of the plan"));
    }
    Ok(Film { rungs, tiles })
}

fn film_rung(
    plan: &Plan,
    rung: &Rung,
    position: usize,
    parts: &[PartDone],
) -> Result<FilmRung, Fault> {
    let name = &rung.name;
    let (mut keys, mut fragments, mut bytes) = (Vec::new(), Vec::<Fragment>::new(), 0);
    let mut config: Option<&str> = None;
    let mut frame = 0;
    for part in parts {
        let done = part
            .rungs
            .get(position)
            .ok_or_else(|| fault(&format!("part {} lacks {name}", part.part.index)))?;
        if *config.get_or_insert(&done.config) != done.config {
            return Err(fault(&format!("{name}: the parts differ in their configuration")));
        }
        if frame != part.part.first {
            return Err(fault(&format!("{name}: part {} begins elsewhere", part.part.index)));
        }
        let mut offset = 0;
        for fragment in &done.fragments {
            if fragment.offset != offset {
                return Err(fault(&format!("{name}: a fragment is not where it should be")));
            }
            offset += fragment.bytes;
            let follows = fragments.last().map(|before| before.start + before.duration);
            if follows.is_some_and(|end| end != fragment.start) {
                return Err(fault(&format!("{name}: the times have a gap at frame {frame}")));
            }
            if !frame.is_multiple_of(plan.gop) || plan.gop < u64::from(fragment.samples) {
                return Err(fault(&format!("{name}: a fragment is not a group of pictures")));
            }
            frame += u64::from(fragment.samples);
            fragments.push(Fragment { offset: bytes + fragment.offset, ..*fragment });
        }
        if offset != done.bytes || frame != part.part.last {
            return Err(fault(&format!("{name}: part {} is not whole", part.part.index)));
        }
        bytes += done.bytes;
        keys.push(done.key.clone());
    }
    let end = fragments.last().map(|last| last.start + last.duration);
    if frame != plan.frames || end != Some(plan.end) {
        return Err(fault(&format!("{name}: {frame} frames instead of {}", plan.frames)));
    }
    let config = hex::decode(config.unwrap_or_default())
        .map_err(|_| fault(&format!("{name}: the configuration is not hexadecimal")))?;
    Ok(FilmRung { rung: rung.clone(), config: Av1Config::parse(&config)?, keys, fragments, bytes })
}

fn fault(why: &str) -> Fault {
    Fault::Passing(format!("the film is not whole: {why}"))
}
