//! How much waits, runs and failed.

use std::time::Duration;

use backlot_ledger::{Depth, Lane, Outcome};

use crate::support::Bed;

#[tokio::test]
async fn each_invocation_is_counted_where_it_stands() {
    let bed = Bed::new();
    assert_eq!(bed.ledger.depth().await.unwrap(), Depth::default());

    let failed = bed.root("job", "").await;
    bed.finish(&failed.fence, Outcome::Rejected("bad".to_owned())).await;
    let done = bed.root("job", "").await;
    bed.finish(&done.fence, Outcome::Succeeded(None)).await;
    let delayed = bed.root("job", "").await;
    bed.finish(&delayed.fence, Outcome::Trapped("again".to_owned())).await;
    let parent = bed.root("job", "").await;
    let child = bed.child(&parent.fence, "a").await;
    bed.finish(&parent.fence, Outcome::Parked { children: vec![child] }).await;
    let _running = bed.root("job", "").await;
    bed.publish("in-order", "same").await;
    bed.publish("in-order", "same").await;

    let depth = bed.ledger.depth().await.unwrap();
    let expected = Depth { ready: 2, delayed: 1, blocked: 1, running: 1, parked: 1, failed: 1 };
    assert_eq!(depth, expected);
    bed.pass(Duration::from_secs(10));
    assert_eq!(
        bed.lease(Lane::Roots, 10).await.len(),
        2,
        "what was delayed, and the first in order"
    );
    let depth = bed.ledger.depth().await.unwrap();
    assert_eq!((depth.ready, depth.delayed, depth.running), (1, 0, 3));
}
