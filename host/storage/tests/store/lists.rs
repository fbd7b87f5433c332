//! Lists, against a model that looks at every key.

use std::collections::BTreeSet;

use backlot_storage::{ListQuery, StoreError};
use proptest::prelude::*;

use crate::Bed;

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

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn pages_put_together_are_what_the_definition_says(
        keys in keys(),
        queries in proptest::collection::vec((
            "[ab/é]{0,2}",
            proptest::option::of("[/aé]{0,2}"),
            proptest::option::of("[ab/é\u{10FFFF}]{0,4}"),
            1_u32..7,
        ), 12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bed = Bed::new().await;
            futures::future::join_all(keys.iter().map(|key| bed.put(key, "x"))).await;
            for (prefix, delimiter, after, limit) in queries {
                let mut query = ListQuery { bucket: "films".into(), prefix, delimiter, after, limit };
                let expected = model(&keys, &query);
                let mut got = Vec::new();
                loop {
                    let page = bed.store.list(query.clone()).await.unwrap();
                    let mut entries: Vec<String> =
                        page.objects.into_iter().map(|object| object.key).collect();
                    entries.extend(page.prefixes);
                    entries.sort();
                    prop_assert!(entries.len() <= limit as usize);
                    got.extend(entries);
                    let Some(next) = page.next else { break };
                    query.after = Some(next);
                }
                prop_assert_eq!(got, expected);
            }
            Ok(())
        })?;
    }
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
