//! Track files: one CMAF track in one file, `ftyp`, `moov` and `sidx` before its fragments.

use std::num::{NonZeroU16, NonZeroU32};

use shiguredo_mp4::boxes::{
    AudioSampleEntryFields, Av01Box, Brand, DinfBox, DopsBox, EdtsBox, ElstBox, ElstEntry, EsdsBox,
    FtypBox, HdlrBox, MdhdBox, MdiaBox, MediaHeader, MehdBox, MinfBox, MoovBox, Mp4aBox, MvexBox,
    MvhdBox, OpusBox, SampleEntry, SidxBox, SidxReference, SmhdBox, StblBox, StcoBox, StscBox,
    StsdBox, StszBox, SttsBox, TkhdBox, TrakBox, TrexBox, UnknownBox, VisualSampleEntryFields,
    VmhdBox,
};
use shiguredo_mp4::descriptors::{
    DecoderConfigDescriptor, DecoderSpecificInfo, EsDescriptor, SlConfigDescriptor,
};
use shiguredo_mp4::{
    BoxSize, BoxType, Either, Encode, FixedPointNumber, LanguageCode, Mp4FileTime, SampleFlags,
    Uint, codec_string,
};

use crate::av1::{Av1Config, Colour};
use crate::fragment::Fragment;
use crate::{PackagingError, narrow};

/// The number of the one track in a track file.
pub const TRACK_ID: u32 = 1;
/// References that fit in one `sidx` (ISO/IEC 14496-12, 8.16.3): with fragments of two seconds
/// that is 36 hours.
pub const FRAGMENTS_MAX: u64 = 65_535;
/// The two-letter-per-channel mappings that `dOps` writes as family 0.
const OPUS_FAMILY_0_CHANNELS_MAX: u8 = 2;
/// A stream access point at which decoding and showing begin together (ISO/IEC 14496-12, annex I).
const SAP_TYPE_1: u8 = 1;

/// What a track is, besides its samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// Ticks in a second.
    pub timescale: u32,
    /// ISO 639-2 code; `und` where it is not known.
    pub language: String,
    /// How its samples are coded.
    pub media: Media,
    /// Ticks at the begin that are decoded and not presented (an audio codec's priming).
    pub skip: u64,
}

/// How a track's samples are coded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Media {
    /// AV1, square pixels.
    Av1 {
        /// The encoder's configuration.
        config: Av1Config,
        /// Width in pixels.
        width: u16,
        /// Height in pixels.
        height: u16,
        /// Colour, for `colr`.
        colour: Colour,
    },
    /// AAC.
    Aac {
        /// The AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1).
        config: Vec<u8>,
        /// Channels.
        channels: u8,
        /// Sampling rate in hertz.
        sample_rate: u32,
        /// Average rate in bits a second.
        bits_per_second: u32,
    },
    /// Opus.
    Opus(OpusHead),
}

/// An Opus stream's identification header (RFC 7845, section 5.1), which is also `dOps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpusHead {
    /// Channels.
    pub channels: u8,
    /// Samples at 48 kHz to drop at the begin.
    pub pre_skip: u16,
    /// Sampling rate of what was encoded, in hertz; informative.
    pub input_sample_rate: u32,
    /// Gain in Q7.8 decibels.
    pub gain: i16,
    /// Mapping family, and for other families than 0 the table that follows it.
    pub mapping: (u8, Vec<u8>),
}

/// The begin of a track file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// `ftyp`, `moov`, `sidx`.
    pub bytes: Vec<u8>,
    /// Bytes of `ftyp` and `moov`: the initialization segment.
    pub init_bytes: u64,
}

impl OpusHead {
    /// Read an identification header with or without its magic `OpusHead`.
    pub fn parse(head: &[u8]) -> Option<Self> {
        let head = head.strip_prefix(b"OpusHead").unwrap_or(head);
        let (&[_version, channels, skip_a, skip_b, a, b, c, d, gain_a, gain_b, family], table) =
            head.split_first_chunk::<11>()?;
        let table_bytes = if family == 0 { 0 } else { 2 + usize::from(channels) };
        Some(Self {
            channels,
            pre_skip: u16::from_le_bytes([skip_a, skip_b]),
            input_sample_rate: u32::from_le_bytes([a, b, c, d]),
            gain: i16::from_le_bytes([gain_a, gain_b]),
            mapping: (family, table.get(..table_bytes)?.to_vec()),
        })
    }
}

impl Track {
    /// The codec string for CODECS and `codecs`.
    pub fn codec_string(&self) -> Result<String, PackagingError> {
        match &self.media {
            Media::Av1 { config, colour, .. } => Ok(config.codec_string(colour)),
            Media::Aac { .. } => Ok(codec_string::from_sample_entry(&self.sample_entry()?)?),
            Media::Opus(_) => Ok("opus".to_owned()),
        }
    }

