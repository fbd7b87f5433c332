//! Arguments of the verbs about functions, and about who may use the API.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Remote;

#[derive(Debug, Args)]
pub(crate) struct FunctionsArgs {
    #[command(subcommand)]
    pub(crate) verb: Option<FunctionsVerb>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FunctionsVerb {
    /// The deployed functions (also without a verb)
    List,
    /// One function with what was decided about it
    Show {
        /// The function's name
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// The component
    #[arg(value_name = "COMPONENT")]
    pub(crate) component: PathBuf,
    /// Its manifest [default: COMPONENT with .toml instead of .wasm]
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// A signature by minisign of what `backlot digest` prints
    #[arg(long, value_name = "FILE")]
    pub(crate) signature: Option<PathBuf>,
    /// Run it for this share only, beside what is live, until it has shown that it is as good
    #[arg(long, value_name = "PERCENT", value_parser = share)]
    pub(crate) canary: Option<u32>,
    /// It may be granted more than what is live
    #[arg(long)]
    pub(crate) accept_grants: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct DigestArgs {
    /// The component
    #[arg(value_name = "COMPONENT")]
    pub(crate) component: PathBuf,
    /// Its manifest [default: COMPONENT with .toml instead of .wasm]
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct FunctionArgs {
    /// The function's name
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The function's name
    pub(crate) name: String,
    /// To this version: its id, or the first digits [default: away from the canary, else to the
    /// version before]
    pub(crate) version: Option<String>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The function's name
    pub(crate) name: String,
    /// The one version: its id, or the first digits
    pub(crate) from: String,
    /// The other
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct TokensArgs {
    #[command(subcommand)]
    pub(crate) verb: TokensVerb,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokensVerb {
    /// Make a token; it is shown once
    Create {
        /// Its name, which is who used it in the audit log
        name: String,
        /// What it opens
        #[arg(long, value_enum)]
        scope: Scope,
        /// For so many days [default: for ever]
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3_650))]
        days: Option<u32>,
    },
    /// The tokens there are, without what they are
    List,
    /// Make a token open nothing any more
    Revoke {
        /// Its name
        name: String,
    },
}

/// What a token opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scope {
    /// Whatever can be looked at
    Read,
    /// Besides, functions and what they are given to do
    Deploy,
    /// Everything: besides, tokens, the audit log, records
    Admin,
}

impl Scope {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Deploy => "deploy",
            Self::Admin => "admin",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// At most so many lines, the newest
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(crate) limit: u16,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// A share such as `10%` or `0.5`, in hundredths of a percent.
fn share(text: &str) -> Result<u32, String> {
    let wrong = || "a share is 0.01% to 100%".to_owned();
    let number = text.strip_suffix('%').unwrap_or(text);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if 2 < part.len() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let whole: u32 = whole.parse().map_err(|_| wrong())?;
    let part: u32 = format!("{part:0<2}").parse().map_err(|_| wrong())?;
    let share = whole.checked_mul(100).and_then(|whole| whole.checked_add(part));
    share.filter(|share| (1..=10_000).contains(share)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percent() {
        assert_eq!(share("10%"), Ok(1_000));
        assert_eq!(share("0.5"), Ok(50));
        assert_eq!(share("100%"), Ok(10_000));
        assert_eq!(share("0.01%"), Ok(1));
        for bad in ["0", "100.01", "ten", "-1", "1.234", "", "%", "1.x"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }
}
