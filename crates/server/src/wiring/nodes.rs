//! The two enums over the bus.

use async_trait::async_trait;
use bytes::Bytes;
use ferrostack_bus::{Bus, Responder, ask, decode, encode};
use ferrostack_contracts::node::{NodeReply, NodeReport, NodeReports, NodeRequest, Nodes};
use ferrostack_types::ids::NodeId;
use ferrostack_types::{Error, Result};
use std::sync::Arc;
use std::time::Duration;

/// Who the control plane is on the bus, and where it answers.
pub const CONTROL: &str = "control";
/// How long a node may take to write down what is wanted.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);

/// Requests to nodes.
pub struct BusNodes(pub Arc<dyn Bus>);

#[async_trait]
impl Nodes for BusNodes {
    async fn request(&self, node: NodeId, request: NodeRequest) -> Result<NodeReply> {
        ask(self.0.as_ref(), CONTROL, &format!("node.{node}"), &request, REQUEST_LIMIT).await
    }
}

/// Reports from nodes. The bus says who is speaking.
pub struct ControlResponder(pub Arc<dyn NodeReports>);

#[async_trait]
impl Responder for ControlResponder {
    async fn respond(&self, from: &str, body: Bytes) -> Result<Bytes> {
        let node = NodeId::parse(from)
            .ok_or_else(|| Error::forbidden("Only nodes report.").context(format!("from {from}")))?;
        let report: NodeReport = decode(&body)?;
        encode(&self.0.report(node, report).await?)
    }
}