    /// Whether it is heard rather than seen.
    pub fn is_audio(&self) -> bool {
        !matches!(self.media, Media::Av1 { .. })
    }

    /// The begin of the track file of these fragments, whose offsets are not looked at: they
    /// follow one another.
    pub fn header(&self, fragments: &[Fragment]) -> Result<Header, PackagingError> {
        let duration: u64 = fragments.iter().map(|fragment| fragment.duration).sum();
        let presented = duration.saturating_sub(self.skip);
        let brand = if self.is_audio() { Brand::new(*b"mp41") } else { Brand::AV01 };
        let ftyp = FtypBox {
            major_brand: Brand::new(*b"iso6"),
            minor_version: 0,
            compatible_brands: vec![
                Brand::new(*b"iso6"),
                Brand::new(*b"cmfc"),
                Brand::new(*b"dash"),
                brand,
            ],
        };
        let edit = match self.skip {
            0 => None,
            skip => Some(vec![edit_entry(0, skip)?]),
        };
        // CMAF (ISO/IEC 23000-19, 7.5) has 0 in mvhd, tkhd and mdhd; mehd tells the duration.
        let moov = MoovBox {
            mvhd_box: self.mvhd(0, 2)?,
            trak_boxes: vec![self.trak(TRACK_ID, 0, 0, edit, SampleTables::default())?],
            mvex_box: Some(MvexBox {
                mehd_box: Some(MehdBox { fragment_duration: presented }),
                trex_boxes: vec![TrexBox {
                    track_id: TRACK_ID,
                    default_sample_description_index: 1,
                    default_sample_duration: 0,
                    default_sample_size: 0,
                    default_sample_flags: SampleFlags::empty(),
                }],
                unknown_boxes: Vec::new(),
            }),
            unknown_boxes: Vec::new(),
        };
        let mut bytes = ftyp.encode_to_vec()?;
        bytes.extend(moov.encode_to_vec()?);
        let init_bytes = bytes.len() as u64;
        bytes.extend(self.sidx(fragments)?.encode_to_vec()?);
        Ok(Header { bytes, init_bytes })
    }

    fn sidx(&self, fragments: &[Fragment]) -> Result<SidxBox, PackagingError> {
        let _: u16 = narrow("fragments of a track", fragments.len() as u64, FRAGMENTS_MAX)?;
        let start = fragments.first().map_or(0, |fragment| fragment.start);
        let mut skip = self.skip;
        let references = fragments
            .iter()
            .map(|fragment| {
                // What is not presented does not count: it comes off the first fragments.
                let skipped = skip.min(fragment.duration);
                skip -= skipped;
                Ok(SidxReference {
                    reference_type: false,
                    referenced_size: narrow("bytes of a fragment", fragment.bytes, 0x7fff_ffff)?,
                    subsegment_duration: narrow(
                        "ticks of a fragment",
                        fragment.duration - skipped,
                        u64::from(u32::MAX),
                    )?,
                    starts_with_sap: true,
                    sap_type: SAP_TYPE_1,
                    sap_delta_time: 0,
                })
            })
            .collect::<Result<_, PackagingError>>()?;
        Ok(SidxBox {
            reference_id: TRACK_ID,
            timescale: self.timescale,
            earliest_presentation_time: start,
            first_offset: 0,
            references,
        })
    }

    pub(crate) fn mvhd(&self, duration: u64, next: u32) -> Result<MvhdBox, PackagingError> {
        Ok(MvhdBox {
            creation_time: Mp4FileTime::default(),
            modification_time: Mp4FileTime::default(),
            timescale: self.timescale()?,
            duration,
            rate: MvhdBox::DEFAULT_RATE,
            volume: MvhdBox::DEFAULT_VOLUME,
            matrix: MvhdBox::DEFAULT_MATRIX,
            next_track_id: next,
        })
    }

    fn timescale(&self) -> Result<NonZeroU32, PackagingError> {
        NonZeroU32::new(self.timescale)
            .ok_or_else(|| PackagingError::Box("a timescale of 0".to_owned()))
    }

