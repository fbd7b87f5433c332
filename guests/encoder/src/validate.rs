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

#[cfg(test)]
mod tests {
    use backlot_packaging::av1::Colour;

    use super::*;
    use crate::messages::RungDone;
    use crate::plan::{Part, Picture};

    /// An `av1C` of a 64×64 stream with its sequence header, from SVT-AV1.
    const CONFIG: &str = "81000c000a0a00000002afff9f7f2008";

    fn plan() -> Plan {
        Plan {
            build: "b".to_owned(),
            index: "i".to_owned(),
            encoder: "e".to_owned(),
            preset: "fast".to_owned(),
            speed: 10,
            frames: 5,
            timescale: 25,
            end: 5,
            frame_rate: (25, 1),
            gop: 2,
            picture: Picture {
                width: 64,
                height: 64,
                bit_depth: 8,
                chroma: (32, 32),
                colour: Colour::UNSPECIFIED,
            },
            display: (64, 64),
            rungs: vec![Rung { name: "64p".to_owned(), width: 64, height: 64, quantizer: 100 }],
            parts: vec![Part { index: 0, first: 0, last: 2 }, Part { index: 1, first: 2, last: 5 }],
            tiles: vec![0, 3],
            tile_starts_ms: vec![0, 120],
            audio: Vec::new(),
            mp4: false,
        }
    }

    fn fragment(start: u64, samples: u32, offset: u64) -> Fragment {
        Fragment { start, duration: u64::from(samples), samples, offset, bytes: 10 }
    }

    fn part(index: u64, fragments: Vec<Fragment>, tile: u64) -> PartDone {
        let plan = plan();
        PartDone {
            part: plan.parts[index as usize],
            rungs: vec![RungDone {
                key: format!("k{index}"),
                bytes: 10 * fragments.len() as u64,
                config: CONFIG.to_owned(),
                fragments,
                sha256: String::new(),
            }],
            tiles: Some(TilesDone {
                key: "t".to_owned(),
                frames: vec![tile],
                poster: "p".to_owned(),
                interest: 1.0,
            }),
        }
    }

    fn parts() -> Vec<PartDone> {
        vec![
            part(1, vec![fragment(2, 2, 0), fragment(4, 1, 10)], 3),
            part(0, vec![fragment(0, 2, 0)], 0),
        ]
    }

    fn check(break_it: impl FnOnce(&mut Vec<PartDone>)) -> String {
        let mut parts = parts();
        break_it(&mut parts);
        film(&plan(), parts).map_or_else(|fault| fault.to_string(), |_| "whole".to_owned())
    }

    #[test]
    fn parts_in_any_order_make_one_film() {
        let film = film(&plan(), parts()).unwrap();
        let rung = &film.rungs[0];
        assert_eq!(rung.keys, ["k0", "k1"]);
        assert_eq!(rung.bytes, 30);
        let places: Vec<_> = rung.fragments.iter().map(|one| (one.start, one.offset)).collect();
        assert_eq!(places, [(0, 0), (2, 10), (4, 20)]);
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        assert_eq!(check(|_| {}), "whole");
        assert!(check(|parts| parts.truncate(1)).contains("not those of the plan"));
        assert!(check(|parts| parts[1] = parts[0].clone()).contains("not those of the plan"));
        assert!(check(|parts| parts[0].rungs.clear()).contains("lacks 64p"));
        let first = |parts: &mut Vec<PartDone>, change: fn(&mut RungDone)| {
            change(&mut parts[0].rungs[0]);
        };
        assert!(check(|p| first(p, |r| r.fragments[0].start = 3)).contains("a gap at frame 2"));
        assert!(check(|p| first(p, |r| r.fragments[0].samples = 1)).contains("group of pictures"));
        assert!(check(|p| first(p, |r| r.fragments[1].offset = 9)).contains("where it should"));
        assert!(check(|p| first(p, |r| r.bytes = 21)).contains("part 1 is not whole"));
        assert!(check(|p| first(p, |r| r.config = "81".to_owned())).contains("configuration"));
        assert!(
            check(|p| first(p, |r| {
                r.fragments.pop();
            }))
            .contains("part 1 is not whole")
        );
        assert!(check(|parts| parts[0].tiles = None).contains("thumbnails"));
    }
}
