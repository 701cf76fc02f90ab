//! Consoles over a websocket.
//!
//! The compute API hands out a URL with a token that is good for one connection and a few minutes. Here the token is
//! spent, the node is asked where the console is, and bytes go both ways until either side ends. The token is the whole
//! authorization, so it is never logged, and a page from another origin cannot use it behind a user's back.

use async_trait::async_trait;
use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use ferrostack_contracts::node::{ConsoleAddress, ConsoleKind, NodeReply, NodeRequest, Nodes};
use ferrostack_types::ids::{NodeId, ServerId};
use ferrostack_types::{Error, Result, ResultExt};
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// Whose console a token opens. Spends the token.
#[async_trait]
pub trait ConsoleTokens: Send + Sync {
    /// `NotFound` if there is no such token, or no more.
    async fn redeem(&self, token: &str) -> Result<(NodeId, ServerId, ConsoleKind)>;
}

/// The websocket endpoint.
#[derive(Clone)]
pub struct Consoles {
    tokens: Arc<dyn ConsoleTokens>,
    nodes: Arc<dyn Nodes>,
}

#[derive(Deserialize)]
struct Parameters {
    token: String,
}

impl Consoles {
    /// Over these.
    pub fn new(tokens: Arc<dyn ConsoleTokens>, nodes: Arc<dyn Nodes>) -> Consoles {
        Consoles { tokens, nodes }
    }

    /// `GET /console/?token=...`
    pub fn router(self) -> Router {
        Router::new().route("/console/", get(open)).route("/console", get(open)).with_state(self)
    }

    async fn connect(&self, token: &str) -> Result<Stream> {
        let (node, server, kind) = self.tokens.redeem(token).await?;
        let NodeReply::Console(address) = self.nodes.request(node, NodeRequest::Console { server, kind }).await? else {
            return Err(Error::internal("a node answered something else than a console"));
        };
        match address {
            ConsoleAddress::Unix(path) => {
                Ok(Box::new(UnixStream::connect(path).await.context("connect to a console")?))
            }
            ConsoleAddress::Tcp(host, port) => {
                Ok(Box::new(TcpStream::connect((host, port)).await.context("connect to a console")?))
            }
        }
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}
type Stream = Box<dyn Duplex>;

async fn open(
    State(consoles): State<Consoles>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !same_origin(&headers) {
        return (StatusCode::FORBIDDEN, "The page that asks is not ours.").into_response();
    }
    match consoles.connect(&parameters.token).await {
        Ok(stream) => upgrade.protocols(["binary"]).on_upgrade(move |socket| relay(socket, stream)),
        Err(error) => {
            tracing::info!(?error, "console refused");
            let status = StatusCode::from_u16(error.kind().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, error.public().to_owned()).into_response()
        }
    }
}

/// Programs send no `Origin`; browsers always do, and then it must be the host that was asked.
fn same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    origin.to_str().ok().and_then(|o| o.split_once("://")).is_some_and(|(_, origin)| !host.is_empty() && origin == host)
}

/// Until either side ends.
async fn relay(socket: WebSocket, stream: Stream) {
    let (mut to_client, mut from_client) = socket.split();
    let (mut from_guest, mut to_guest) = tokio::io::split(stream);
    let inward = async {
        while let Some(Ok(message)) = from_client.next().await {
            let bytes = match message {
                Message::Binary(bytes) => bytes,
                Message::Text(text) => text.into(),
                Message::Close(_) => break,
                Message::Ping(_) | Message::Pong(_) => continue,
            };
            if to_guest.write_all(&bytes).await.is_err() {
                break;
            }
        }
    };
    let outward = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            match from_guest.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    let message = Message::Binary(bytes::Bytes::copy_from_slice(&buffer[..count]));
                    if to_client.send(message).await.is_err() {
                        break;
                    }
                }
            }
        }
        drop(to_client.close().await);
    };
    tokio::select! {
        biased;
        () = inward => {}
        () = outward => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn another_page_is_refused() {
        let headers = |origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:5000"));
            origin.map(|o| headers.insert(header::ORIGIN, HeaderValue::from_static(o)));
            headers
        };
        assert!(same_origin(&headers(None)));
        assert!(same_origin(&headers(Some("http://127.0.0.1:5000"))));
        assert!(!same_origin(&headers(Some("http://evil.example"))));
        assert!(!same_origin(&headers(Some("null"))));
    }
}
