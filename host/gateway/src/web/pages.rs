//! The list page: what is on its way, and what there is to watch. Complete without scripts; with
//! them, cards are redrawn from the event stream.

use std::sync::Arc;

use backlot_ledger::State;
use http::{Response, StatusCode};
use maud::{DOCTYPE, Markup, html};

use super::Shared;
use super::assets;
use super::content::{Content, Stage};
use super::reply::{self, Body, Fault};
use super::work::{Part, Rung, Work, permille};

/// Parts drawn one by one; more are summed up in words only.
const PARTS_DRAWN_MAX: usize = 600;

pub(super) async fn list(shared: &Arc<Shared>) -> Result<Response<Body>, Fault> {
    let snapshot = shared.feed.snapshot().await?;
    let (library, work): (Vec<_>, Vec<_>) =
        snapshot.content.iter().partition(|content| content.state == Stage::Ready);
    let body = html! {
        section .empty data-section="empty" hidden[!snapshot.content.is_empty()] {
            (upload_help(shared))
        }
        section data-section="work" hidden[work.is_empty()] aria-labelledby="work-heading" {
            h2 #work-heading { "In progress" }
            div .rows data-cards="work" { @for content in work { (card(content)) } }
        }
        section data-section="library" hidden[library.is_empty()] aria-labelledby="library-heading" {
            h2 #library-heading { "Library" }
            div .grid data-cards="library" { @for content in library { (card(content)) } }
        }
        @if !snapshot.content.is_empty() {
            details .more { summary { "Upload more" } (upload_help(shared)) }
        }
    };
    Ok(reply::page(StatusCode::OK, layout("Content", Some("list.mjs"), &body)))
}

/// Head and frame of every page. `script` is one of the assets.
pub(super) fn layout(title: &str, script: Option<&str>, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Backlot" }
                link rel="icon" href=(assets::path("mark.svg")) type="image/svg+xml";
                link rel="stylesheet" href=(assets::path("app.css"));
                @if let Some(script) = script {
                    script type="module" src=(assets::path(script)) {}
                }
            }
            body {
                a .skip href="#main" { "Skip to content" }
                header .top {
                    a .brand href="/" {
                        img src=(assets::path("mark.svg")) alt="" width="28" height="28";
                        span { "Backlot" }
                    }
                    p .live data-live="off" role="status" hidden { "" }
                }
                (stripes())
                main #main { (body) }
                noscript { p .note { "Without JavaScript this page shows how things stood when it was loaded." } }
            }
        }
    }
}

/// The pattern for frames in flight. A pattern must be in the document that refers to it.
fn stripes() -> Markup {
    html! {
        svg .defs width="0" height="0" aria-hidden="true" focusable="false" {
            defs {
                pattern #stripes patternUnits="userSpaceOnUse" width="7" height="7" patternTransform="rotate(45)" {
                    rect .stripe-ground width="7" height="7" {}
                    rect .stripe-line width="3.5" height="7" {}
                }
            }
        }
    }
}

fn upload_help(shared: &Shared) -> Markup {
    let (s3, bucket) = (&shared.config.s3_url, &shared.config.uploads);
    let (scheme, host) = s3.split_once("://").unwrap_or(("http", s3));
    let ssl = if scheme == "https" { "--ssl" } else { "--no-ssl" };
    html! {
        div .upload {
            h2 { "Upload a video" }
            p { "Put a file into the bucket " code { (bucket) } " with any S3 client. Encoding starts when it has arrived, and it appears here." }
            pre tabindex="0" { code {
                "aws --endpoint-url " (s3) " s3 cp film.mp4 s3://" (bucket) "/\n"
                "s3cmd " (ssl) " --host " (host) " --host-bucket " (host) " put film.mp4 s3://" (bucket) "/"
            } }
            p .quiet { "The access key is in " code { "credentials.toml" } " in the data folder that the server named when it started." }
        }
    }
}

