//! How fast a blob is stored and how much memory that takes: `cargo run -p ferrostack-blobs --example measure -- <dir> <MiB>`.

use bytes::Bytes;
use ferrostack_blobs::{BlobStore, Digest, Directory, Key, PutOptions};
use ferrostack_types::Env;
use futures::StreamExt;

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS")).collect::<Vec<_>>().join(", ")
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().expect("a directory");
    let mebibytes: u64 = arguments.next().and_then(|n| n.parse().ok()).expect("how many MiB");
    let env = Env::system();
    let store = Directory::open(dir, env.clone()).await.expect("the directory opens");
    let key = Key::new("measure", "blob").expect("a key");
    // As a network would hand it over.
    let chunk = Bytes::from(env.random::<16384>().to_vec());
    let source = futures::stream::iter((0..mebibytes * 64).map(move |_| Ok(chunk.clone()))).boxed();
    println!("before: {}", memory());
    let start = env.instant();
    let options = PutOptions { limit: None, digests: vec![Digest::Md5, Digest::Sha512] };
    let written = store.put(&key, source, options).await.expect("the blob is stored");
    let seconds = start.elapsed().as_secs_f64();
    println!("{} bytes in {seconds:.1} s: {:.0} MiB/s", written.size, mebibytes as f64 / seconds);
    println!("after: {}", memory());
    let start = env.instant();
    let mut data = store.read(&key, None).await.expect("the blob is there");
    let mut size = 0;
    while let Some(bytes) = data.next().await {
        size += bytes.expect("bytes").len();
    }
    println!("read {size}: {:.0} MiB/s", mebibytes as f64 / start.elapsed().as_secs_f64());
    store.delete(&key).await.expect("the blob goes");
}
