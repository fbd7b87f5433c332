//! Good files of independent tools: no false alarms, and names of all kinds agree or not.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends with the panic that says why"
)]

mod support;

use backlot_formats::{Declared, Format, Verdict};
use support::{report, samples};

#[test]
fn good_files_raise_no_alarm() {
    let mut wrong = Vec::new();
    for sample in samples() {
        let found = sample.check(&sample.bytes);
        println!("{:18} {:?} {:?}", sample.name, found.verdict, found.trailing);
        if !found.is_clean() || found.format() != Some(sample.format) {
            wrong.push(format!("{}: {:?}", sample.name, found.complaint()));
        }
        // Without a name and a type the same is found, but for text without a sign of its kind.
        let bare = report(&sample.bytes, &Declared::default());
        if sample.format != Format::Csv && bare.format() != Some(sample.format) {
            wrong.push(format!("{} without a name: {:?}", sample.name, bare.verdict));
        }
        assert!(!found.walk.to_string().is_empty(), "{}", sample.name);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn wrong_types_are_found() {
    let (mut cases, mut found) = (0, 0);
    let mut missed = Vec::new();
    for sample in samples() {
        for other in Format::all() {
            let extension = other.extensions().next().unwrap();
            if agrees(sample.format, other, &sample.name) {
                continue;
            }
            let name = Some(format!("upload.{extension}"));
            let by_name = report(&sample.bytes, &Declared { name, content_type: None });
            let content_type = other.media_types().next().map(str::to_owned);
            let by_type = report(&sample.bytes, &Declared { name: None, content_type });
            cases += 2;
            for (by, answer) in [("name", by_name), ("type", by_type)] {
                if answer.is_clean() {
                    missed.push(format!("{} as {other} by {by}", sample.name));
                } else {
                    found += 1;
                }
            }
        }
    }
    println!("wrong types: {cases} cases, {found} found");
    assert!(missed.is_empty(), "{missed:#?}");
}

/// Whether the format is also the other, or no one could tell.
fn agrees(format: Format, other: Format, name: &str) -> bool {
    let mut wider = Some(format);
    while let Some(one) = wider {
        if one == other {
            return true;
        }
        wider = one.is_a();
    }
    match (format, other) {
        // Extensions and media types that several formats share.
        (Format::Mp4, Format::M4a) => true,
        // Text in which nothing is a sign of another kind.
        (Format::Text, Format::Csv) => name == "utf8.txt",
        _ => false,
    }
}

#[test]
fn what_is_recognised_but_not_walked_is_not_valid() {
    for (bytes, format) in [
        (b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xFF\xFF\0\0".repeat(8), Format::WindowsExe),
        (b"\x7FELF\x02\x01\x01\0".repeat(8), Format::Elf),
        (b"<!DOCTYPE html><html></html>".to_vec(), Format::Html),
        (b"#!/bin/sh\nexit\n".to_vec(), Format::Script),
        (b"Rar!\x1A\x07\x01\0abc".to_vec(), Format::Rar),
    ] {
        let found = report(&bytes, &Declared::default());
        let right =
            matches!(found.verdict, Verdict::Unsupported { format: Some(f), .. } if f == format);
        assert!(right, "{:?}", found.verdict);
    }
}

#[test]
fn what_follows_the_end_is_told_with_its_place() {
    let samples = samples();
    let by_name = |name: &str| samples.iter().find(|sample| sample.name == name).unwrap();
    let (picture, archive) = (by_name("ffmpeg.png"), by_name("stored.zip"));
    let found = picture.check(&[picture.bytes.as_slice(), &archive.bytes].concat());
    assert!(matches!(found.verdict, Verdict::Valid { format: Format::Png, .. }));
    let trailing = found.trailing.unwrap();
    assert_eq!(trailing.offset, picture.bytes.len() as u64);
    assert_eq!(trailing.len, archive.bytes.len() as u64);
    assert_eq!(trailing.looks_like, Some(Format::Zip));
    let text = found.complaint().unwrap();
    assert!(text.ends_with("which look like ZIP"), "{text}");
    // The other way round the archive has bytes before its first entry.
    let found = archive.check(&[picture.bytes.as_slice(), &archive.bytes].concat());
    assert_eq!(found.disagreements.len(), 2, "{:?}", found.disagreements);
    let mut script = b"\0\x01\x02".to_vec();
    script.extend(&archive.bytes);
    let text = archive.check(&script).complaint().unwrap();
    assert!(text.contains("3 bytes lie before the first entry"), "{text}");
}
