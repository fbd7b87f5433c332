//! Copies a finished build out of the store into the output folder.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use backlot_storage::ListQuery;
use serde_json::Value;

use super::unwritable;
use crate::fault::Fault;
use crate::node::{self, Node};

/// Bytes copied at once.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;
/// Most files of a build.
const FILES_MAX: u32 = 1_000;
/// Written last: whoever sees it may play it.
const MASTER: &str = "master.m3u8";
/// Ending of a file that is being written.
const UNFINISHED: &str = ".unfinished";

/// What was written.
pub(super) struct Exported {
    pub(super) files: Vec<String>,
    pub(super) bytes: u64,
}

pub(super) async fn export(node: &Node, content: &Value, out: &Path) -> Result<Exported, Fault> {
    let part = |name: &str| content[name].as_str().unwrap_or_default();
    let prefix = format!("{}/{}/", part("id"), part("build"));
    let query = ListQuery {
        bucket: node::CONTENT.to_owned(),
        prefix: prefix.clone(),
        limit: FILES_MAX,
        ..ListQuery::default()
    };
    let page = node.store.list(query).await;
    let page = page.map_err(|err| node::internal("listing the result", &err))?;
    let mut names: Vec<String> = page
        .objects
        .iter()
        .filter_map(|object| object.key.strip_prefix(&prefix))
        // A file name, not a path: nothing is written outside the folder.
        .filter(|name| !name.is_empty() && !name.contains(['/', '\\']) && !name.starts_with('.'))
        .map(str::to_owned)
        .collect();
    names.sort_by_key(|name| name == MASTER);
    let mut bytes = 0;
    for name in &names {
        bytes += copy(node, &format!("{prefix}{name}"), &out.join(name)).await?;
    }
    Ok(Exported { files: names, bytes })
}

async fn copy(node: &Node, key: &str, to: &Path) -> Result<u64, Fault> {
    let reader = node.store.open_object(node::CONTENT, key, None).await;
    let reader = reader.map_err(|err| node::internal("reading the result", &err))?;
    let mut beside = to.as_os_str().to_owned();
    beside.push(UNFINISHED);
    let beside = Path::new(&beside);
    let failed = |err: io::Error| unwritable(to, &err);
    let mut file = File::create(beside).map_err(failed)?;
    let mut offset = 0;
    loop {
        let chunk = reader.read_at(offset, CHUNK_BYTES).await;
        let chunk = chunk.map_err(|err| node::internal("reading the result", &err))?;
        if chunk.is_empty() {
            break;
        }
        tokio::task::block_in_place(|| file.write_all(&chunk)).map_err(failed)?;
        offset += chunk.len() as u64;
    }
    tokio::task::block_in_place(|| file.sync_all()).map_err(failed)?;
    fs::rename(beside, to).map_err(failed)?;
    Ok(offset)
}
