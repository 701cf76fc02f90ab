CREATE TABLE compute_counters (
    name VARCHAR(32) NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
CREATE TABLE compute_servers (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    project_id VARCHAR(64) NOT NULL,
    user_id VARCHAR(64) NOT NULL,
    name VARCHAR(255) NOT NULL,
    hostname VARCHAR(255) NOT NULL,
    description VARCHAR(255),
    vm_state VARCHAR(16) NOT NULL,
    task_state VARCHAR(32),
    power_state INTEGER NOT NULL,
    node_id VARCHAR(36),
    host VARCHAR(255),
    zone_wanted VARCHAR(255),
    host_wanted VARCHAR(255),
    zone VARCHAR(255),
    flavor_id VARCHAR(255) NOT NULL,
    flavor TEXT NOT NULL,
    image_id VARCHAR(36),
    key_name VARCHAR(255),
    config_drive INTEGER NOT NULL,
    disk_config VARCHAR(8) NOT NULL,
    locked_by VARCHAR(8),
    locked_reason VARCHAR(255),
    reservation_id VARCHAR(36) NOT NULL,
    launch_index INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    access_ipv4 VARCHAR(64),
    access_ipv6 VARCHAR(64),
    group_id VARCHAR(36),
    vcpus BIGINT NOT NULL,
    memory_mb BIGINT NOT NULL,
    disk_gb BIGINT NOT NULL,
    fault TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    launched_at BIGINT,
    terminated_at BIGINT,
    deleted_at BIGINT
);
CREATE INDEX compute_servers_project ON compute_servers (project_id, deleted_at, created_at);
CREATE INDEX compute_servers_created ON compute_servers (deleted_at, created_at);
CREATE INDEX compute_servers_node ON compute_servers (node_id);
CREATE INDEX compute_servers_group ON compute_servers (group_id);
CREATE INDEX compute_servers_task ON compute_servers (task_state);
CREATE INDEX compute_servers_updated ON compute_servers (updated_at);
CREATE TABLE compute_server_tags (
    server_id VARCHAR(36) NOT NULL,
    tag VARCHAR(60) NOT NULL,
    PRIMARY KEY (server_id, tag)
);
CREATE INDEX compute_server_tags_tag ON compute_server_tags (tag);
CREATE TABLE compute_user_data (
    server_id VARCHAR(36) NOT NULL PRIMARY KEY,
    data TEXT NOT NULL
);
CREATE TABLE compute_guests (
    server_id VARCHAR(36) NOT NULL PRIMARY KEY,
    node_id VARCHAR(36) NOT NULL,
    generation BIGINT NOT NULL,
    want VARCHAR(16) NOT NULL,
    boot BIGINT NOT NULL,
    soft_reboot INTEGER NOT NULL,
    spec TEXT,
    image_id VARCHAR(36),
    pending INTEGER NOT NULL,
    asked_at BIGINT NOT NULL,
    seen_generation BIGINT NOT NULL,
    seen_sequence BIGINT NOT NULL,
    seen_settled INTEGER NOT NULL,
    seen_state VARCHAR(16) NOT NULL,
    seen_boot BIGINT NOT NULL,
    seen_error TEXT
);
CREATE INDEX compute_guests_node ON compute_guests (node_id);
CREATE INDEX compute_guests_pending ON compute_guests (pending, asked_at);
CREATE TABLE compute_actions (
    request_id VARCHAR(64) NOT NULL,
    server_id VARCHAR(36) NOT NULL,
    action VARCHAR(32) NOT NULL,
    project_id VARCHAR(64) NOT NULL,
    user_id VARCHAR(64) NOT NULL,
    message VARCHAR(255),
    started_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    event VARCHAR(64),
    event_started_at BIGINT,
    event_finished_at BIGINT,
    event_result VARCHAR(16),
    event_host VARCHAR(255),
    event_details TEXT,
    PRIMARY KEY (server_id, request_id)
);
CREATE TABLE compute_flavors (
    id VARCHAR(255) NOT NULL PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    vcpus BIGINT NOT NULL,
    memory_mb BIGINT NOT NULL,
    root_gb BIGINT NOT NULL,
    ephemeral_gb BIGINT NOT NULL,
    swap_mb BIGINT NOT NULL,
    rxtx_factor DOUBLE PRECISION NOT NULL,
    is_public INTEGER NOT NULL,
    disabled INTEGER NOT NULL,
    description TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE UNIQUE INDEX compute_flavors_name ON compute_flavors (name);
CREATE TABLE compute_flavor_specs (
    flavor_id VARCHAR(255) NOT NULL,
    name VARCHAR(255) NOT NULL,
    value VARCHAR(255) NOT NULL,
    PRIMARY KEY (flavor_id, name)
);
CREATE TABLE compute_flavor_access (
    flavor_id VARCHAR(255) NOT NULL,
    project_id VARCHAR(64) NOT NULL,
    PRIMARY KEY (flavor_id, project_id)
);
CREATE TABLE compute_keypairs (
    user_id VARCHAR(64) NOT NULL,
    name VARCHAR(255) NOT NULL,
    number BIGINT NOT NULL,
    type VARCHAR(8) NOT NULL,
    fingerprint VARCHAR(255) NOT NULL,
    public_key TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, name)
);
CREATE TABLE compute_quotas (
    project_id VARCHAR(64) NOT NULL,
    resource VARCHAR(64) NOT NULL,
    hard_limit BIGINT NOT NULL,
    PRIMARY KEY (project_id, resource)
);
CREATE TABLE compute_usages (
    project_id VARCHAR(64) NOT NULL PRIMARY KEY,
    instances BIGINT NOT NULL,
    cores BIGINT NOT NULL,
    ram BIGINT NOT NULL
);
CREATE TABLE compute_nodes (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    service_id VARCHAR(36) NOT NULL,
    name VARCHAR(255) NOT NULL,
    info TEXT NOT NULL,
    disabled INTEGER NOT NULL,
    disabled_reason VARCHAR(255),
    forced_down INTEGER NOT NULL,
    heartbeat_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX compute_nodes_name ON compute_nodes (name);
CREATE TABLE compute_aggregates (
    id BIGINT NOT NULL PRIMARY KEY,
    uuid VARCHAR(36) NOT NULL,
    name VARCHAR(255) NOT NULL,
    metadata TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE UNIQUE INDEX compute_aggregates_name ON compute_aggregates (name);
CREATE TABLE compute_aggregate_hosts (
    aggregate_id BIGINT NOT NULL,
    host VARCHAR(255) NOT NULL,
    PRIMARY KEY (aggregate_id, host)
);
CREATE TABLE compute_groups (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    project_id VARCHAR(64) NOT NULL,
    user_id VARCHAR(64) NOT NULL,
    name VARCHAR(255) NOT NULL,
    policy VARCHAR(32) NOT NULL,
    rules TEXT NOT NULL,
    generation BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX compute_groups_project ON compute_groups (project_id);
CREATE TABLE compute_consoles (
    token_hash VARCHAR(64) NOT NULL PRIMARY KEY,
    server_id VARCHAR(36) NOT NULL,
    node_id VARCHAR(36) NOT NULL,
    kind VARCHAR(8) NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX compute_consoles_expiry ON compute_consoles (expires_at);
