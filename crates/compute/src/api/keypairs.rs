//! `/os-keypairs`

use crate::Compute;
use crate::api::plain_paging;
use crate::microversions::*;
use crate::store::keypairs::{self, Keypair};
use crate::store::quotas;
use ferrostack_db::Tx;
use ferrostack_rest::{FieldVersions, Reply, Request, Schema, StatusCode, Target};
use ferrostack_types::ids::UserId;
use ferrostack_types::{Env, Error, Kind, Microversion, Result};
use md5::{Digest, Md5};
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

const VERSIONS: &[FieldVersions] =
    &[FieldVersions::since("/keypair/type", V2_2), FieldVersions::since("/keypair/user_id", V2_10)];

static CREATE: LazyLock<Schema> = LazyLock::new(|| {
    Schema::versioned(
        json!({"type": "object", "required": ["keypair"], "additionalProperties": false, "properties": {"keypair": {
            "type": "object", "required": ["name"], "additionalProperties": false, "properties": {
                "name": super::name_schema(),
                "type": {"type": "string", "enum": ["ssh", "x509"]},
                "public_key": {"type": "string"},
                "user_id": {"type": "string", "maxLength": 255}}}}}),
        VERSIONS,
    )
});

/// Whose key pairs: the caller's, or those of another user whom an administrator names.
fn owner(request: &Request) -> UserId {
    match request.query.get("user_id") {
        Some(user) if request.version() >= V2_10 => UserId::new(user),
        _ => request.caller().user_id.clone(),
    }
}

fn target(user: &UserId) -> Target {
    Target::none().user(user)
}

fn view(pair: &Keypair, version: Microversion) -> Value {
    let mut view = json!({"name": pair.name, "public_key": pair.public_key, "fingerprint": pair.fingerprint});
    if version >= V2_2 {
        view["type"] = json!(pair.kind);
    }
    view
}

fn missing(user: &UserId, name: &str) -> Error {
    Error::not_found(format!("Keypair {name} not found for user {user}"))
}

/// `GET /os-keypairs`
pub(crate) async fn list(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let user = owner(&request);
    request.authorize(&target(&user))?;
    let paged = request.version() >= V2_35;
    let page = if paged { request.query.page(&plain_paging(compute.config.max_limit))? } else { Default::default() };
    let (limit, marker) = (page.limit, page.marker);
    let read =
        move |tx: &mut Tx<'_>| keypairs::keypair_list_in_tx(tx, &user, marker.as_deref(), limit.map(|limit| limit + 1));
    let mut pairs = compute.db.read("keypair_list", read).await?;
    let more = limit.is_some_and(|limit| pairs.len() > limit);
    pairs.truncate(limit.unwrap_or(usize::MAX));
    let version = request.version();
    let list: Vec<Value> = pairs.iter().map(|pair| json!({"keypair": view(pair, version)})).collect();
    let mut body = json!({"keypairs": list});
    if more && let Some(last) = pairs.last() {
        body["keypairs_links"] = json!([{"rel": "next", "href": request.next_url(&last.name)}]);
    }
    Ok(Reply::ok(&body))
}

/// `GET /os-keypairs/{name}`
pub(crate) async fn show(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let user = owner(&request);
    request.authorize(&target(&user))?;
    let name = request.param("name").to_owned();
    let (of, wanted) = (user.clone(), name.clone());
    let found = compute.db.read("keypair_fetch", move |tx| keypairs::keypair_fetch_in_tx(tx, &of, &wanted)).await?;
    let pair = found.ok_or_else(|| missing(&user, &name))?;
    let mut whole = view(&pair, request.version());
    whole["user_id"] = json!(pair.user.as_str());
    whole["id"] = json!(pair.number);
    whole["created_at"] = json!(pair.created_at.to_iso_naive_micros());
    whole["updated_at"] = Value::Null;
    whole["deleted"] = json!(false);
    whole["deleted_at"] = Value::Null;
    Ok(Reply::ok(&json!({"keypair": whole})))
}

/// `DELETE /os-keypairs/{name}`
pub(crate) async fn delete(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let user = owner(&request);
    request.authorize(&target(&user))?;
    let name = request.param("name").to_owned();
    let (of, gone) = (user.clone(), name.clone());
    let found = compute.db.write("keypair_delete", move |tx| keypairs::keypair_delete_in_tx(tx, &of, &gone)).await?;
    if !found {
        return Err(missing(&user, &name));
    }
    Ok(Reply::empty(if request.version() >= V2_2 { StatusCode::NO_CONTENT } else { StatusCode::ACCEPTED }))
}

