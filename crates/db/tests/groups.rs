//! What grouped commits promise.

use ferrostack_db::testing::TestDb;
use ferrostack_db::{Migration, is_unique_violation, params};
use ferrostack_types::{Error, Kind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const SCHEMA: &[Migration] =
    &[Migration { service: "test", version: 1, sql: "CREATE TABLE test_t (id INTEGER PRIMARY KEY, v VARCHAR(10));\n" }];

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_transaction_leaves_nothing_and_harms_no_neighbour() {
    let test = TestDb::new(&[SCHEMA]).await;
    let hooks = Arc::new(AtomicUsize::new(0));
    let all = (0..200).map(|i: i64| {
        let (db, hooks) = (test.db.clone(), Arc::clone(&hooks));
        async move {
            db.write("t", move |tx| {
                tx.execute("INSERT INTO test_t (id, v) VALUES (?, ?)", params![i, "x"])?;
                let hooks = Arc::clone(&hooks);
                tx.on_commit(move || {
                    hooks.fetch_add(1, Ordering::SeqCst);
                });
                match i % 3 {
                    0 => Ok(i),
                    1 => Err(Error::conflict("no")),
                    _ => panic!("a panicking transaction"),
                }
            })
            .await
        }
    });
    let results = futures_join(all).await;
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 67);
    let count: i64 = test.db.read("c", |tx| tx.scalar("SELECT COUNT(*) FROM test_t", params![])).await.unwrap();
    assert_eq!(count, 67);
    assert_eq!(hooks.load(Ordering::SeqCst), 67);
    assert!(test.db.stats().commits.load(Ordering::Relaxed) < 200, "commits were shared");
}

#[tokio::test]
async fn errors_say_what_they_are_and_readers_cannot_write() {
    let test = TestDb::new(&[SCHEMA]).await;
    let insert = |id: i64| test.db.write("t", move |tx| tx.execute("INSERT INTO test_t (id) VALUES (?)", params![id]));
    insert(1).await.unwrap();
    let error = insert(1).await.unwrap_err();
    assert!(is_unique_violation(&error), "{error:?}");
    assert_eq!(error.kind(), Kind::Conflict);
    let read = test.db.read("r", |tx| tx.execute("DELETE FROM test_t", params![])).await;
    assert!(read.is_err());
    assert_eq!(insert(2).await.unwrap(), 1);
}

#[tokio::test]
async fn a_migration_runs_once_and_may_not_change() {
    const CHANGED: &[Migration] =
        &[Migration { service: "test", version: 1, sql: "CREATE TABLE test_t (id INTEGER PRIMARY KEY);\n" }];
    let test = TestDb::new(&[SCHEMA]).await;
    test.reopen(&[SCHEMA]).await;
    let again = std::panic::AssertUnwindSafe(test.reopen(&[CHANGED]));
    assert!(futures_catch(again).await.is_err());
}

async fn futures_join<F>(all: impl Iterator<Item = F>) -> Vec<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let mut set = tokio::task::JoinSet::new();
    for future in all {
        set.spawn(future);
    }
    set.join_all().await
}

async fn futures_catch<F: Future>(future: std::panic::AssertUnwindSafe<F>) -> Result<F::Output, ()> {
    futures::FutureExt::catch_unwind(future).await.map_err(drop)
}
