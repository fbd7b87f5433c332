//! What the operator chose, from the environment of the function.

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
    /// `BACKLOT_QUALITY`: 0 (smallest) to 100 (best). Default: the preset's.
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

    /// rav1e's speed.
    pub fn speed(&self) -> u8 {
        match self.preset {
            Preset::Fast => 10,
            Preset::Balanced => 6,
            Preset::Best => 4,
        }
    }

    /// rav1e's quantizer for a rung of so many lines.
    pub fn quantizer(&self, lines: u32) -> u8 {
        // A small picture is shown enlarged: its faults too.
        let by_lines: i32 = match lines {
            0..=399 => -10,
            400..=649 => -5,
            650..=899 => 0,
            900..=1799 => 5,
            _ => 10,
        };
        let base = match self.preset {
            Preset::Fast => 105,
            Preset::Balanced => 100,
            Preset::Best => 90,
        };
        let chosen = match self.quality {
            // 50 is about the balanced preset; each step is 1.6 steps of the quantizer.
            Some(quality) => 180 - i32::from(quality) * 8 / 5,
            None => base,
        };
        u8::try_from((chosen + by_lines).clamp(1, 255)).unwrap_or(255)
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
        assert_eq!(settings.quantizer(720), 20);
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
