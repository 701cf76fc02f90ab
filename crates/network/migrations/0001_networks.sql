CREATE TABLE network_networks (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    project_id VARCHAR(64) NOT NULL,
    name VARCHAR(255) NOT NULL,
    description VARCHAR(255) NOT NULL,
    admin_state_up INTEGER NOT NULL,
    shared INTEGER NOT NULL,
    external INTEGER NOT NULL,
    is_default INTEGER NOT NULL,
    mtu INTEGER NOT NULL,
    port_security_enabled INTEGER NOT NULL,
    network_type VARCHAR(32) NOT NULL,
    physical_network VARCHAR(64),
    segmentation_id BIGINT,
    segment_key VARCHAR(128) NOT NULL,
    az_hints TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    revision BIGINT NOT NULL
);
CREATE UNIQUE INDEX network_networks_segment ON network_networks (segment_key);
CREATE INDEX network_networks_project ON network_networks (project_id, id);
CREATE INDEX network_networks_name ON network_networks (name);
CREATE INDEX network_networks_shared ON network_networks (shared);
CREATE INDEX network_networks_external ON network_networks (external);
CREATE TABLE network_subnets (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    project_id VARCHAR(64) NOT NULL,
    network_id VARCHAR(36) NOT NULL REFERENCES network_networks (id),
    name VARCHAR(255) NOT NULL,
    description VARCHAR(255) NOT NULL,
    ip_version INTEGER NOT NULL,
    cidr VARCHAR(64) NOT NULL,
    gateway_ip VARCHAR(45),
    enable_dhcp INTEGER NOT NULL,
    ipv6_ra_mode VARCHAR(32),
    ipv6_address_mode VARCHAR(32),
    allocation_pools TEXT NOT NULL,
    dns_nameservers TEXT NOT NULL,
    host_routes TEXT NOT NULL,
    service_types TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    revision BIGINT NOT NULL
);
CREATE INDEX network_subnets_project ON network_subnets (project_id, id);
CREATE INDEX network_subnets_network ON network_subnets (network_id);
CREATE TABLE network_ports (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    project_id VARCHAR(64) NOT NULL,
    network_id VARCHAR(36) NOT NULL REFERENCES network_networks (id),
    name VARCHAR(255) NOT NULL,
    description VARCHAR(255) NOT NULL,
    admin_state_up INTEGER NOT NULL,
    mac VARCHAR(32) NOT NULL,
    device_id VARCHAR(255) NOT NULL,
    device_owner VARCHAR(255) NOT NULL,
    status VARCHAR(16) NOT NULL,
    port_security_enabled INTEGER NOT NULL,
    host VARCHAR(255) NOT NULL,
    vnic_type VARCHAR(64) NOT NULL,
    profile TEXT NOT NULL,
    address_pairs TEXT NOT NULL,
    dhcp_opts TEXT NOT NULL,
    dns_name VARCHAR(255) NOT NULL,
    role VARCHAR(16) NOT NULL,
    server_id VARCHAR(36),
    made_for_server INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    revision BIGINT NOT NULL
);
CREATE UNIQUE INDEX network_ports_mac ON network_ports (network_id, mac);
CREATE INDEX network_ports_project ON network_ports (project_id, id);
CREATE INDEX network_ports_device ON network_ports (device_id);
CREATE INDEX network_ports_network_role ON network_ports (network_id, role);
CREATE INDEX network_ports_server ON network_ports (server_id);
CREATE INDEX network_ports_host ON network_ports (host);
CREATE TABLE network_allocations (
    network_id VARCHAR(36) NOT NULL REFERENCES network_networks (id),
    ip VARCHAR(33) NOT NULL,
    subnet_id VARCHAR(36) NOT NULL REFERENCES network_subnets (id),
    port_id VARCHAR(36) NOT NULL REFERENCES network_ports (id),
    PRIMARY KEY (network_id, ip)
);
CREATE INDEX network_allocations_subnet ON network_allocations (subnet_id, ip);
CREATE INDEX network_allocations_port ON network_allocations (port_id);
CREATE TABLE network_security_groups (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    project_id VARCHAR(64) NOT NULL,
    name VARCHAR(255) NOT NULL,
    description VARCHAR(255) NOT NULL,
    stateful INTEGER NOT NULL,
    default_for VARCHAR(64),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    revision BIGINT NOT NULL
);
CREATE UNIQUE INDEX network_security_groups_default ON network_security_groups (default_for);
CREATE INDEX network_security_groups_project ON network_security_groups (project_id, id);
CREATE TABLE network_security_group_rules (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    project_id VARCHAR(64) NOT NULL,
    security_group_id VARCHAR(36) NOT NULL REFERENCES network_security_groups (id),
    description VARCHAR(255) NOT NULL,
    direction VARCHAR(16) NOT NULL,
    ethertype VARCHAR(8) NOT NULL,
    protocol VARCHAR(40),
    port_range_min INTEGER,
    port_range_max INTEGER,
    remote_group_id VARCHAR(36) REFERENCES network_security_groups (id),
    remote_ip_prefix VARCHAR(64),
    rule_key VARCHAR(255) NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    revision BIGINT NOT NULL
);
CREATE UNIQUE INDEX network_security_group_rules_key ON network_security_group_rules (security_group_id, rule_key);
CREATE INDEX network_security_group_rules_project ON network_security_group_rules (project_id, id);
CREATE INDEX network_security_group_rules_remote ON network_security_group_rules (remote_group_id);
CREATE TABLE network_port_groups (
    port_id VARCHAR(36) NOT NULL REFERENCES network_ports (id),
    security_group_id VARCHAR(36) NOT NULL REFERENCES network_security_groups (id),
    PRIMARY KEY (port_id, security_group_id)
);
CREATE INDEX network_port_groups_group ON network_port_groups (security_group_id);
CREATE TABLE network_routers (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    project_id VARCHAR(64) NOT NULL,
    name VARCHAR(255) NOT NULL,
    description VARCHAR(255) NOT NULL,
    admin_state_up INTEGER NOT NULL,
    status VARCHAR(16) NOT NULL,
    gateway_port_id VARCHAR(36) REFERENCES network_ports (id),
    gateway_network_id VARCHAR(36) REFERENCES network_networks (id),
    enable_snat INTEGER NOT NULL,
    distributed INTEGER NOT NULL,
    ha INTEGER NOT NULL,
    routes TEXT NOT NULL,
    az_hints TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    revision BIGINT NOT NULL
);
CREATE INDEX network_routers_project ON network_routers (project_id, id);
CREATE INDEX network_routers_gateway ON network_routers (gateway_network_id);
CREATE INDEX network_routers_gateway_port ON network_routers (gateway_port_id);
CREATE TABLE network_router_interfaces (
    port_id VARCHAR(36) NOT NULL PRIMARY KEY REFERENCES network_ports (id),
    router_id VARCHAR(36) NOT NULL REFERENCES network_routers (id)
);
CREATE INDEX network_router_interfaces_router ON network_router_interfaces (router_id);
CREATE TABLE network_floating_ips (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    project_id VARCHAR(64) NOT NULL,
    description VARCHAR(255) NOT NULL,
    floating_network_id VARCHAR(36) NOT NULL REFERENCES network_networks (id),
    floating_ip VARCHAR(33) NOT NULL,
    floating_port_id VARCHAR(36) NOT NULL REFERENCES network_ports (id),
    port_id VARCHAR(36) REFERENCES network_ports (id),
    fixed_ip VARCHAR(33),
    router_id VARCHAR(36) REFERENCES network_routers (id),
    status VARCHAR(16) NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    revision BIGINT NOT NULL
);
CREATE UNIQUE INDEX network_floating_ips_fixed ON network_floating_ips (floating_network_id, port_id, fixed_ip);
CREATE INDEX network_floating_ips_project ON network_floating_ips (project_id, id);
CREATE INDEX network_floating_ips_port ON network_floating_ips (port_id);
CREATE INDEX network_floating_ips_floating_port ON network_floating_ips (floating_port_id);
CREATE INDEX network_floating_ips_router ON network_floating_ips (router_id);
CREATE TABLE network_quotas (
    project_id VARCHAR(64) NOT NULL,
    resource VARCHAR(32) NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (project_id, resource)
);
CREATE TABLE network_tags (
    object_id VARCHAR(36) NOT NULL,
    tag VARCHAR(255) NOT NULL,
    PRIMARY KEY (object_id, tag)
);
CREATE INDEX network_tags_tag ON network_tags (tag);
CREATE TABLE network_ovn_dirty (
    kind INTEGER NOT NULL,
    id VARCHAR(36) NOT NULL,
    seq BIGINT NOT NULL,
    gone INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
);
