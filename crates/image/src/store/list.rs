//! Lists of images: filters, order, page.

use super::images::{COLUMNS, image, with_belongings};
use crate::model::{Eyes, Image};
use ferrostack_db::{Select, Tx, Value};
use ferrostack_types::ids::ImageId;
use ferrostack_types::{Error, Page, Result, SortDirection, Timestamp};

/// A comparison of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Later.
    Gt,
    /// Later or the same.
    Gte,
    /// Earlier.
    Lt,
    /// Earlier or the same.
    Lte,
    /// The same.
    Eq,
    /// Another.
    Neq,
}

/// One condition.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// A column that is one of some texts; the column is one of [`TEXT_COLUMNS`].
    Text(&'static str, Vec<String>),
    /// A column that is this number; the column is one of [`NUMBER_COLUMNS`].
    Number(&'static str, i64),
    /// At least so many bytes.
    SizeMin(i64),
    /// At most so many bytes.
    SizeMax(i64),
    /// `created_at`, in whole seconds as they are shown.
    Created(Comparison, Timestamp),
    /// `updated_at`.
    Updated(Comparison, Timestamp),
    /// Has the tag.
    Tag(String),
    /// Has the extra property with this value.
    Property(String, String),
}

/// Columns that hold texts, with the statement's text for comparing them.
pub const TEXT_COLUMNS: [(&str, &str); 9] = [
    ("id", "i.id"),
    ("name", "i.name"),
    ("status", "i.status"),
    ("owner", "i.owner"),
    ("disk_format", "i.disk_format"),
    ("container_format", "i.container_format"),
    ("checksum", "i.checksum"),
    ("os_hash_value", "i.os_hash_value"),
    ("os_hash_algo", "CASE WHEN i.os_hash_value IS NULL THEN NULL ELSE 'sha512' END"),
];

/// Columns that hold numbers, with the condition.
pub const NUMBER_COLUMNS: [(&str, &str); 6] = [
    ("min_disk", "i.min_disk = ?"),
    ("min_ram", "i.min_ram = ?"),
    ("protected", "i.protected = ?"),
    ("os_hidden", "i.os_hidden = ?"),
    ("size", "i.size = ?"),
    ("virtual_size", "i.virtual_size = ?"),
];

/// What is to be listed.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Whose eyes.
    pub eyes: Eyes,
    /// `visibility`, or `all`.
    pub visibility: Option<String>,
    /// Which memberships count: `accepted`, `pending`, `rejected` or `all`.
    pub member_status: String,
    /// Conditions.
    pub filters: Vec<Filter>,
    /// The ordering: a sortable field and its direction.
    pub sort: Vec<(&'static str, SortDirection)>,
    /// The last image of the page before.
    pub marker: Option<ImageId>,
    /// At most so many.
    pub limit: usize,
}

/// What may be sorted by, with an expression that is never NULL.
pub const SORTABLE: [(&str, &str); 8] = [
    ("name", "COALESCE(i.name, '')"),
    ("status", "i.status"),
    ("container_format", "COALESCE(i.container_format, '')"),
    ("disk_format", "COALESCE(i.disk_format, '')"),
    ("size", "COALESCE(i.size, -1)"),
    ("id", "i.id"),
    ("created_at", "i.created_at"),
    ("updated_at", "i.updated_at"),
];

/// A page of images: at most four queries.
pub fn image_list(tx: &mut Tx<'_>, wanted: &Wanted) -> Result<Page<Image>> {
    let mut select = seen_by(Select::new(COLUMNS), wanted);
    for filter in &wanted.filters {
        select = filtered(select, filter);
    }
    let mut columns = Vec::new();
    for (field, direction) in &wanted.sort {
        let column = SORTABLE.iter().find(|(name, _)| name == field).map(|(_, column)| *column);
        let column = column.ok_or_else(|| Error::internal(format!("sort by {field}")))?;
        select = select.order(column, *direction);
        columns.push(column);
    }
    if let Some(marker) = wanted.marker {
        let values = marker_values(tx, marker, &columns, &wanted.eyes)?;
        select = select.after(&values);
    }
    let mut found = select.limit(Some(wanted.limit + 1)).fetch(tx, image)?;
    let more = found.len() > wanted.limit;
    found.truncate(wanted.limit);
    Ok(Page { items: with_belongings(tx, found)?, more })
}

/// The marker's values of the ordering's columns. A marker that is not to be seen is no marker.
fn marker_values(tx: &mut Tx<'_>, marker: ImageId, columns: &[&'static str], eyes: &Eyes) -> Result<Vec<Value>> {
    let unknown = || Error::invalid(format!("Invalid marker. Image {marker} could not be found."));
    super::images::image_visible(tx, marker, eyes).map_err(|_| unknown())?;
    let sql = format!("SELECT {} FROM image_images i WHERE i.id = ?", columns.join(", "));
    let read = |row: &ferrostack_db::Row<'_>| {
        (0..columns.len())
            .map(|index| match row.get::<String>(index) {
                Ok(text) => Ok(Value::Text(text)),
                Err(_) => row.get::<i64>(index).map(Value::Int),
            })
            .collect::<Result<Vec<Value>>>()
    };
    tx.query_opt(&sql, ferrostack_db::params![marker], read)?.ok_or_else(unknown)
}

