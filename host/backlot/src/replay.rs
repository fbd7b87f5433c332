//! `backlot replay`: runs ended invocations again.

use http::Method;
use serde_json::json;

use crate::cli::{Again, ReplayArgs};
use crate::client::{self, Client};
use crate::each::{self, Change};
use crate::fault::Fault;
use crate::{Done, select};

pub(crate) fn run(args: ReplayArgs) -> Result<Done, Fault> {
    let client = Client::new(&args.remote)?;
    client::block_on(async {
        let ids = match args.filter.state {
            None => args.ids,
            Some(_) => select::ids(&client, &args.filter).await?,
        };
        each(&client, &ids, &args.again, args.remote.server.json).await
    })
}

/// Runs each of them again.
pub(crate) async fn each(
    client: &Client,
    ids: &[String],
    again: &Again,
    is_json: bool,
) -> Result<Done, Fault> {
    let body = json!({ "fresh": again.fresh, "version": again.version });
    let change = Change {
        table: "invocations",
        method: Method::POST,
        suffix: "/replay",
        body: Some(&body),
        done: "replayed",
    };
    each::change(client, ids, &change, is_json).await
}