    /// `trak`, with durations in the movie's and in the track's timescale.
    pub(crate) fn trak(
        &self,
        id: u32,
        movie_duration: u64,
        media_duration: u64,
        edits: Option<Vec<ElstEntry>>,
        tables: SampleTables,
    ) -> Result<TrakBox, PackagingError> {
        let audio = self.is_audio();
        let (width, height) = match self.media {
            Media::Av1 { width, height, .. } => (width, height),
            _ => (0, 0),
        };
        let side = |pixels: u16| -> Result<FixedPointNumber<i16, u16>, PackagingError> {
            Ok(FixedPointNumber::new(narrow("pixels", u64::from(pixels), 32_767)?, 0))
        };
        let media_header = if audio {
            MediaHeader::Smhd(SmhdBox::default())
        } else {
            MediaHeader::Vmhd(VmhdBox::default())
        };
        Ok(TrakBox {
            tkhd_box: TkhdBox {
                flag_track_enabled: true,
                flag_track_in_movie: true,
                flag_track_in_preview: true,
                flag_track_size_is_aspect_ratio: false,
                creation_time: Mp4FileTime::default(),
                modification_time: Mp4FileTime::default(),
                track_id: id,
                duration: movie_duration,
                layer: TkhdBox::DEFAULT_LAYER,
                alternate_group: TkhdBox::DEFAULT_ALTERNATE_GROUP,
                volume: if audio {
                    TkhdBox::DEFAULT_AUDIO_VOLUME
                } else {
                    TkhdBox::DEFAULT_VIDEO_VOLUME
                },
                matrix: TkhdBox::DEFAULT_MATRIX,
                width: side(width)?,
                height: side(height)?,
            },
            edts_box: edits.map(|entries| EdtsBox {
                elst_box: Some(ElstBox { entries }),
                unknown_boxes: Vec::new(),
            }),
            mdia_box: MdiaBox {
                mdhd_box: MdhdBox {
                    creation_time: Mp4FileTime::default(),
                    modification_time: Mp4FileTime::default(),
                    timescale: self.timescale()?,
                    duration: media_duration,
                    language: LanguageCode::from_ascii(&self.language)
                        .unwrap_or(LanguageCode::UNDEFINED),
                },
                hdlr_box: HdlrBox {
                    handler_type: if audio {
                        HdlrBox::HANDLER_TYPE_SOUN
                    } else {
                        HdlrBox::HANDLER_TYPE_VIDE
                    },
                    name: b"\0".to_vec(),
                },
                minf_box: MinfBox {
                    media_header: Some(media_header),
                    dinf_box: DinfBox::LOCAL_FILE,
                    stbl_box: StblBox {
                        stsd_box: StsdBox { entries: vec![self.sample_entry()?] },
                        stts_box: tables.stts,
                        ctts_box: None,
                        cslg_box: None,
                        stsc_box: tables.stsc,
                        stsz_box: tables.stsz,
                        stco_or_co64_box: tables.offsets,
                        stss_box: tables.stss,
                        sdtp_box: None,
                        unknown_boxes: Vec::new(),
                    },
                    unknown_boxes: Vec::new(),
                },
                unknown_boxes: Vec::new(),
            },
            unknown_boxes: Vec::new(),
        })
    }

    fn sample_entry(&self) -> Result<SampleEntry, PackagingError> {
        match &self.media {
            Media::Av1 { config, width, height, colour } => Ok(SampleEntry::Av01(Av01Box {
                visual: VisualSampleEntryFields {
                    data_reference_index: NonZeroU16::MIN,
                    width: *width,
                    height: *height,
                    horizresolution: VisualSampleEntryFields::DEFAULT_HORIZRESOLUTION,
                    vertresolution: VisualSampleEntryFields::DEFAULT_VERTRESOLUTION,
                    frame_count: VisualSampleEntryFields::DEFAULT_FRAME_COUNT,
                    compressorname: VisualSampleEntryFields::NULL_COMPRESSORNAME,
                    depth: VisualSampleEntryFields::DEFAULT_DEPTH,
                },
                av1c_box: config.av1c.clone(),
                unknown_boxes: vec![colr(colour), pasp()],
            })),
            Media::Aac { config, channels, sample_rate, bits_per_second } => {
                Ok(SampleEntry::Mp4a(Mp4aBox {
                    audio: audio_fields(*channels, *sample_rate),
                    esds_box: EsdsBox { es: es_descriptor(config, *bits_per_second) },
                    unknown_boxes: Vec::new(),
                }))
            }
            Media::Opus(head) => Ok(opus_entry(head)),
        }
    }
}

/// The tables of a track without fragments; all empty for one with them.
#[derive(Debug)]
pub(crate) struct SampleTables {
    pub(crate) stts: SttsBox,
    pub(crate) stsc: StscBox,
    pub(crate) stsz: StszBox,
    pub(crate) offsets: Either<StcoBox, shiguredo_mp4::boxes::Co64Box>,
    pub(crate) stss: Option<shiguredo_mp4::boxes::StssBox>,
}

impl Default for SampleTables {
    fn default() -> Self {
        Self {
            stts: SttsBox { entries: Vec::new() },
            stsc: StscBox { entries: Vec::new() },
            stsz: StszBox::Variable { entry_sizes: Vec::new() },
            offsets: Either::A(StcoBox { chunk_offsets: Vec::new() }),
            stss: None,
        }
    }
}

