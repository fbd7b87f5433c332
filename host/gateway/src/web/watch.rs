//! `/watch/<id>`: the player, or how far the film has come.

use std::sync::Arc;

use http::{Response, StatusCode};
use maud::{Markup, html};

use super::Shared;
use super::assets;
use super::content::{Content, Published};
use super::pages;
use super::reply::{self, Body, Fault};

pub(super) async fn page(shared: &Arc<Shared>, id: &str) -> Result<Response<Body>, Fault> {
    let snapshot = shared.feed.snapshot().await?;
    let Some(content) = snapshot.find(id) else {
        return Err(Fault::not_found("there is no content of that id"));
    };
    let (script, body) = match &content.published {
        Some(published) => ("watch.mjs", player(content, published)),
        None => ("list.mjs", waiting(content)),
    };
    Ok(reply::page(StatusCode::OK, pages::layout(&content.title, Some(script), &body)))
}

fn waiting(content: &Content) -> Markup {
    html! {
        nav { a .back href="/" { "All content" } }
        div .rows .single data-only=(content.id) data-reload-when="ready" { (pages::card(content)) }
    }
}

fn player(content: &Content, published: &Published) -> Markup {
    let links = &content.links;
    let codec = published.rungs.first().map(|rung| rung.codec.as_str()).unwrap_or_default();
    html! {
        nav { a .back href="/" { "All content" } }
        article .watch data-watch=(content.id) {
            div .screen {
                video #film controls playsinline preload="metadata" poster=[links.poster.as_deref()]
                    width=(published.width) height=(published.height)
                    data-hls=[links.hls.as_deref()] data-mp4=[links.mp4.as_deref()]
                    data-storyboard=[links.storyboard.as_deref()] data-codec=(codec)
                    data-hls-module=[assets::HAS_HLS.then(|| assets::path("hls.mjs"))] {
                    // Read by browsers without scripts.
                    @if let Some(mp4) = &links.mp4 { source src=(mp4) type="video/mp4"; }
                    @if let Some(hls) = &links.hls { source src=(hls) type="application/vnd.apple.mpegurl"; }
                }
                p .message data-message="codec" role="alert" hidden {
                    "This browser cannot play AV1 video. Current Chrome, Edge and Firefox can, and Safari on devices with an AV1 decoder. You can download the film below."
                }
                p .message data-message="player" role="alert" hidden {
                    "This server was built without hls.js, and this browser does not play HLS by itself. "
                    @if links.mp4.is_none() { "Build it with npm installed, or encode with a progressive MP4." }
                }
                p .message data-message="broken" role="alert" hidden {
                    "Playback failed: " span data-reason {} " "
                    button type="button" data-retry { "Try again" }
                }
            }
            div .scenes hidden {
                div .preview hidden aria-hidden="true" { div .frame {} span .at {} }
                input #scenes type="range" min="0" step="0.1" value="0" aria-label="Scenes";
            }
            div .under {
                div {
                    h1 { (content.title) }
                    p .facts {
                        span { (pages::clock(published.duration_ms)) }
                        span { (published.width) "×" (published.height) }
                        span { (published.frames) " frames" }
                        @if let Some(preset) = &published.preset { span { (preset) } }
                    }
                }
                label .quality hidden { span { "Quality" } select #quality {} }
            }
            (downloads(content, published))
        }
    }
}

fn downloads(content: &Content, published: &Published) -> Markup {
    let id = &content.id;
    let links = &content.links;
    html! {
        section .about aria-labelledby="files-heading" {
            h2 #files-heading { "Renditions" }
            div .scroll tabindex="0" role="region" aria-labelledby="files-heading" {
                table {
                    thead { tr { th scope="col" { "Rung" } th scope="col" { "Picture" } th scope="col" { "Size" } th scope="col" { "Codec" } } }
                    tbody {
                        @for rung in &published.rungs {
                            tr data-row=(rung.name) {
                                th scope="row" { (rung.name) }
                                td { (rung.width) "×" (rung.height) }
                                td { (pages::bytes(rung.bytes)) }
                                td { code { (rung.codec) } }
                            }
                        }
                    }
                }
            }
            p .links {
                @if let Some(mp4) = &links.mp4 { a .button href=(mp4) download=(format!("{id}.mp4")) { "Download MP4" } }
                @if let Some(hls) = &links.hls { a href=(hls) { "HLS playlist" } }
                @if let Some(dash) = &links.dash { a href=(dash) { "DASH manifest" } }
                a href={"/api/v1/content/" (id)} { "Details (JSON)" }
            }
            @if let Some(encoder) = &published.encoder {
                p .quiet { "Encoded by " (encoder) " from " code { (content.source.bucket) "/" (content.source.key) } "." }
            }
        }
    }
}
