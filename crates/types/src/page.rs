//! Pages of lists.

/// Ascending or descending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortDirection {
    /// Smallest first.
    Asc,
    /// Largest first.
    Desc,
}

/// One key of an ordering, by its name in the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortKey {
    /// The field's name as the client wrote it, already checked against the resource's list of sortable fields.
    pub field: &'static str,
    /// Which way.
    pub direction: SortDirection,
}

/// What page of a list the caller wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// At most this many rows; `None` means no limit was asked for and the service sets none.
    pub limit: Option<usize>,
    /// The id of the last item of the previous page.
    pub marker: Option<String>,
    /// The ordering; the resource's id is always added as the last key, so that it is total.
    pub sort: Vec<SortKey>,
    /// Neutron's `page_reverse`: the page before the marker.
    pub reverse: bool,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows, in order.
    pub items: Vec<T>,
    /// Whether there are more after the last one.
    pub more: bool,
}

impl<T> Page<T> {
    /// The same page with each row turned into something else.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(f).collect(), more: self.more }
    }
}
