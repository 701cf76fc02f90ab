//! `/v2/images/{image_id}/file`

use crate::Images;
use crate::api::find;
use crate::model::Status;
use bytes::Bytes;
use ferrostack_blobs::{ByteStream, Key};
use ferrostack_rest::{Body, Reply, Request, StatusCode};
use ferrostack_types::{Error, Kind, Result};
use futures::StreamExt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// The body's data as a stream. Trailers are not data.
fn stream(body: Body) -> ByteStream {
    let broken = |e| Error::invalid("The request's body ended too early.").with_source(e);
    body.into_data_stream().map(move |chunk| chunk.map_err(broken)).boxed()
}

/// `PUT .../file`
pub async fn upload(service: Arc<Images>, mut request: Request) -> Result<Reply> {
    let found = find(&service, &request).await?;
    request.authorize(&found.target)?;
    let kind = request.header("content-type").unwrap_or_default();
    if kind.split(';').next().unwrap_or_default().trim() != "application/octet-stream" {
        return Err(Error::new(
            Kind::UnsupportedMediaType,
            format!("Invalid content type {kind}. Expected application/octet-stream"),
        ));
    }
    let expected = expected_size(&request)?;
    let (source, rest) = shared(stream(request.take_stream()));
    match service.upload(&found.image, source, expected).await {
        Ok(()) => Ok(Reply::no_content()),
        Err(error) => {
            // With `Expect: 100-continue` a client waits for our word or stops by itself.
            if request.header("expect").is_none() {
                drain(&service, rest).await;
            }
            Err(error)
        }
    }
}

/// A client that still sends does not read the answer; most hear of a refusal only if their data is taken off their
/// hands. Some time is spent on that, no memory and no disk.
const DRAIN: Duration = Duration::from_secs(20);

/// A stream, until it has ended or failed: then there is nothing left of it.
type Shared = Arc<tokio::sync::Mutex<Option<ByteStream>>>;

async fn next(shared: &Shared) -> Option<Result<Bytes>> {
    let mut stream = shared.lock().await;
    let item = stream.as_mut()?.next().await;
    if !matches!(item, Some(Ok(_))) {
        *stream = None;
    }
    item
}

/// The stream for whoever stores it, and what is left of it for whoever comes after.
fn shared(source: ByteStream) -> (ByteStream, Shared) {
    let shared: Shared = Arc::new(tokio::sync::Mutex::new(Some(source)));
    let reader = futures::stream::unfold(Arc::clone(&shared), |shared| async move {
        let item = next(&shared).await?;
        Some((item, shared))
    });
    (reader.boxed(), shared)
}

async fn drain(service: &Images, rest: Shared) {
    let all = async { while next(&rest).await.is_some() {} };
    tokio::select! {
        biased;
        () = all => {}
        () = service.env.sleep(DRAIN) => {}
    }
}

fn expected_size(request: &Request) -> Result<Option<u64>> {
    let given = request.header("x-openstack-image-size").or_else(|| request.header("content-length"));
    let invalid = |_| Error::invalid("Invalid or missing image size in request headers.");
    given.map(|text| text.trim().parse().map_err(invalid)).transpose()
}

/// `GET .../file`
pub async fn download(service: Arc<Images>, request: Request) -> Result<Reply> {
    let found = find(&service, &request).await?;
    let image = &found.image;
    if image.status == Status::Deactivated && !request.caller().has_role("admin") {
        return Err(Error::forbidden("The requested image has been deactivated. Image data download is forbidden."));
    }
    request.authorize(&found.target)?;
    let (Status::Active | Status::Deactivated, Some(key), Some(size)) = (image.status, &image.blob_key, image.size)
    else {
        return Ok(Reply::no_content());
    };
    let range = range(&request, size)?;
    let data = service.blobs.read(&Key::parse(key)?, range.clone()).await?;
    let body = Body::from_stream(data.map(|chunk| chunk.map_err(|e| std::io::Error::other(e.internal_text()))));
    let reply = match range {
        None => {
            let reply = Reply::stream(StatusCode::OK, "application/octet-stream", body);
            reply.header("content-length", &size.to_string())
        }
        Some(range) => Reply::stream(StatusCode::PARTIAL_CONTENT, "application/octet-stream", body)
            .header("content-length", &(range.end - range.start).to_string())
            .header("content-range", &format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1))),
    };
    Ok(match &image.checksum {
        Some(checksum) => reply.header("content-md5", checksum),
        None => reply,
    })
}

/// The bytes that are asked for; several ranges at once are answered with everything, as HTTP allows.
fn range(request: &Request, size: u64) -> Result<Option<Range<u64>>> {
    let Some(text) = request.header("range") else { return Ok(None) };
    let Some(spec) = text.trim().strip_prefix("bytes=") else { return Ok(None) };
    if spec.contains(',') {
        return Ok(None);
    }
    let bad = || Error::new(Kind::RangeNotSatisfiable, format!("Invalid range {text} for an image of {size} bytes."));
    let (from, to) = spec.split_once('-').ok_or_else(bad)?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| bad());
    let range = match (from.trim(), to.trim()) {
        ("", last) => size.saturating_sub(number(last)?)..size,
        (first, "") => number(first)?..size,
        (first, last) => number(first)?..number(last)?.saturating_add(1).min(size),
    };
    if range.start >= range.end { Err(bad()) } else { Ok(Some(range)) }
}
