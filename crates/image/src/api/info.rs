//! `/v2/info`

use crate::Images;
use ferrostack_rest::{Reply, Request, Target};
use ferrostack_types::Result;
use serde_json::json;
use std::sync::Arc;

/// `GET /v2/info/import`: data comes by upload only.
pub async fn import(_: Arc<Images>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    Ok(Reply::ok(&json!({
        "import-methods": {"description": "Import methods available.", "type": "array", "value": []},
    })))
}

/// `GET /v2/info/usage`
pub async fn usage(_: Arc<Images>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    Ok(Reply::ok(&json!({"usage": {}})))
}
