//! One rendition of a session: scales the frames it is given and encodes them, one step at a time.
//!
//! Each GOP gets a rav1e context of its own. Nothing that one GOP taught the encoder can then
//! reach the next, so that a film encoded in parts of whole GOPs is byte for byte the film encoded
//! at a stretch, whatever rav1e keeps between frames. It costs nothing: with fixed closed GOPs its
//! lookahead ends at the key frame anyway.

use std::sync::Arc;

use rav1e::prelude::{
    ChromaSamplePosition, ChromaSampling, Config, Context, EncoderConfig, EncoderStatus, FrameType,
    Rational, SceneDetectionSpeed, SpeedSettings,
};

use crate::frame::CheckedFrame;
use crate::level::Level;
use crate::obu::{self, Filters};
use crate::pool::{Packet, Step, Task};
use crate::scale::{Sample, Scaler};
use crate::settings::{CheckedSettings, Rung};

/// The least side at which rav1e announces its loop filters, in pixels.
const FILTERED_SIDE_PX_MIN: u32 = 32;

/// What is fixed for a rung from the start: rav1e's configuration and what follows from it.
#[derive(Clone, Debug)]
pub(crate) struct RungPlan {
    config: EncoderConfig,
    sequence_header: Vec<u8>,
    av1c: Vec<u8>,
}

impl RungPlan {
    pub(crate) fn new(settings: &CheckedSettings, rung: &Rung, level: Level) -> RungPlan {
        let config = encoder_config(settings, rung, level);
        let filtered =
            FILTERED_SIDE_PX_MIN <= rung.width_px && FILTERED_SIDE_PX_MIN <= rung.height_px;
        let filters = Filters {
            cdef: config.speed_settings.cdef && filtered,
            restoration: config.speed_settings.lrf && filtered,
        };
        let (width_px, height_px) = (rung.width_px, rung.height_px);
        let sequence_header = obu::sequence_header(settings, width_px, height_px, level, filters);
        let av1c = obu::av1c(settings, level, &sequence_header);
        RungPlan { config, sequence_header, av1c }
    }

    /// Content of the `av1C` box.
    pub(crate) fn av1c(&self) -> &[u8] {
        &self.av1c
    }

    /// The task that does the encoding.
    pub(crate) fn task(self, settings: &CheckedSettings, rung: &Rung) -> Box<dyn Task> {
        if settings.picture().bit_depth == 8 {
            Box::new(RungTask::<u8>::new(self, settings, rung, |frame| match frame {
                CheckedFrame::Eight(planes) => Some(planes),
                CheckedFrame::Ten(_) => None,
            }))
        } else {
            Box::new(RungTask::<u16>::new(self, settings, rung, |frame| match frame {
                CheckedFrame::Ten(planes) => Some(planes),
                CheckedFrame::Eight(_) => None,
            }))
        }
    }
}

/// rav1e as its command line configures it, with a constant quantizer and no key frame but the
/// first.
fn encoder_config(settings: &CheckedSettings, rung: &Rung, level: Level) -> EncoderConfig {
    let mut speed_settings = SpeedSettings::from_preset(settings.speed());
    speed_settings.scene_detection_mode = SceneDetectionSpeed::None;
    // The preset's transform-domain distortion turns temporal RDO off, which psychovisual tuning
    // needs; rav1e's command line does the same.
    speed_settings.transform.tx_domain_distortion = false;
    let (rate_num, rate_den) = settings.frame_rate();
    let gop_frames = u64::from(settings.gop_frames());
    EncoderConfig {
        width: rung.width_px as usize,
        height: rung.height_px as usize,
        sample_aspect_ratio: Rational { num: 1, den: 1 },
        time_base: Rational { num: u64::from(rate_den), den: u64::from(rate_num) },
        bit_depth: usize::from(settings.picture().bit_depth),
        chroma_sampling: ChromaSampling::Cs420,
        chroma_sample_position: ChromaSamplePosition::Vertical,
        pixel_range: settings.range(),
        color_description: settings.colour(),
        level_idx: Some(level.index),
        min_key_frame_interval: gop_frames,
        max_key_frame_interval: gop_frames,
        quantizer: usize::from(rung.quantizer),
        tiles: 0,
        speed_settings,
        ..EncoderConfig::with_speed_preset(settings.speed())
    }
}

/// What the next step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Take a frame, or learn that there are no more.
    Input,
    /// Tell rav1e that the GOP is complete.
    Flush,
    /// Ask rav1e for a packet.
    Receive,
}

