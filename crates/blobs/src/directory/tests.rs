use super::*;
use crate::Digest;
use ferrostack_types::Kind;
use tempfile::TempDir;

struct Store {
    store: Directory,
    dir: TempDir,
}

async fn store() -> Store {
    let dir = tempfile::tempdir().unwrap();
    Store { store: Directory::open(dir.path().join("blobs"), Env::system()).await.unwrap(), dir }
}

fn key(name: &str) -> Key {
    Key::new("images", name).unwrap()
}

fn chunks(parts: Vec<Result<Bytes>>) -> ByteStream {
    futures::stream::iter(parts).boxed()
}

fn bytes(data: &'static [u8]) -> ByteStream {
    chunks(vec![Ok(Bytes::from_static(data))])
}

async fn collect(mut stream: ByteStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(chunk) = stream.next().await {
        all.extend_from_slice(&chunk.unwrap());
    }
    all
}

impl Store {
    fn incoming(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("blobs").join(INCOMING)).unwrap().count()
    }
}

#[tokio::test]
async fn what_goes_in_comes_out_with_its_digests() {
    let s = store().await;
    let options = PutOptions { limit: Some(100), digests: vec![Digest::Md5, Digest::Sha256, Digest::Sha512] };
    let parts = vec![Ok(Bytes::from_static(b"hello ")), Ok(Bytes::new()), Ok(Bytes::from_static(b"world"))];
    let written = s.store.put(&key("a"), chunks(parts), options).await.unwrap();
    assert_eq!(written.size, 11);
    assert_eq!(written.digests.get(Digest::Md5), Some("5eb63bbbe01eeed093cb22bb8f5acdc3"));
    assert_eq!(
        written.digests.get(Digest::Sha256),
        Some("b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9")
    );
    assert!(written.digests.get(Digest::Sha512).unwrap().starts_with("309ecc489c12d6eb4cc40f50c902f2b4"));
    assert_eq!(collect(s.store.read(&key("a"), None).await.unwrap()).await, b"hello world");
    assert_eq!(collect(s.store.read(&key("a"), Some(6..9)).await.unwrap()).await, b"wor");
    assert_eq!(collect(s.store.read(&key("a"), Some(11..11)).await.unwrap()).await, b"");
    assert!(s.store.read(&key("a"), Some(6..12)).await.is_err());
    assert_eq!(&s.store.read_at(&key("a"), 9, 100).await.unwrap()[..], b"ld");
    assert_eq!(&s.store.read_at(&key("a"), 50, 100).await.unwrap()[..], b"");
    assert_eq!(s.store.size(&key("a")).await.unwrap(), Some(11));
    assert_eq!(s.incoming(), 0);
}

#[tokio::test]
async fn large_blobs_pass_in_order_through_the_buffers() {
    let s = store().await;
    // Chunks of every kind of size, some larger than a buffer.
    let mut data = Vec::new();
    let mut parts = Vec::new();
    for (index, length) in [1, BUFFER - 1, 3 * BUFFER + 7, 16_000, BUFFER, 0, 5].into_iter().enumerate() {
        let chunk: Vec<u8> = (0..length).map(|i| (i * 31 + index * 7) as u8).collect();
        data.extend_from_slice(&chunk);
        parts.push(Ok(Bytes::from(chunk)));
    }
    let options = PutOptions { limit: None, digests: vec![Digest::Md5] };
    let written = s.store.put(&key("big"), chunks(parts), options).await.unwrap();
    assert_eq!(written.size, data.len() as u64);
    assert!(collect(s.store.read(&key("big"), None).await.unwrap()).await == data);
    let middle = BUFFER as u64 - 3..2 * BUFFER as u64 + 5;
    let read = collect(s.store.read(&key("big"), Some(middle.clone())).await.unwrap()).await;
    assert!(read == data[middle.start as usize..middle.end as usize]);
}

#[tokio::test]
async fn a_failed_put_leaves_nothing() {
    let s = store().await;
    let broken = || chunks(vec![Ok(Bytes::from_static(b"half")), Err(Error::invalid("the client went away"))]);
    let error = s.store.put(&key("a"), broken(), PutOptions::default()).await.unwrap_err();
    assert_eq!(error.public(), "the client went away");
    let options = PutOptions { limit: Some(3), digests: vec![Digest::Md5] };
    let error = s.store.put(&key("a"), bytes(b"1234"), options).await.unwrap_err();
    assert_eq!(error.kind(), Kind::TooLarge);
    assert_eq!(s.incoming(), 0);
    assert_eq!(s.store.size(&key("a")).await.unwrap(), None);
    assert!(s.store.list("images").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_put_that_is_given_up_leaves_nothing() {
    let s = store().await;
    let (sender, receiver) = mpsc::channel::<Result<Bytes>>(1);
    let stream = futures::stream::unfold(receiver, |mut r| async move { Some((r.recv().await?, r)) }).boxed();
    let store = s.store.clone();
    let task = Env::system().spawn("put", async move { store.put(&key("a"), stream, PutOptions::default()).await });
    sender.send(Ok(Bytes::from(vec![1; 2 * BUFFER]))).await.unwrap();
    while s.incoming() == 0 {
        tokio::task::yield_now().await;
    }
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    while s.incoming() > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert_eq!(s.store.size(&key("a")).await.unwrap(), None);
}

#[tokio::test]
async fn blobs_do_not_change() {
    let s = store().await;
    s.store.put(&key("a"), bytes(b"first"), PutOptions::default()).await.unwrap();
    let error = s.store.put(&key("a"), bytes(b"second"), PutOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    assert_eq!(collect(s.store.read(&key("a"), None).await.unwrap()).await, b"first");
    assert_eq!(s.incoming(), 0);
}

#[tokio::test]
async fn deleting_is_repeatable_and_does_not_disturb_readers() {
    let s = store().await;
    s.store.put(&key("a"), bytes(b"data"), PutOptions::default()).await.unwrap();
    let reader = s.store.read(&key("a"), None).await.unwrap();
    assert!(s.store.delete(&key("a")).await.unwrap());
    assert!(!s.store.delete(&key("a")).await.unwrap());
    assert_eq!(collect(reader).await, b"data");
    assert_eq!(s.store.read_at(&key("a"), 0, 1).await.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test]
async fn what_a_dead_process_left_is_removed_at_the_start() {
    let s = store().await;
    s.store.put(&key("whole"), bytes(b"data"), PutOptions::default()).await.unwrap();
    let root = s.dir.path().join("blobs");
    std::fs::write(root.join(INCOMING).join("half"), b"ha").unwrap();
    let again = Directory::open(&root, Env::system()).await.unwrap();
    assert_eq!(s.incoming(), 0);
    let listed = again.list("images").await.unwrap();
    assert_eq!(listed.iter().map(|b| (b.key.name(), b.size)).collect::<Vec<_>>(), [("whole", 4)]);
    assert!(again.list("backups").await.unwrap().is_empty());
}

/// The kernel's own way to say "no space left", without filling a disk.
#[tokio::test]
async fn a_full_disk_is_said_to_be_full() {
    let s = store().await;
    let error = from_io(io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()));
    assert_eq!((error.kind(), error.retryable()), (Kind::Unavailable, true));
    assert!(error.public().contains("not enough space"));
    // A disk that fails in the middle ends the stream at once, and the disk's error is the one that is told.
    std::fs::remove_dir_all(s.dir.path().join("blobs").join(INCOMING)).unwrap();
    let endless = futures::stream::repeat_with(|| Ok(Bytes::from(vec![0; BUFFER]))).boxed();
    let error = s.store.put(&key("a"), endless, PutOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
}
