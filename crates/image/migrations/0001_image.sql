CREATE TABLE image_images (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    name VARCHAR(255),
    status VARCHAR(30) NOT NULL,
    visibility VARCHAR(30) NOT NULL,
    owner VARCHAR(255),
    protected INTEGER NOT NULL,
    os_hidden INTEGER NOT NULL,
    disk_format VARCHAR(20),
    container_format VARCHAR(20),
    min_disk BIGINT NOT NULL,
    min_ram BIGINT NOT NULL,
    size BIGINT,
    virtual_size BIGINT,
    checksum VARCHAR(32),
    os_hash_value VARCHAR(128),
    verified INTEGER NOT NULL,
    blob_key VARCHAR(255),
    upload_id VARCHAR(36),
    upload_until BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX image_images_owner ON image_images (owner, created_at);
CREATE INDEX image_images_visibility ON image_images (visibility, created_at);
CREATE INDEX image_images_created ON image_images (created_at, id);
CREATE INDEX image_images_name ON image_images (name);
CREATE INDEX image_images_upload ON image_images (upload_until);
CREATE INDEX image_images_blob ON image_images (blob_key);
CREATE TABLE image_properties (
    image_id VARCHAR(36) NOT NULL,
    name VARCHAR(255) NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (image_id, name)
);
CREATE TABLE image_tags (
    image_id VARCHAR(36) NOT NULL,
    tag VARCHAR(255) NOT NULL,
    PRIMARY KEY (image_id, tag)
);
CREATE INDEX image_tags_tag ON image_tags (tag);
CREATE TABLE image_members (
    image_id VARCHAR(36) NOT NULL,
    member_id VARCHAR(255) NOT NULL,
    status VARCHAR(20) NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (image_id, member_id)
);
CREATE INDEX image_members_member ON image_members (member_id, status);
CREATE TABLE image_garbage (
    blob_key VARCHAR(255) NOT NULL PRIMARY KEY,
    since BIGINT NOT NULL
);
