CREATE TABLE identity_domains (
    id VARCHAR(64) NOT NULL PRIMARY KEY,
    name VARCHAR(255) NOT NULL UNIQUE,
    enabled INTEGER NOT NULL,
    description TEXT NOT NULL,
    tags TEXT NOT NULL,
    options TEXT NOT NULL,
    extra TEXT NOT NULL,
    revoked_before BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE TABLE identity_projects (
    id VARCHAR(64) NOT NULL PRIMARY KEY,
    domain_id VARCHAR(64) NOT NULL REFERENCES identity_domains (id),
    parent_id VARCHAR(64) NOT NULL,
    name VARCHAR(255) NOT NULL,
    enabled INTEGER NOT NULL,
    description TEXT NOT NULL,
    options TEXT NOT NULL,
    extra TEXT NOT NULL,
    revoked_before BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (domain_id, name)
);
CREATE INDEX identity_projects_name ON identity_projects (name);
CREATE INDEX identity_projects_parent ON identity_projects (parent_id);
CREATE TABLE identity_project_tags (
    project_id VARCHAR(64) NOT NULL REFERENCES identity_projects (id),
    tag VARCHAR(255) NOT NULL,
    PRIMARY KEY (project_id, tag)
);
CREATE TABLE identity_users (
    id VARCHAR(64) NOT NULL PRIMARY KEY,
    domain_id VARCHAR(64) NOT NULL REFERENCES identity_domains (id),
    name VARCHAR(255) NOT NULL,
    enabled INTEGER NOT NULL,
    default_project_id VARCHAR(64),
    password_hash VARCHAR(255),
    options TEXT NOT NULL,
    extra TEXT NOT NULL,
    revoked_before BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (domain_id, name)
);
CREATE INDEX identity_users_name ON identity_users (name);
CREATE TABLE identity_groups (
    id VARCHAR(64) NOT NULL PRIMARY KEY,
    domain_id VARCHAR(64) NOT NULL REFERENCES identity_domains (id),
    name VARCHAR(255) NOT NULL,
    description TEXT NOT NULL,
    extra TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (domain_id, name)
);
CREATE TABLE identity_memberships (
    user_id VARCHAR(64) NOT NULL REFERENCES identity_users (id),
    group_id VARCHAR(64) NOT NULL REFERENCES identity_groups (id),
    PRIMARY KEY (user_id, group_id)
);
CREATE INDEX identity_memberships_group ON identity_memberships (group_id);
CREATE TABLE identity_roles (
    id VARCHAR(64) NOT NULL PRIMARY KEY,
    domain_id VARCHAR(64) NOT NULL,
    name VARCHAR(255) NOT NULL,
    description TEXT,
    options TEXT NOT NULL,
    extra TEXT NOT NULL,
    UNIQUE (domain_id, name)
);
CREATE TABLE identity_implied_roles (
    prior_id VARCHAR(64) NOT NULL REFERENCES identity_roles (id),
    implied_id VARCHAR(64) NOT NULL REFERENCES identity_roles (id),
    PRIMARY KEY (prior_id, implied_id)
);
CREATE TABLE identity_assignments (
    actor_kind VARCHAR(8) NOT NULL,
    actor_id VARCHAR(64) NOT NULL,
    target_kind VARCHAR(8) NOT NULL,
    target_id VARCHAR(64) NOT NULL,
    role_id VARCHAR(64) NOT NULL REFERENCES identity_roles (id),
    inherited INTEGER NOT NULL,
    PRIMARY KEY (actor_kind, actor_id, target_kind, target_id, role_id, inherited)
);
CREATE INDEX identity_assignments_target ON identity_assignments (target_kind, target_id);
CREATE INDEX identity_assignments_role ON identity_assignments (role_id);
CREATE TABLE identity_regions (
    id VARCHAR(255) NOT NULL PRIMARY KEY,
    parent_id VARCHAR(255),
    description TEXT NOT NULL,
    extra TEXT NOT NULL
);
CREATE TABLE identity_services (
    id VARCHAR(64) NOT NULL PRIMARY KEY,
    type VARCHAR(255) NOT NULL,
    name VARCHAR(255) NOT NULL,
    enabled INTEGER NOT NULL,
    description TEXT,
    extra TEXT NOT NULL
);
CREATE TABLE identity_endpoints (
    id VARCHAR(64) NOT NULL PRIMARY KEY,
    service_id VARCHAR(64) NOT NULL REFERENCES identity_services (id),
    region_id VARCHAR(255) REFERENCES identity_regions (id),
    interface VARCHAR(8) NOT NULL,
    url TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    extra TEXT NOT NULL,
    bootstrapped INTEGER NOT NULL
);
CREATE INDEX identity_endpoints_service ON identity_endpoints (service_id);
CREATE TABLE identity_application_credentials (
    id VARCHAR(64) NOT NULL PRIMARY KEY,
    user_id VARCHAR(64) NOT NULL REFERENCES identity_users (id),
    project_id VARCHAR(64) NOT NULL REFERENCES identity_projects (id),
    name VARCHAR(255) NOT NULL,
    description TEXT,
    secret_hash VARCHAR(255) NOT NULL,
    expires_at BIGINT,
    unrestricted INTEGER NOT NULL,
    UNIQUE (user_id, name)
);
CREATE INDEX identity_application_credentials_project ON identity_application_credentials (project_id);
CREATE TABLE identity_application_credential_roles (
    application_credential_id VARCHAR(64) NOT NULL REFERENCES identity_application_credentials (id),
    role_id VARCHAR(64) NOT NULL REFERENCES identity_roles (id),
    PRIMARY KEY (application_credential_id, role_id)
);
CREATE TABLE identity_revoked_tokens (
    audit_id VARCHAR(64) NOT NULL PRIMARY KEY,
    keep_until BIGINT NOT NULL
);
CREATE INDEX identity_revoked_tokens_keep ON identity_revoked_tokens (keep_until);
