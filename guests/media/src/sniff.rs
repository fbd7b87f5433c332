//! Names for files that are not read, so that the publisher is told what was sent.

use crate::error::MediaError;

/// The error for a file that starts like this.
pub(crate) fn refuse(head: &[u8]) -> MediaError {
    if head.is_empty() {
        return MediaError::damaged("it is empty");
    }
    if head.iter().all(|&byte| byte == 0) {
        return MediaError::damaged("it starts with nothing but zeros");
    }
    MediaError::unsupported(match name(head) {
        Some(name) => format!("a file of type {name}"),
        None if head.iter().all(|&byte| 9 <= byte && byte != 127) => "a text file".into(),
        None => "a file of this type".into(),
    })
}

fn name(head: &[u8]) -> Option<&'static str> {
    const PREFIXES: [(&[u8], &str); 15] = [
        (b"FLV", "Flash video"),
        (&[0x30, 0x26, 0xB2, 0x75, 0x8E, 0x66, 0xCF, 0x11], "Windows Media"),
        (b"OggS", "Ogg"),
        (&[0, 0, 1, 0xBA], "MPEG program stream"),
        (&[0, 0, 1, 0xB3], "MPEG video"),
        (b"ID3", "MP3"),
        (b"fLaC", "FLAC"),
        (&[0x89, b'P', b'N', b'G'], "PNG"),
        (&[0xFF, 0xD8, 0xFF], "JPEG"),
        (b"GIF8", "GIF"),
        (b"%PDF", "PDF"),
        (b"PK\x03\x04", "ZIP"),
        (b"DKIF", "IVF"),
        (b".RMF", "RealMedia"),
        (&[0x06, 0x0E, 0x2B, 0x34], "MXF"),
    ];
    let is = |at: usize, bytes: &[u8]| head.get(at..).is_some_and(|tail| tail.starts_with(bytes));
    if let Some((_, name)) = PREFIXES.iter().find(|(prefix, _)| is(0, prefix)) {
        return Some(name);
    }
    match () {
        () if is(0, b"RIFF") && is(8, b"AVI ") => Some("AVI"),
        () if is(0, b"RIFF") && is(8, b"WAVE") => Some("WAV"),
        () if is(0, b"G") && is(188, b"G") && is(376, b"G") => Some("MPEG transport stream"),
        () if is(4, b"G") && is(196, b"G") && is(388, b"G") => Some("MPEG transport stream (M2TS)"),
        () if is(0, &[0, 0, 0, 1]) || is(0, &[0, 0, 1]) => Some("raw H.264 or HEVC stream"),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_the_type() {
        let check = |head: &[u8]| refuse(head).to_string();
        assert!(check(b"RIFF....AVI LIST").starts_with("a file of type AVI is not supported"));
        assert!(check(b"hello there").starts_with("a text file is not supported"));
        assert!(check(&[0; 100]).contains("nothing but zeros"));
        assert!(check(&[]).contains("empty"));
        let mut stream = vec![0xFF; 1000];
        for at in [0, 188, 376] {
            stream[at] = b'G';
        }
        assert!(check(&stream).contains("MPEG transport stream"));
    }
}