/// `POST /os-keypairs`
pub(crate) async fn create(compute: Arc<Compute>, mut request: Request) -> Result<Reply> {
    let version = request.version();
    let body = request.json().await?;
    let asked = &body["keypair"];
    let user = match asked["user_id"].as_str() {
        Some(user) if version >= V2_10 => UserId::new(user),
        _ => request.caller().user_id.clone(),
    };
    request.authorize(&target(&user))?;
    CREATE.check(&body, Some(version))?;
    check_name(asked["name"].as_str().unwrap_or_default(), version)?;
    if asked["type"] == "x509" {
        return Err(Error::invalid("Keypair data is invalid: keys of type x509 are not served by this deployment"));
    }
    let (public_key, fingerprint, private_key) = match asked["public_key"].as_str() {
        Some(text) => (text.to_owned(), fingerprint(text)?, None),
        None if version >= V2_92 => return Err(Error::invalid("'public_key' is a required property")),
        None => generate(&compute.env)?,
    };
    let pair = Keypair {
        number: 0,
        user,
        name: asked["name"].as_str().unwrap_or_default().to_owned(),
        kind: "ssh".to_owned(),
        fingerprint,
        public_key,
        created_at: compute.env.now(),
    };
    let (new, defaults) = (pair.clone(), compute.config.quotas);
    let project = request.caller().project_id().cloned();
    let work = move |tx: &mut Tx<'_>| {
        let limits = match &project {
            Some(project) => quotas::limits_in_tx(tx, project, &defaults)?,
            None => defaults,
        };
        keypairs::keypair_insert_in_tx(tx, &new)?;
        if limits.key_pairs >= 0 && quotas::keypairs_used_in_tx(tx, &new.user)? > limits.key_pairs {
            return Err(Error::new(Kind::OverQuota, "Quota exceeded, too many key pairs."));
        }
        Ok(())
    };
    compute.db.write("keypair_create", work).await?;
    let mut whole = view(&pair, version);
    whole["user_id"] = json!(pair.user.as_str());
    if let Some(private_key) = private_key {
        whole["private_key"] = json!(private_key);
    }
    let status = if version >= V2_2 { StatusCode::CREATED } else { StatusCode::OK };
    Ok(Reply::json(status, &json!({"keypair": whole})))
}

/// Letters, digits, blanks, hyphens and underscores; from 2.92 on also `@` and `.`.
fn check_name(name: &str, version: Microversion) -> Result<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || " -_".contains(c) || (version >= V2_92 && "@.".contains(c));
    if name.chars().all(fine) {
        return Ok(());
    }
    let allowed = if version >= V2_92 { "@._- " } else { "_- " };
    Err(Error::invalid(format!(
        "Keypair data is invalid: Keypair name contains unsafe characters; letters, digits and '{allowed}' are allowed"
    )))
}

/// The MD5 fingerprint of an OpenSSH public key, as `ssh-keygen -E md5 -l` prints it. The blob must name the type that
/// stands before it; keys of any type are taken, as a guest's sshd may know more of them than we do.
fn fingerprint(text: &str) -> Result<String> {
    use base64::Engine;
    let bad = || Error::invalid("Keypair data is invalid: failed to generate fingerprint");
    let mut words = text.split_whitespace();
    let (kind, blob) = (words.next().ok_or_else(bad)?, words.next().ok_or_else(bad)?);
    if text.trim().contains(['\n', '\r', '\0']) {
        return Err(bad());
    }
    let blob = base64::engine::general_purpose::STANDARD.decode(blob).map_err(|_| bad())?;
    let named = blob.get(..4).and_then(|length| length.try_into().ok()).map(u32::from_be_bytes);
    let named = named.and_then(|length| blob.get(4..4 + usize::try_from(length).ok()?));
    if named != Some(kind.as_bytes()) {
        return Err(bad());
    }
    Ok(md5_of(&blob))
}

fn md5_of(blob: &[u8]) -> String {
    let digest = Md5::digest(blob);
    digest.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// A new pair: public key, fingerprint, private key. The private half is answered and forgotten.
fn generate(env: &Env) -> Result<(String, String, Option<String>)> {
    use ssh_key::private::{Ed25519Keypair, KeypairData};
    use ssh_key::{LineEnding, PrivateKey};
    let pair = Ed25519Keypair::from_seed(&env.random::<32>());
    let broken = |e: ssh_key::Error| Error::from_source("generate a key pair", e);
    let private = PrivateKey::new(KeypairData::Ed25519(pair), "Generated-by-Ferrostack").map_err(broken)?;
    let public = private.public_key();
    let fingerprint = md5_of(&public.to_bytes().map_err(broken)?);
    let text = private.to_openssh(LineEnding::LF).map_err(broken)?;
    Ok((public.to_openssh().map_err(broken)?, fingerprint, Some(text.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_that_of_ssh_keygen() {
        // ssh-keygen -E md5 -l of this key.
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti user@example.com";
        assert_eq!(fingerprint(key).unwrap(), md5_of_blob(key));
        for bad in ["", "ssh-rsa", "ssh-rsa AAAA", "nonsense here", "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIA=="] {
            assert!(fingerprint(bad).is_err(), "{bad}");
        }
    }

    fn md5_of_blob(key: &str) -> String {
        let parsed = ssh_key::PublicKey::from_openssh(key).unwrap();
        md5_of(&parsed.to_bytes().unwrap())
    }

    #[test]
    fn a_generated_pair_fits_together() {
        let (public, shown, private) = generate(&Env::system()).unwrap();
        let private = ssh_key::PrivateKey::from_openssh(private.unwrap()).unwrap();
        assert_eq!(private.public_key().key_data(), ssh_key::PublicKey::from_openssh(&public).unwrap().key_data());
        assert_eq!(fingerprint(&public).unwrap(), shown);
    }
}
