//! Bytes at rest for images, objects and backups
