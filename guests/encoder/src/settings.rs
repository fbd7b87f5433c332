//! What the operator chose, from the environment of the function.

/// The quality where none is chosen: 360 lines at about 690 kbit/s and 38 dB, 720 lines at about
/// 1,450 kbit/s and 40 dB.
const QUALITY: u8 = 60;

/// How much time an encode may take for its quality.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Soon.
    Fast,
    /// In between.
    Balanced,
    /// Small and good.
    Best,
}

/// The settings, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `BACKLOT_PRESET`: `fast`, `balanced` or `best`. Default balanced.
    pub preset: Preset,
    /// `BACKLOT_QUALITY`: 0 (smallest) to 100 (best). Default 60.
    pub quality: Option<u8>,
    /// `BACKLOT_PART_SECS`: longest part in seconds, at least 1.
    pub part_secs: Option<u64>,
    /// `BACKLOT_PARTS`: exactly so many parts, where there are groups of pictures enough.
    pub parts: Option<u64>,
    /// `BACKLOT_RUNGS`: the lines of the only rungs wanted, such as `360p,720p`.
    pub rungs: Option<Vec<u32>>,
    /// `BACKLOT_MP4`: also make a progressive MP4.
    pub mp4: bool,
    /// `BACKLOT_CORES`: encode slots of the host. Default 1.
    pub cores: u64,
}

impl Preset {
    /// The name by which it is chosen.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Balanced => "balanced",
            Self::Best => "best",
        }
    }
}

impl Settings {
    /// Read variables. What makes no sense is an error that names variable and value, so that a
    /// typing mistake does not pass for a choice.
    pub fn read(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, String> {
        let mut settings = Self {
            preset: Preset::Balanced,
            quality: None,
            part_secs: None,
            parts: None,
            rungs: None,
            mp4: false,
            cores: 1,
        };
        for (name, value) in variables {
            let value = value.trim();
            if value.is_empty() {
                continue;
            }
            let number = |most: u64| match value.parse::<u64>() {
                Ok(number) if number <= most => Ok(number),
                _ => Err(format!("{name}: `{value}` is not a number from 0 to {most}")),
            };
            match name.as_str() {
                "BACKLOT_PRESET" => {
                    settings.preset = [Preset::Fast, Preset::Balanced, Preset::Best]
                        .into_iter()
                        .find(|preset| preset.name() == value)
                        .ok_or_else(|| {
                            format!("{name}: `{value}` is none of fast, balanced, best")
                        })?;
                }
                "BACKLOT_QUALITY" => {
                    settings.quality = Some(u8::try_from(number(100)?).unwrap_or(100));
                }
                "BACKLOT_PART_SECS" => settings.part_secs = Some(number(86_400)?.max(1)),
                "BACKLOT_PARTS" => settings.parts = Some(number(9_000)?.max(1)),
                "BACKLOT_CORES" => settings.cores = number(4_096)?.max(1),
                "BACKLOT_MP4" => settings.mp4 = number(1)? == 1,
                "BACKLOT_RUNGS" => {
                    let lines = value
                        .split(',')
                        .map(|rung| rung.trim().trim_end_matches('p').parse())
                        .collect::<Result<_, _>>()
                        .map_err(|_| format!("{name}: `{value}` is not a list like 360p,720p"))?;
                    settings.rungs = Some(lines);
                }
                _ => {}
            }
        }
        Ok(settings)
    }

    /// rav1e's speed. Measured on real footage (table and command in benches/README.md): at one
    /// quantizer 10 makes three to four times the frames of 6, with 9 to 18 % more bytes and 0.3 to
    /// 0.6 dB less; 4 makes 0 to 1 % fewer bytes and 0.1 dB more than 6 for 1.6 to 1.8 times the
    /// time, and what is slower changes less.
    pub fn speed(&self) -> u8 {
        match self.preset {
            Preset::Fast => 10,
            Preset::Balanced => 6,
            Preset::Best => 4,
        }
    }

    /// rav1e's quantizer for a rung of so many lines. The same for all presets: a slower one spends
    /// its time on fewer bytes, not on another likeness. Twenty steps are 29 to 36 % of the bytes
    /// and 1.3 to 1.7 dB. The larger the picture, the coarser: the same quantizer gives it more.
    pub fn quantizer(&self, lines: u32) -> u8 {
        let coarser = match lines {
            0..=432 => 0,
            433..=600 => 4,
            601..=800 => 8,
            801..=1_200 => 14,
            1_201..=1_600 => 18,
            _ => 22,
        };
        let quality = i32::from(self.quality.unwrap_or(QUALITY).min(100));
        u8::try_from((200 + coarser - quality * 8 / 5).clamp(1, 255)).unwrap_or(255)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::read(variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())))
    }

    #[test]
    fn nothing_set_is_fine() {
        let settings = read(&[("PATH", "/bin"), ("BACKLOT_PARTS", " ")]).unwrap();
        assert_eq!((settings.preset, settings.cores, settings.parts), (Preset::Balanced, 1, None));
    }

    #[test]
    fn what_is_set_is_read() {
        let settings = read(&[
            ("BACKLOT_PRESET", "fast"),
            ("BACKLOT_RUNGS", "360p, 720"),
            ("BACKLOT_MP4", "1"),
            ("BACKLOT_QUALITY", "100"),
        ])
        .unwrap();
        assert_eq!(settings.speed(), 10);
        assert_eq!(settings.rungs, Some(vec![360, 720]));
        assert!(settings.mp4);
        assert_eq!(settings.quantizer(720), 48);
        let usual = [360, 540, 720, 1080].map(|lines| read(&[]).unwrap().quantizer(lines));
        assert_eq!(usual, [104, 108, 112, 118]);
    }

    #[test]
    fn mistakes_are_named() {
        for (name, value) in [
            ("BACKLOT_PRESET", "quick"),
            ("BACKLOT_QUALITY", "101"),
            ("BACKLOT_PARTS", "-1"),
            ("BACKLOT_RUNGS", "hd"),
            ("BACKLOT_MP4", "yes"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn better_quality_never_quantizes_more() {
        for lines in [144, 360, 540, 720, 1080, 2160] {
            let mut before = u8::MAX;
            for quality in 0..=100 {
                let settings = Settings { quality: Some(quality), ..read(&[]).unwrap() };
                let quantizer = settings.quantizer(lines);
                assert!((1..=before).contains(&quantizer));
                before = quantizer;
            }
        }
    }
}
