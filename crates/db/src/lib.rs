//! SQLite, MariaDB and PostgreSQL behind one handle
