//! How fast candidates and claims are: `cargo run -p ferrostack-placement --example measure`.
//!
//! The database is in a temporary directory and does not sync; with real durability commits are grouped, so claims that
//! come at the same time share one.

#[path = "../tests/placement/harness.rs"]
#[allow(dead_code, missing_docs)]
mod harness;

use ferrostack_contracts::placement::Placement as _;
use futures::future::join_all;
use harness::{Cloud, consumer, host, provider, wants};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let cloud = Cloud::new().await;
    let placement = &cloud.placement;
    let env = ferrostack_types::Env::system();
    let hosts = 10_000_u128;
    let start = env.instant();
    let ensure = |n| async move {
        placement.ensure_provider(provider(n), &format!("host{n}"), &host(64, 256_000)).await.expect("a provider")
    };
    join_all((0..hosts).map(ensure)).await;
    println!("{hosts} providers made: {:?}", start.elapsed());
    for (what, memory) in [("all", 512), ("none", 512_000)] {
        let start = env.instant();
        for _ in 0..20 {
            placement.candidates(&wants(1, memory)).await.expect("candidates");
        }
        println!("candidates among {hosts}, {what} fitting: {:?}", start.elapsed() / 20);
    }
    let claims = 20_000_u32;
    let start = env.instant();
    let claim =
        |n| async move { placement.claim(&consumer(n), provider(n % hosts), &wants(1, 512)).await.expect("a claim") };
    join_all((0..u128::from(claims)).map(claim)).await;
    println!("{:.0} claims a second", f64::from(claims) / start.elapsed().as_secs_f64());
    cloud.assert_sound().await;
}