/// One piece of content. Its markup depends on nothing but `content`: the event stream sends it
/// again when it differs.
pub(super) fn card(content: &Content) -> Markup {
    let ready = content.state == Stage::Ready;
    let section = if ready { "library" } else { "work" };
    let watchable = content.published.is_some();
    html! {
        article .card .(content.state.name()) #{"card-" (content.id)} data-id=(content.id)
            data-state=(content.state.name()) data-section=(section) {
            (picture(content))
            div .card-body {
                h3 { a href={"/watch/" (content.id)} { (content.title) } }
                p .facts { (facts(content)) }
                @if !ready {
                    p .state { span .badge { (label(content.state)) } " " (state_line(content)) }
                    @if let Some(reason) = &content.reason { p .reason { (reason) } }
                    @if !content.progress.parts.is_empty() { (progress(&content.progress)) }
                    @if watchable {
                        p .quiet { "An earlier upload of this file stays watchable until this one is ready." }
                    }
                }
            }
        }
    }
}

fn picture(content: &Content) -> Markup {
    html! {
        a .poster href={"/watch/" (content.id)} tabindex="-1" aria-hidden="true" {
            @if let Some(poster) = &content.links.poster {
                img src=(poster) alt="" loading="lazy" decoding="async";
            } @else {
                svg .placeholder viewBox="0 0 32 18" aria-hidden="true" {
                    path d="M13 5.5v7l6-3.5z" {}
                }
            }
            @if let Some(published) = &content.published {
                span .length { (clock(published.duration_ms)) }
            }
        }
    }
}

fn facts(content: &Content) -> Markup {
    html! {
        @if let Some(published) = &content.published {
            span { (published.width) "×" (published.height) }
            span { (published.rungs.len()) @if published.rungs.len() == 1 { " rung" } @else { " rungs" } }
            @let total: u64 = published.rungs.iter().map(|rung| rung.bytes).sum();
            @if 0 < total { span { (bytes(total)) } }
        }
        span .key { (content.source.bucket) "/" (content.source.key) }
        @if let Some(at) = content.ended_at.or(content.accepted_at) {
            time datetime=(at) { (at.strftime("%Y-%m-%d %H:%M UTC")) }
        }
    }
}

fn label(stage: Stage) -> &'static str {
    match stage {
        Stage::Queued => "Queued",
        Stage::Probing => "Probing",
        Stage::Encoding => "Encoding",
        Stage::Publishing => "Publishing",
        Stage::Ready => "Ready",
        Stage::Failed => "Failed",
        Stage::Cancelled => "Cancelled",
    }
}

fn state_line(content: &Content) -> Markup {
    let summary = content.progress.summary();
    html! {
        @match content.state {
            Stage::Queued => "waits for its turn",
            Stage::Probing => "looking at the file",
            Stage::Encoding => {
                strong .percent { (percent(summary.stored_permille)) } " stored"
                @if 0 < summary.parts {
                    ", " (summary.parts_stored) " of " (summary.parts) " parts"
                }
            }
            Stage::Publishing => "writing and checking the playlists",
            Stage::Failed if content.reason.is_none() => "without a reason; see the server's log",
            Stage::Cancelled if content.reason.is_none() => "stopped before it was ready",
            Stage::Ready | Stage::Failed | Stage::Cancelled => {}
        }
    }
}

fn progress(work: &Work) -> Markup {
    html! {
        div .work {
            @if !work.rungs.is_empty() {
                dl .rungs { @for rung in &work.rungs { (rung_row(rung)) } }
            }
            @if (2..=PARTS_DRAWN_MAX).contains(&work.parts.len()) { (parts(&work.parts)) }
        }
    }
}

