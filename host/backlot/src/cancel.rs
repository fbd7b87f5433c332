//! `backlot cancel`: ends invocations with all they started.

use http::Method;

use crate::Done;
use crate::cli::CancelArgs;
use crate::client::{self, Client};
use crate::each::{self, Change};
use crate::fault::Fault;

pub(crate) fn run(args: CancelArgs) -> Result<Done, Fault> {
    let client = Client::new(&args.remote)?;
    let change = Change {
        table: "invocations",
        method: Method::POST,
        suffix: "/cancel",
        body: None,
        done: "cancelled",
    };
    client::block_on(each::change(&client, &args.ids, &change, args.remote.server.json))
}