struct RungTask<S: Sample> {
    plan: RungPlan,
    /// The planes of a frame of this depth.
    planes: fn(&CheckedFrame) -> Option<&[Vec<S>; 3]>,
    scaler: Scaler,
    gop_frames: u64,
    /// The encoder of the current GOP.
    gop: Option<Context<S>>,
    /// Number of the current GOP's first frame in the session.
    gop_start: u64,
    /// Frames sent to the current GOP.
    gop_sent: u64,
    next: Next,
}

impl<S: Sample> RungTask<S> {
    fn new(
        plan: RungPlan,
        settings: &CheckedSettings,
        rung: &Rung,
        planes: fn(&CheckedFrame) -> Option<&[Vec<S>; 3]>,
    ) -> RungTask<S> {
        RungTask {
            plan,
            planes,
            scaler: Scaler::new(&settings.picture(), rung),
            gop_frames: u64::from(settings.gop_frames()),
            gop: None,
            gop_start: 0,
            gop_sent: 0,
            next: Next::Input,
        }
    }

    fn send(&mut self, frame: &CheckedFrame) -> Result<(), String> {
        let planes = (self.planes)(frame).ok_or("a frame of another bit depth")?;
        let gop = match self.gop.take() {
            Some(gop) => gop,
            None => Config::new()
                .with_encoder_config(self.plan.config.clone())
                .new_context()
                .map_err(|error| error.to_string())?,
        };
        let gop = self.gop.insert(gop);
        let mut target = gop.new_frame();
        self.scaler.scale(planes, &mut target)?;
        gop.send_frame(target).map_err(|status| status.to_string())?;
        self.gop_sent += 1;
        self.next = if self.gop_sent == self.gop_frames { Next::Flush } else { Next::Receive };
        Ok(())
    }

    fn receive(&mut self) -> Result<Option<Packet>, String> {
        let Some(gop) = &mut self.gop else {
            return Err("no encoder to ask for a packet".to_owned());
        };
        match gop.receive_packet() {
            Ok(packet) => {
                let key = packet.frame_type == FrameType::KEY;
                self.check_packet(&packet.data, packet.input_frameno, key)?;
                Ok(Some(Packet {
                    frame: self.gop_start + packet.input_frameno,
                    key,
                    data: obu::without_delimiter(&packet.data),
                }))
            }
            // A hidden frame: its bytes come with the next packet.
            Err(EncoderStatus::Encoded) => Ok(None),
            Err(EncoderStatus::NeedMoreData) => {
                self.next = Next::Input;
                Ok(None)
            }
            Err(EncoderStatus::LimitReached) => {
                self.gop = None;
                self.gop_start += self.gop_sent;
                self.gop_sent = 0;
                self.next = Next::Input;
                Ok(None)
            }
            Err(status) => Err(status.to_string()),
        }
    }

    /// What muxers were told beforehand must hold: a key frame exactly at each GOP's start, with
    /// the sequence header of `av1C`.
    fn check_packet(&self, data: &[u8], frame_in_gop: u64, key: bool) -> Result<(), String> {
        if key != (frame_in_gop == 0) {
            return Err(format!("frame {frame_in_gop} of a GOP has the wrong type"));
        }
        let header = obu::obus(data).find(|obu| obu.kind == obu::SEQUENCE_HEADER);
        if key && header.map(|obu| obu.whole) != Some(&self.plan.sequence_header) {
            return Err("the sequence header is not the announced one".to_owned());
        }
        Ok(())
    }
}

impl<S: Sample> Task for RungTask<S> {
    fn wants_input(&self) -> bool {
        self.next == Next::Input
    }

    fn step(&mut self, input: Option<Arc<CheckedFrame>>) -> Result<Step, String> {
        match (self.next, input) {
            (Next::Input, Some(frame)) => {
                self.send(&frame)?;
                Ok(Step::Working)
            }
            (Next::Input, None) if self.gop_sent == 0 => Ok(Step::Done),
            (Next::Input, None) | (Next::Flush, _) => {
                if let Some(gop) = &mut self.gop {
                    gop.send_frame(None).map_err(|status| status.to_string())?;
                }
                self.next = Next::Receive;
                Ok(Step::Working)
            }
            (Next::Receive, _) => Ok(self.receive()?.map_or(Step::Working, Step::Packet)),
        }
    }
}
