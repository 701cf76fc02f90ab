//! stub
use crate::agent::Core;
use std::sync::Arc;
/// How the metadata service is offered.
#[derive(Debug, Clone)]
pub struct MetadataOptions {
    /// What the names of its network namespaces begin with; eight hex digits follow.
    pub namespace_prefix: String,
}
pub(crate) async fn serve_for_ever(core: Arc<Core>, _options: MetadataOptions) {
    loop { core.changed.notified().await; }
}
#[cfg(test)]
pub(super) mod tests {
    use ferrostack_contracts::image::DiskFormat;
    use ferrostack_contracts::network::{FixedIp, MetadataPort, PortInfo};
    use ferrostack_contracts::node::*;
    use ferrostack_types::ids::*;
    use std::collections::BTreeMap;
    use uuid::Uuid;

    pub fn guest() -> WantedGuest {
        let id = Uuid::from_u128;
        let network_id = NetworkId(id(7));
        let port = PortInfo {
            id: PortId(id(1)),
            network_id,
            network_name: "net".into(),
            mac: "fa:16:3e:00:00:01".into(),
            mtu: 1442,
            fixed_ips: vec![FixedIp {
                subnet_id: SubnetId(id(2)),
                address: "10.0.0.5".parse().unwrap(),
                prefix: 24,
                gateway: Some("10.0.0.1".parse().unwrap()),
                dns: Vec::new(),
                floating: vec!["203.0.113.7".parse().unwrap()],
            }],
            security_groups: vec!["default".into()],
            metadata: Some(MetadataPort {
                id: PortId(id(3)),
                mac: "fa:16:3e:00:00:02".into(),
                addresses: vec!["10.0.0.2/24".parse().unwrap()],
            }),
            preexisting: false,
        };
        WantedGuest {
            server: ServerId(id(4)),
            generation: 1,
            want: Want::Running,
            boot: 1,
            soft_reboot: false,
            spec: Some(GuestSpec {
                name: "instance-0000002a".into(),
                vcpus: 1,
                memory_mb: 64,
                root_gb: 0,
                image: GuestImage { id: ImageId(id(5)), format: DiskFormat::Raw, size: 1, sha512: String::new() },
                nics: vec![port],
                config_drive: false,
                metadata: GuestMetadata {
                    name: "one".into(),
                    hostname: "one.example".into(),
                    project_id: "p".into(),
                    availability_zone: "nova".into(),
                    launch_index: 0,
                    public_keys: BTreeMap::from([("laptop".into(), "ssh-ed25519 AAAA".into())]),
                    meta: BTreeMap::new(),
                    user_data: Some("IyEvYmluL3NoCg==".into()),
                    admin_password: None,
                },
                shutdown_timeout_s: 1,
            }),
        }
    }
}