/// One edit at normal speed: present `duration` (in the movie's timescale; 0 in a fragmented film
/// means all) from `media_time` on.
pub(crate) fn edit_entry(duration: u64, media_time: u64) -> Result<ElstEntry, PackagingError> {
    Ok(ElstEntry {
        edit_duration: duration,
        media_time: narrow("ticks of an edit", media_time, i64::MAX as u64)?,
        media_rate: FixedPointNumber::new(1, 0),
    })
}

fn other_box(kind: [u8; 4], payload: Vec<u8>) -> UnknownBox {
    // The sizes of our boxes are tens of bytes.
    let size = u32::try_from(payload.len() + 8).unwrap_or(u32::MAX);
    UnknownBox { box_type: BoxType::Normal(kind), box_size: BoxSize::U32(size), payload }
}

/// Colour information as code points (ISO/IEC 14496-12, 12.1.5).
fn colr(colour: &Colour) -> UnknownBox {
    let mut payload = b"nclx".to_vec();
    for code in [colour.primaries, colour.transfer, colour.matrix] {
        payload.extend_from_slice(&u16::from(code).to_be_bytes());
    }
    payload.push(u8::from(colour.full_range) << 7);
    other_box(*b"colr", payload)
}

/// Pixel aspect ratio 1:1 (ISO/IEC 14496-12, 12.1.4).
fn pasp() -> UnknownBox {
    other_box(*b"pasp", [1u32.to_be_bytes(), 1u32.to_be_bytes()].concat())
}

fn audio_fields(channels: u8, sample_rate: u32) -> AudioSampleEntryFields {
    AudioSampleEntryFields {
        data_reference_index: NonZeroU16::MIN,
        channelcount: u16::from(channels),
        samplesize: AudioSampleEntryFields::DEFAULT_SAMPLESIZE,
        // 16.16 has no room for more than 65,535 Hz; the codec's own configuration tells it then.
        samplerate: FixedPointNumber::new(u16::try_from(sample_rate).unwrap_or(0), 0),
    }
}

fn es_descriptor(config: &[u8], bits_per_second: u32) -> EsDescriptor {
    EsDescriptor {
        es_id: EsDescriptor::MIN_ES_ID,
        stream_priority: EsDescriptor::LOWEST_STREAM_PRIORITY,
        depends_on_es_id: None,
        url_string: None,
        ocr_es_id: None,
        dec_config_descr: DecoderConfigDescriptor {
            object_type_indication:
                DecoderConfigDescriptor::OBJECT_TYPE_INDICATION_AUDIO_ISO_IEC_14496_3,
            stream_type: DecoderConfigDescriptor::STREAM_TYPE_AUDIO,
            up_stream: DecoderConfigDescriptor::UP_STREAM_FALSE,
            buffer_size_db: Uint::new(0),
            max_bitrate: bits_per_second,
            avg_bitrate: bits_per_second,
            dec_specific_info: Some(DecoderSpecificInfo { payload: config.to_vec() }),
        },
        sl_config_descr: SlConfigDescriptor,
    }
}

/// The `Opus` entry (Encapsulation of Opus in ISO Base Media File Format, 4.3).
fn opus_entry(head: &OpusHead) -> SampleEntry {
    let (family, table) = &head.mapping;
    if *family == 0 && head.channels <= OPUS_FAMILY_0_CHANNELS_MAX {
        return SampleEntry::Opus(OpusBox {
            audio: audio_fields(head.channels, 48_000),
            dops_box: DopsBox {
                output_channel_count: head.channels,
                pre_skip: head.pre_skip,
                input_sample_rate: head.input_sample_rate,
                output_gain: head.gain,
            },
            unknown_boxes: Vec::new(),
        });
    }
    let mut dops = vec![0, head.channels];
    dops.extend_from_slice(&head.pre_skip.to_be_bytes());
    dops.extend_from_slice(&head.input_sample_rate.to_be_bytes());
    dops.extend_from_slice(&head.gain.to_be_bytes());
    dops.push(*family);
    dops.extend_from_slice(table);
    let mut entry = vec![0; 6];
    entry.extend_from_slice(&1u16.to_be_bytes());
    entry.extend_from_slice(&[0; 8]);
    for field in [u16::from(head.channels), 16, 0, 0, 48_000, 0] {
        entry.extend_from_slice(&field.to_be_bytes());
    }
    let size = u32::try_from(dops.len() + 8).unwrap_or(u32::MAX);
    entry.extend_from_slice(&size.to_be_bytes());
    entry.extend_from_slice(b"dOps");
    entry.extend_from_slice(&dops);
    SampleEntry::Unknown(other_box(*b"Opus", entry))
}