/// Only what the eyes may see, and of that what a list shows.
fn seen_by(select: Select, wanted: &Wanted) -> Select {
    let eyes = &wanted.eyes;
    let project = eyes.project.clone().unwrap_or_default();
    let text = |t: &str| Value::Text(t.to_owned());
    let mut select = select;
    if !eyes.admin {
        let all = wanted.member_status == "all";
        select = select.filter_with(
            "i.visibility IN ('public', 'community') OR i.owner = ? OR (i.visibility = 'shared' AND EXISTS \
             (SELECT 1 FROM image_members m WHERE m.image_id = i.id AND m.member_id = ? AND (? = 1 OR m.status = ?)))",
            [text(&project), text(&project), Value::from(all), text(&wanted.member_status)],
        );
    }
    let names_owner = wanted.filters.iter().any(|f| matches!(f, Filter::Text("i.owner", _)));
    match wanted.visibility.as_deref() {
        Some("all") => select,
        Some(visibility) => select.filter("i.visibility = ?", visibility),
        // Community images of others are found by whoever asks for them, and do not fill everybody's lists.
        None if !names_owner => select.filter("i.visibility <> 'community' OR i.owner = ?", project),
        None => select,
    }
}

fn filtered(select: Select, filter: &Filter) -> Select {
    match filter {
        Filter::Text(column, values) => select.filter_in(column, values.clone()),
        Filter::Number(condition, value) => select.filter(condition, *value),
        Filter::SizeMin(size) => select.filter("i.size >= ?", *size),
        Filter::SizeMax(size) => select.filter("i.size <= ?", *size),
        Filter::Created(comparison, time) => {
            let condition = match comparison {
                Comparison::Gt => "i.created_at / 1000000 > ?",
                Comparison::Gte => "i.created_at / 1000000 >= ?",
                Comparison::Lt => "i.created_at / 1000000 < ?",
                Comparison::Lte => "i.created_at / 1000000 <= ?",
                Comparison::Eq => "i.created_at / 1000000 = ?",
                Comparison::Neq => "i.created_at / 1000000 <> ?",
            };
            select.filter(condition, time.as_secs())
        }
        Filter::Updated(comparison, time) => {
            let condition = match comparison {
                Comparison::Gt => "i.updated_at / 1000000 > ?",
                Comparison::Gte => "i.updated_at / 1000000 >= ?",
                Comparison::Lt => "i.updated_at / 1000000 < ?",
                Comparison::Lte => "i.updated_at / 1000000 <= ?",
                Comparison::Eq => "i.updated_at / 1000000 = ?",
                Comparison::Neq => "i.updated_at / 1000000 <> ?",
            };
            select.filter(condition, time.as_secs())
        }
        Filter::Tag(tag) => {
            select.filter("EXISTS (SELECT 1 FROM image_tags t WHERE t.image_id = i.id AND t.tag = ?)", tag.as_str())
        }
        Filter::Property(name, value) => select.filter_with(
            "EXISTS (SELECT 1 FROM image_properties p WHERE p.image_id = i.id AND p.name = ? AND p.value = ?)",
            [Value::Text(name.clone()), Value::Text(value.clone())],
        ),
    }
}
