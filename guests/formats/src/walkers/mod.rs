//! One walker for each family of formats: from the first byte to the logical end.

mod csv;
mod flac;
mod gif;
mod gzip;
mod iso_bmff;
mod ivf;
mod jpeg;
mod json;
mod matroska;
pub(crate) mod mp3;
mod mpeg_ts;
mod ogg;
mod pdf;
mod png;
mod srt;
pub(crate) mod text;
mod wav;
mod webp;
mod webvtt;
mod xml;
mod y4m;
pub(crate) mod zip;
mod zstd;

use crate::{
    format::Format,
    scan::Scan,
    stop::{Stop, unsupported},
};

/// Walks the file as `scan.format`; gives the offset of its logical end.
pub(crate) fn walk(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    match scan.format {
        Format::Png => png::walk(scan),
        Format::Jpeg => jpeg::walk(scan),
        Format::Gif => gif::walk(scan),
        Format::WebP => webp::walk(scan),
        Format::Mp4 | Format::M4a | Format::Mov | Format::Heic | Format::Avif => {
            iso_bmff::walk(scan)
        }
        Format::Matroska | Format::WebM => matroska::walk(scan),
        Format::MpegTs => mpeg_ts::walk(scan),
        Format::Y4m => y4m::walk(scan),
        Format::Ivf => ivf::walk(scan),
        Format::Wav => wav::walk(scan),
        Format::Flac => flac::walk(scan),
        Format::Mp3 => mp3::walk(scan),
        Format::Ogg => ogg::walk(scan),
        Format::Pdf => pdf::walk(scan),
        Format::Zip => zip::walk(scan),
        Format::Gzip => gzip::walk(scan),
        Format::Zstd => zstd::walk(scan),
        Format::Text => text::walk(scan),
        Format::Json => json::walk(scan),
        Format::Csv => csv::walk(scan),
        Format::Xml | Format::Svg => xml::walk(scan),
        Format::Srt => srt::walk(scan),
        Format::WebVtt => webvtt::walk(scan),
        other => Err(unsupported(0, format!("{other} is recognised, but not walked"))),
    }
}
