CREATE TABLE placement_providers (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    name VARCHAR(200) NOT NULL,
    generation BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    parent_id VARCHAR(36),
    root_id VARCHAR(36) NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX placement_providers_name ON placement_providers (name);
CREATE INDEX placement_providers_parent ON placement_providers (parent_id);
CREATE INDEX placement_providers_root ON placement_providers (root_id);
CREATE TABLE placement_inventories (
    provider_id VARCHAR(36) NOT NULL,
    resource_class VARCHAR(255) NOT NULL,
    total BIGINT NOT NULL,
    reserved BIGINT NOT NULL,
    min_unit BIGINT NOT NULL,
    max_unit BIGINT NOT NULL,
    step_size BIGINT NOT NULL,
    allocation_ratio DOUBLE PRECISION NOT NULL,
    used BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (provider_id, resource_class)
);
CREATE INDEX placement_inventories_class ON placement_inventories (resource_class);
CREATE TABLE placement_consumers (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL,
    project_id VARCHAR(255) NOT NULL,
    user_id VARCHAR(255) NOT NULL,
    consumer_type VARCHAR(255),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX placement_consumers_project ON placement_consumers (project_id, user_id);
CREATE TABLE placement_allocations (
    consumer_id VARCHAR(36) NOT NULL,
    provider_id VARCHAR(36) NOT NULL,
    resource_class VARCHAR(255) NOT NULL,
    used BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (consumer_id, provider_id, resource_class)
);
CREATE INDEX placement_allocations_provider ON placement_allocations (provider_id, resource_class);
CREATE TABLE placement_resource_classes (
    name VARCHAR(255) NOT NULL PRIMARY KEY,
    created_at BIGINT NOT NULL
);
CREATE TABLE placement_traits (
    name VARCHAR(255) NOT NULL PRIMARY KEY,
    created_at BIGINT NOT NULL
);
CREATE TABLE placement_provider_traits (
    provider_id VARCHAR(36) NOT NULL,
    trait_name VARCHAR(255) NOT NULL,
    PRIMARY KEY (provider_id, trait_name)
);
CREATE INDEX placement_provider_traits_trait ON placement_provider_traits (trait_name);
CREATE TABLE placement_provider_aggregates (
    provider_id VARCHAR(36) NOT NULL,
    aggregate_id VARCHAR(36) NOT NULL,
    PRIMARY KEY (provider_id, aggregate_id)
);
CREATE INDEX placement_provider_aggregates_aggregate ON placement_provider_aggregates (aggregate_id);
