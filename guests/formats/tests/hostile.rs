//! Files made to hurt: a reason in bounded time and memory, never a panic.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends with the panic that says why"
)]

mod support;

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use backlot_formats::{
    Declared, Format, Input, InputError, Limits, READ_BYTES_MAX, Verdict, validate,
};
use peak_alloc::PeakAlloc;
use proptest::{prelude::*, strategy::ValueTree};
use support::{report, samples};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Working memory, without the walk that is kept for printing and the file that is in memory.
const WORKING_BYTES_MAX: usize = 4 << 20;

/// Bytes of a file that does not exist: a pattern, computed as it is read.
struct Made<F: Fn(u64) -> u8> {
    len: u64,
    byte: F,
    reads: Cell<u64>,
}

impl<F: Fn(u64) -> u8> Made<F> {
    fn new(len: u64, byte: F) -> Self {
        Self { len, byte, reads: Cell::new(0) }
    }
}

impl<F: Fn(u64) -> u8> Input for Made<F> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, InputError> {
        assert!(len <= READ_BYTES_MAX, "a read of {len} bytes");
        self.reads.set(self.reads.get() + 1);
        let end = self.len.min(offset.saturating_add(len as u64));
        Ok((offset.min(end)..end).map(&self.byte).collect())
    }
}

/// The complaint about bytes that nothing is declared of.
fn complaint(bytes: &[u8]) -> String {
    report(bytes, &Declared::default()).complaint().unwrap_or_default()
}

