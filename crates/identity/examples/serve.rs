//! Identity alone on a loopback port, for trying real clients against it:
//! `cargo run -p ferrostack-identity --example serve -- 127.0.0.1:5000 /tmp/identity secret`

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use ferrostack_db::{Db, SqliteConfig};
use ferrostack_identity::{BootstrapConfig, Config, Deps, Identity, MIGRATIONS, api};
use ferrostack_rest::{Kit, ServiceApi};
use ferrostack_types::{Env, Secret};
use std::path::PathBuf;
use std::sync::Arc;

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:5000".to_owned());
    let dir = PathBuf::from(args.next().unwrap_or_else(|| "identity-data".to_owned()));
    let password = args.next().unwrap_or_else(|| "secret".to_owned());
    std::fs::create_dir_all(&dir).expect("the data directory");
    let env = Env::system();
    let db = Db::sqlite(SqliteConfig::new(dir.join("identity.sqlite")), &[MIGRATIONS], &env).await.expect("database");
    let config = Config::new(dir.join("token-keys"));
    let identity = Identity::new(Deps { db, env: env.clone(), config }).await.expect("identity");
    let endpoints = [
        ("identity", "keystone", "/identity"),
        ("compute", "nova", "/compute/v2.1"),
        ("image", "glance", "/image"),
        ("network", "neutron", "/network"),
        ("placement", "placement", "/placement"),
    ];
    let endpoints =
        endpoints.map(|(kind, name, path)| (kind.to_owned(), name.to_owned(), format!("http://{address}{path}")));
    identity
        .bootstrap(BootstrapConfig {
            admin_password: Secret::new(password),
            region: "RegionOne".to_owned(),
            endpoints: endpoints.to_vec(),
        })
        .await
        .expect("bootstrap");
    let kit = Kit { env, tokens: Arc::clone(&identity) as _ };
    let service = api(identity, kit, None).expect("api");
    let app = Router::new().fallback(move |request: Request| answer(Arc::clone(&service), request));
    let listener = tokio::net::TcpListener::bind(&address).await.expect("the port is free");
    axum::serve(listener, app).await.expect("serve");
}

async fn answer(service: Arc<dyn ServiceApi>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    service.call(parts, body).await
}
