//! Lists, against a model that looks at every key.

use std::collections::BTreeSet;

use backlot_storage::{ListQuery, Put, StoreError};
use proptest::prelude::*;

use crate::{Bed, put};

/// Entries (`key` or `prefix`) in byte order, by the definition.
fn model(keys: &BTreeSet<String>, query: &ListQuery) -> Vec<String> {
    let fold = |key: &String| {
        let rest = key.strip_prefix(&query.prefix)?;
        let cut = query.delimiter.as_ref().filter(|delimiter| !delimiter.is_empty());
        Some(match cut.and_then(|cut| Some(rest.find(cut)? + cut.len())) {
            Some(end) => key[..query.prefix.len() + end].to_owned(),
            None => key.clone(),
        })
    };
    let entries: BTreeSet<String> = keys.iter().filter_map(fold).collect();
    let after = |entry: &String| query.after.as_ref().is_none_or(|after| after < entry);
    entries.into_iter().filter(after).collect()
}

fn keys() -> impl Strategy<Value = BTreeSet<String>> {
    // Few letters, so that prefixes are shared; long code points, so that bytes are what counts.
    proptest::collection::btree_set("[ab/é\u{10FFFF}\0]{1,5}", 0..40)
}

fn queries() -> impl Strategy<Value = Vec<(String, Option<String>, Option<String>, u32)>> {
    let prefix = "[ab/é]{0,2}";
    let delimiter = proptest::option::of("[/aé]{0,2}");
    let after = proptest::option::of("[ab/é\u{10FFFF}]{0,4}");
    proptest::collection::vec((prefix, delimiter, after, 1_u32..7), 12)
}

/// What the pages of a query are when put together.
async fn listed(bed: &Bed, mut query: ListQuery) -> Vec<String> {
    let mut got = Vec::new();
    loop {
        let page = bed.store.list(query.clone()).await.unwrap();
        let mut entries: Vec<String> = page.objects.into_iter().map(|object| object.key).collect();
        entries.extend(page.prefixes);
        entries.sort();
        assert!(entries.len() <= query.limit as usize);
        got.extend(entries);
        let Some(next) = page.next else { return got };
        query.after = Some(next);
    }
}

#[test]
fn pages_put_together_are_what_the_definition_says() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bed = runtime.block_on(Bed::new());
    let cases = std::cell::Cell::new(0);
    let config = ProptestConfig { cases: 100, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(&(keys(), queries()), |(keys, queries)| {
        cases.set(cases.get() + 1);
        let bucket = format!("case-{}", cases.get());
        runtime.block_on(async {
            bed.store.create_bucket(&bucket).await.unwrap();
            let put = |key: &String| bed.try_put(Put { bucket: bucket.clone(), ..put(key) }, "x");
            futures::future::try_join_all(keys.iter().map(put)).await.unwrap();
            for (prefix, delimiter, after, limit) in queries {
                let bucket = bucket.clone();
                let query = ListQuery { bucket, prefix, delimiter, after, limit };
                prop_assert_eq!(listed(&bed, query.clone()).await, model(&keys, &query));
            }
            Ok(())
        })
    });
    result.unwrap();
}

#[tokio::test]
async fn a_page_that_ends_with_the_last_entry_has_no_next() {
    let bed = Bed::new().await;
    for key in ["a", "b/1", "b/2"] {
        bed.put(key, "x").await;
    }
    let query = |limit| ListQuery {
        bucket: "films".into(),
        delimiter: Some("/".into()),
        limit,
        ..ListQuery::default()
    };
    let page = bed.store.list(query(2)).await.unwrap();
    assert_eq!((page.objects.len(), page.prefixes, page.next), (1, vec!["b/".to_owned()], None));
    assert_eq!(bed.store.list(query(1)).await.unwrap().next.as_deref(), Some("a"));
    assert_eq!(bed.store.list(query(0)).await.unwrap().next, None);
    let nowhere = ListQuery { bucket: "nowhere".into(), ..query(1) };
    assert!(matches!(bed.store.list(nowhere).await, Err(StoreError::NoSuchBucket(_))));
}
