//! What identity is to the other services.

use crate::Identity;
use crate::catalog::Names;
use crate::store::projects::project_fetch;
use async_trait::async_trait;
use ferrostack_contracts::identity::{Caller, IdentityDirectory, TokenVerifier};
use ferrostack_types::Result;
use ferrostack_types::ids::ProjectId;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

#[async_trait]
impl TokenVerifier for Identity {
    async fn verify(&self, token: &str) -> Result<Arc<Caller>> {
        Ok(Arc::clone(&self.tokens.known(token, Duration::ZERO).await?.caller))
    }
}

#[async_trait]
impl IdentityDirectory for Identity {
    async fn project_exists(&self, id: &ProjectId) -> Result<bool> {
        let id = id.clone();
        self.db.read("project_exists", move |tx| Ok(project_fetch(tx, id.as_str())?.is_some())).await
    }

    async fn catalog(&self) -> Result<Value> {
        self.catalog.value(Names::default()).await
    }
}