fn script(program: &str, dir: &std::path::Path) {
    let output = std::process::Command::new("python3")
        .args(["-c", program])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn working_memory_stays_under_the_limit() {
    let limits = Limits { walk_structures: 0, ..Limits::default() };
    let small_windows = Limits { zstd_window_bytes: 1 << 20, ..limits };
    for sample in samples() {
        let limits = if sample.format == Format::Zstd { small_windows } else { limits };
        // Cut in half as well: searches for an end go over the whole file.
        for bytes in [sample.bytes.clone(), sample.bytes[..sample.bytes.len() / 2].to_vec()] {
            let before = MEMORY.current_usage();
            MEMORY.reset_peak_usage();
            drop(validate(&bytes, &sample.declared(), &limits).unwrap());
            let used = MEMORY.peak_usage() - before;
            assert!(used <= WORKING_BYTES_MAX, "{}: {used} bytes", sample.name);
        }
    }
    // Gigabytes that are computed: text, and one media data box.
    let text = Made::new(1 << 28, |at| if at % 60 == 59 { b'\n' } else { b'a' + (at % 26) as u8 });
    let head =
        [&b"\0\0\0\x10ftypisom\0\0\0\0"[..], &[0, 0, 0, 1], b"mdat", &(1_u64 << 40).to_be_bytes()];
    let head = head.concat();
    let film = Made::new((1 << 40) + 16, move |at| head.get(at as usize).copied().unwrap_or(0));
    for input in [&text as &dyn Input, &film] {
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let found = validate(input, &Declared::default(), &limits).unwrap();
        let used = MEMORY.peak_usage() - before;
        assert!(used <= WORKING_BYTES_MAX, "{:?}: {used} bytes", found.verdict);
    }
    assert!(film.reads.get() < 100, "a box is not read to be skipped");
}

#[test]
fn counts_at_their_limits_fit_in_memory() {
    // As many entries of an archive, and boxes of media data, as are allowed.
    let (mut body, mut directory) = (Vec::new(), Vec::new());
    for n in 0..100_000_u32 {
        let (name, at) = (format!("{n:08}"), body.len() as u32);
        body.extend(b"PK\x03\x04\x0A\0\0\0\0\0\0\0\0\0");
        body.extend([0; 12]);
        body.extend(b"\x08\0\0\0");
        body.extend(name.as_bytes());
        directory.extend(b"PK\x01\x02\x0A\0\x0A\0\0\0\0\0\0\0\0\0");
        directory.extend([0; 12]);
        directory.extend(b"\x08\0");
        directory.extend([0; 12]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (start, size) = (body.len() as u64, directory.len() as u64);
    let record = start + size;
    let end = [
        b"PK\x06\x06".as_slice(),
        &44_u64.to_le_bytes(),
        &[45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &100_000_u64.to_le_bytes(),
        &100_000_u64.to_le_bytes(),
        &size.to_le_bytes(),
        &start.to_le_bytes(),
        b"PK\x06\x07\0\0\0\0",
        &record.to_le_bytes(),
        &[1, 0, 0, 0],
        b"PK\x05\x06\0\0\0\0",
        &[0xFF; 12],
        &[0, 0],
    ]
    .concat();
    let zip = [body, directory, end].concat();
    let mut film = b"\0\0\0\x10ftypisom\0\0\0\0".to_vec();
    film.extend(b"\0\0\0\x08mdat".repeat(72_000));
    let limits = Limits { walk_structures: 0, ..Limits::default() };
    for (bytes, whole) in [(zip, true), (film, false)] {
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let found = validate(&bytes, &Declared::default(), &limits).unwrap();
        let used = MEMORY.peak_usage() - before;
        assert_eq!(found.is_clean(), whole, "{:?}", found.verdict);
        assert!(used <= WORKING_BYTES_MAX, "{used} bytes");
    }
}

#[test]
fn archives_that_inflate_without_end() {
    let dir = tempfile::tempdir().unwrap();
    script(
        "import zipfile, zlib, gzip, struct
z = zipfile.ZipFile('ratio.zip', 'w', 8)
z.writestr('zeros', bytes(64 << 20)); z.close()
open('ratio.gz', 'wb').write(gzip.compress(bytes(64 << 20)))
# 200 entries that share the data of one, as David Fifield's bombs do.
data = zlib.compress(bytes(1 << 20), 9)[2:-4]
crc = zlib.crc32(bytes(1 << 20))
local = struct.pack('<4sHHHHHIIIHH', b'PK\\3\\4', 20, 0, 8, 0, 33, crc, len(data), 1 << 20, 1, 0) + b'a'
body = local + data
central = b''.join(struct.pack('<4sHHHHHHIIIHHHHHII', b'PK\\1\\2', 20, 20, 0, 8, 0, 33, crc,
    len(data), 1 << 20, 1, 0, 0, 0, 0, 0, 0) + b'a' for _ in range(200))
end = struct.pack('<4sHHHHIIH', b'PK\\5\\6', 0, 0, 200, 200, len(central), len(body), 0)
open('overlap.zip', 'wb').write(body + central + end)
z = zipfile.ZipFile('climb.zip', 'w'); z.writestr('../../etc/passwd', 'x'); z.close()
z = zipfile.ZipFile('twice.zip', 'w'); z.writestr('a', 'x'); z.writestr('a', 'y'); z.close()
z = zipfile.ZipFile('document.docx', 'w'); z.writestr('word/document.xml', '<d/>'); z.close()
z = zipfile.ZipFile('rels.docx', 'w')
z.writestr('[Content_Types].xml', '<Types/>'); z.writestr('_rels/.rels', '<r><Relationship Type=\"x/officeDocument\" Target=\"word/document.xml\"/></r>'); z.close()
",
        dir.path(),
    );
    for (name, expected) in [
        ("ratio.zip", "more than 200 times"),
        ("ratio.gz", "more than 200 times"),
        ("overlap.zip", "entries overlap"),
        ("climb.zip", "leads out of the archive"),
        ("twice.zip", "the same name"),
        ("document.docx", "[Content_Types].xml is missing"),
        ("rels.docx", "the main part word/document.xml is missing"),
    ] {
        let bytes = std::fs::read(dir.path().join(name)).unwrap();
        let text = complaint(&bytes);
        assert!(text.contains(expected), "{name}: {text}");
    }
}

#[test]
fn boxes_and_tables_that_claim_what_is_not_there() {
    let boxed = |kind: &[u8], body: &[u8]| {
        let size = (body.len() as u32 + 8).to_be_bytes();
        [size.as_slice(), kind, body].concat()
    };
    let ftyp = boxed(b"ftyp", b"isom\0\0\0\0");
    for (bytes, expected) in [
        ([&ftyp, &[0xFF; 4][..], b"mdat", b"abc"].concat(), "claims 4294967295 bytes"),
        ([&ftyp, &[0, 0, 0, 1][..], b"mdat", &[0xFF; 8]].concat(), "claims 18446744073709551615"),
        ([&ftyp, &[0, 0, 0, 3][..], b"free"].concat(), "claims 3 bytes"),
        ([ftyp.clone(), boxed(b"mdat", b"abc")].concat(), "moov is missing"),
        ([ftyp.clone(), boxed(b"moov", b"")].concat(), "mdat is missing"),
    ] {
        let text = complaint(&bytes);
        assert!(text.contains(expected), "{text}");
    }
    // Boxes in boxes, 10,000 deep: refused at the limit, not by the end of the stack.
    let mut deep = boxed(b"udta", b"");
    for n in 0..10_000 {
        deep = boxed(if n % 2 == 0 { b"meta" } else { b"udta" }, &[&[0; 4][..], &deep].concat());
    }
    let deep = [ftyp, boxed(b"moov", &deep), boxed(b"mdat", b"")].concat();
    assert!(!report(&deep, &Declared::default()).is_clean());
}

#[test]
fn text_without_bottom() {
    let declared = |name: &str| Declared { name: Some(name.to_owned()), content_type: None };
    let unsupported =
        |bytes: &[u8], name: &str, expected: &str| match report(bytes, &declared(name)).verdict {
            Verdict::Unsupported { what, .. } => assert!(what.contains(expected), "{what}"),
            other => panic!("{name}: {other:?}"),
        };
    unsupported(&b"[".repeat(100_000), "a.json", "nesting: 513 is over the limit of 512");
    unsupported(&b"<a>".repeat(100_000), "a.xml", "nesting: 513 is over the limit of 512");
    unsupported(
        &[b"<a b='".as_slice(), &b"c".repeat(4 << 20), b"'/>"].concat(),
        "a.xml",
        "over the limit",
    );
    let mut srt = b"1\n00:00:01,000 --> 00:00:02,000\n".to_vec();
    srt.extend(b"x".repeat(3 << 20));
    unsupported(&srt, "a.srt", "a line over the limit");
    let laughs =
        b"<?xml version=\"1.0\"?><!DOCTYPE r [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\">]><r>&b;</r>";
    assert!(complaint(laughs).contains("declares entities"), "{}", complaint(laughs));
}

#[test]
fn pointers_that_go_in_circles() {
    let head = "%PDF-1.4\n";
    let xref = "xref\n0 0\ntrailer\n<< /Size 1 /Root 1 0 R /Prev 9 >>\n";
    let text = complaint(format!("{head}{xref}startxref\n9\n%%EOF\n").as_bytes());
    assert!(text.contains("in a circle"), "{text}");
    // Each entry names the same long object.
    let object = format!("1 0 obj\n({})\nendobj\n", "x".repeat(50_000));
    let at = head.len() + object.len();
    let sections = "1 1\n0000000009 00000 n \n".repeat(20_000);
    let all = format!(
        "{head}{object}xref\n{sections}trailer\n<< /Size 2 /Root 1 0 R >>\nstartxref\n{at}\n%%EOF\n"
    );
    let text = complaint(all.as_bytes());
    assert!(text.contains("objects overlap"), "{text}");
}

/// Seconds that one small file may take: many times what it needs on a busy machine.
const EACH_MAX: Duration = Duration::from_secs(5);

fn exercise(bytes: &[u8], declared: &Declared) {
    let started = Instant::now();
    let found = report(bytes, declared);
    assert!(started.elapsed() < EACH_MAX, "{:?}", found.verdict);
    for structure in &found.walk.structures {
        assert!(structure.offset + structure.len <= bytes.len() as u64, "{structure:?}");
    }
    if let Some(trailing) = found.trailing {
        assert_eq!(trailing.offset + trailing.len, bytes.len() as u64);
    }
    let _text = (found.complaint(), found.walk.to_string());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn anything_under_any_name(
        format in 0..Format::all().count(),
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        text in "[ -~\\n]{0,400}",
    ) {
        let format = Format::all().nth(format).unwrap();
        let name = format.extensions().next().map(|extension| format!("a.{extension}"));
        let declared = Declared { name, content_type: None };
        exercise(&bytes, &declared);
        exercise(text.as_bytes(), &declared);
    }
}

#[test]
fn mutants_of_good_files() {
    let samples = samples();
    let strategy =
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..6);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for sample in &samples {
        for _ in 0..60 {
            let changes = strategy.new_tree(&mut runner).unwrap().current();
            let mut bytes = sample.bytes.clone();
            for (place, value, kind) in changes {
                let at = place.index(bytes.len());
                match kind {
                    0 => bytes[at] = value,
                    1 => bytes[at] ^= 1 << (value % 8),
                    2 => bytes.insert(at, value),
                    _ => drop(
                        bytes.drain(at..(at + usize::from(value) + 1).min(bytes.len() - 1).max(at)),
                    ),
                }
            }
            exercise(&bytes, &sample.declared());
        }
    }
}