fn rung_row(rung: &Rung) -> Markup {
    let stored = permille(rung.stored, rung.total);
    let in_flight = permille(rung.in_flight, rung.total).min(1_000 - stored);
    let is_sound = rung.unit == "ms";
    let name = if is_sound { "audio" } else { rung.name.as_str() };
    html! {
        div .rung data-rung=(name) data-stored=(rung.stored) data-in-flight=(rung.in_flight) {
            dt { (name) }
            dd .meter {
                svg .bar role="img" aria-label={
                    (percent(stored)) " stored, " (percent(in_flight)) " in flight"
                } {
                    rect .stored width=(percent(stored)) height="100%" {}
                    rect .flight fill="url(#stripes)" x=(percent(stored)) width=(percent(in_flight)) height="100%" {}
                }
            }
            dd .count {
                @if is_sound { (clock(rung.stored)) " / " (clock(rung.total)) }
                @else {
                    (rung.stored)
                    @if 0 < rung.in_flight { span .plus { " +" (rung.in_flight) } }
                    " / " @if rung.total_estimated { "~" } (rung.total)
                }
            }
        }
    }
}

fn parts(parts: &[Part]) -> Markup {
    let count = |state| parts.iter().filter(|part| part.state == state).count();
    let summary = format!(
        "{} parts: {} stored, {} running",
        parts.len(),
        count(State::Succeeded),
        count(State::Running)
    );
    html! {
        div .parts role="img" aria-label=(summary) {
            @for part in parts {
                span .part .(part_class(part.state)) title=(part_title(part)) {
                    @if part.state == State::Running {
                        @let done = permille(part.done, part.total);
                        svg aria-hidden="true" {
                            rect fill="url(#stripes)" width=(percent(done)) height="100%" {}
                        }
                    }
                }
            }
        }
    }
}

fn part_class(state: State) -> &'static str {
    match state {
        State::Queued | State::Parked => "waiting",
        State::Running => "running",
        State::Succeeded => "stored",
        State::Failed => "failed",
        State::Cancelled => "cancelled",
    }
}

fn part_title(part: &Part) -> String {
    match part.state {
        State::Succeeded => format!("{}: stored", part.key),
        State::Running if 0 < part.total => {
            format!("{}: {} in flight", part.key, percent(permille(part.done, part.total)))
        }
        state => format!("{}: {}", part.key, part_class(state)),
    }
}

/// `43.2%`, also as SVG wants it.
pub(super) fn percent(permille: u64) -> String {
    match permille % 10 {
        0 => format!("{}%", permille / 10),
        tenth => format!("{}.{tenth}%", permille / 10),
    }
}

/// `1:02:03` or `2:03`.
pub(super) fn clock(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours == 0 {
        format!("{minutes}:{seconds:02}")
    } else {
        format!("{hours}:{minutes:02}:{seconds:02}")
    }
}

/// `12.3 MB`, in powers of 1,000.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if count < 1_000 {
        return format!("{count} B");
    }
    let mut tenths = count / 100;
    for unit in UNITS {
        if tenths < 10_000 || unit == "TB" {
            return if tenths < 1_000 {
                format!("{}.{} {unit}", tenths / 10, tenths % 10)
            } else {
                format!("{} {unit}", tenths / 10)
            };
        }
        tenths /= 1_000;
    }
    String::new()
}

/// A refusal as a page.
pub(super) fn fault(fault: &Fault) -> Response<Body> {
    let body = html! {
        section .fault {
            h1 { (fault.status.as_u16()) }
            p { (fault.message) }
            p { a href="/" { "To the list" } }
        }
    };
    let mut response = reply::page(fault.status, layout("Not shown", None, &body));
    fault.add_headers(&mut response);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(percent(0), "0%");
        assert_eq!(percent(432), "43.2%");
        assert_eq!(percent(1_000), "100%");
        assert_eq!(clock(0), "0:00");
        assert_eq!(clock(62_900), "1:02");
        assert_eq!(clock(3_723_000), "1:02:03");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(12_345), "12.3 kB");
        assert_eq!(bytes(123_456_789), "123 MB");
        assert_eq!(bytes(u64::MAX), "18446744 TB");
    }

    #[test]
    fn a_page_needs_no_inline_script_or_style() {
        let page = layout("x", Some("list.mjs"), &html! {}).into_string();
        assert!(!page.contains("style="));
        assert!(!page.contains("<script>"));
        assert!(!page.contains("onclick"));
    }
}
