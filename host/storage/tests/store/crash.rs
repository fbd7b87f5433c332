//! What a crash leaves, and what the sweep makes of it.

use backlot_storage::Swept;

use crate::{Bed, noise, put};

#[tokio::test]
async fn a_sweep_at_open_removes_what_a_crash_left_and_nothing_else() {
    let bed = Bed::new().await;
    let body = noise(100_000, 1);
    bed.put("kept", body.clone()).await;
    // A crash between the file and the commit: a blob that the ledger does not know.
    let blobs = bed.folder.path().join("blobs");
    let orphan = "0197a000000070008000000000000042";
    std::fs::write(blobs.join("02").join(orphan), b"half a film").unwrap();
    // A crash between the commit of a delete and the removal of its file: garbage that is still
    // there. Nothing is collected here, for the process "dies" at once.
    bed.put("deleted", noise(100_000, 2)).await;
    let delete = backlot_storage::Delete {
        bucket: "films".into(),
        key: "deleted".into(),
        ..Default::default()
    };
    bed.store.delete(delete).await.unwrap();
    // Not ours.
    std::fs::write(blobs.join("00").join("README"), b"hello").unwrap();
    assert_eq!(bed.files(), 4);
    let bed = bed.reopen().await;
    assert_eq!(bed.files(), 2);
    assert!(!blobs.join("02").join(orphan).try_exists().unwrap());
    assert_eq!(bed.get("kept").await.unwrap(), body);
    assert_eq!(bed.store.sweep().await.unwrap(), Swept::default());
}

#[tokio::test]
async fn a_sweep_while_bodies_arrive_takes_none_of_them() {
    let bed = Bed::new().await;
    let body = noise(900_000, 1);
    let mut writer = bed.store.writer(put("a")).await.unwrap();
    for chunk in body.chunks(90_000) {
        writer.write(bytes::Bytes::copy_from_slice(chunk)).await.unwrap();
        assert_eq!(bed.store.sweep().await.unwrap(), Swept::default());
    }
    writer.finish().await.unwrap();
    assert_eq!(bed.store.sweep().await.unwrap(), Swept::default());
    assert_eq!(bed.get("a").await.unwrap(), body);
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_undo_a_commit() {
    let bed = Bed::new().await;
    for number in 0..20 {
        let key = format!("key-{number}");
        let mut writer = bed.store.writer(put(&key)).await.unwrap();
        writer.write(noise(5_000, number)).await.unwrap();
        // Dropped after a few polls, anywhere between flush and answer.
        let wait = std::time::Duration::from_micros(number * 300);
        let finished = tokio::time::timeout(wait, writer.finish()).await;
        if matches!(finished, Ok(Err(_))) {
            panic!("{finished:?}");
        }
    }
    // Whatever became visible is whole.
    let bed = bed.reopen().await;
    let mut found = 0;
    for number in 0..20 {
        if let Ok(body) = bed.get(&format!("key-{number}")).await {
            assert_eq!(body, noise(5_000, number));
            found += 1;
        }
    }
    assert_eq!(bed.files(), found);
}
