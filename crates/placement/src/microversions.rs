//! The microversions at which something changes shape, one sentence each.

use ferrostack_types::Microversion;

macro_rules! versions {
    ($($(#[$doc:meta])* $name:ident = $minor:literal;)+) => {$(
        $(#[$doc])*
        pub const $name: Microversion = Microversion::new(1, $minor);
    )+};
}

versions! {
    /// Where it began.
    V0 = 0;
    /// `/resource_providers/{uuid}/aggregates`.
    V1_AGGREGATES = 1;
    /// `/resource_classes`.
    V2_CLASSES = 2;
    /// `member_of` when listing providers.
    V3_MEMBER_OF = 3;
    /// `resources` when listing providers.
    V4_RESOURCES = 4;
    /// `DELETE /resource_providers/{uuid}/inventories`.
    V5_DELETE_INVENTORIES = 5;
    /// `/traits`.
    V6_TRAITS = 6;
    /// `PUT /resource_classes/{name}` has no body and creates.
    V7_PUT_CLASS = 7;
    /// Allocations name project and user.
    V8_OWNER = 8;
    /// `/usages`.
    V9_USAGES = 9;
    /// `/allocation_candidates`.
    V10_CANDIDATES = 10;
    /// Providers link to their allocations.
    V11_ALLOCATIONS_LINK = 11;
    /// Allocations are written in the form in which they are read.
    V12_ALLOCATIONS_DICT = 12;
    /// `POST /allocations`.
    V13_POST_ALLOCATIONS = 13;
    /// Providers form trees.
    V14_TREES = 14;
    /// `last-modified` and `cache-control` headers.
    V15_LAST_MODIFIED = 15;
    /// `limit` of candidates.
    V16_LIMIT = 16;
    /// `required` traits of candidates, and traits in the summaries.
    V17_REQUIRED = 17;
    /// `required` traits when listing providers.
    V18_LIST_REQUIRED = 18;
    /// Aggregates are written with the provider's generation.
    V19_AGGREGATE_GENERATION = 19;
    /// `POST /resource_providers` answers with the provider.
    V20_POST_PROVIDER = 20;
    /// `member_of` of candidates.
    V21_CANDIDATES_MEMBER_OF = 21;
    /// Forbidden traits: `!NAME`.
    V22_FORBIDDEN_TRAITS = 22;
    /// `member_of` may be repeated.
    V24_MEMBER_OF_REPEATED = 24;
    /// Numbered groups of candidates.
    V25_GROUPS = 25;
    /// All of an inventory may be reserved.
    V26_ALL_RESERVED = 26;
    /// Summaries show every class.
    V27_ALL_CLASSES = 27;
    /// Consumers have generations.
    V28_CONSUMER_GENERATION = 28;
    /// Candidates know of trees.
    V29_NESTED = 29;
    /// `POST /reshaper`.
    V30_RESHAPER = 30;
    /// `in_tree` of candidates.
    V31_IN_TREE = 31;
    /// Forbidden aggregates: `member_of=!uuid`.
    V32_FORBIDDEN_AGGREGATES = 32;
    /// Groups may be named.
    V33_NAMED_GROUPS = 33;
    /// Candidates say which group is served by which provider.
    V34_MAPPINGS = 34;
    /// `root_required` of candidates.
    V35_ROOT_REQUIRED = 35;
    /// `same_subtree` of candidates.
    V36_SAME_SUBTREE = 36;
    /// A provider may be moved to another parent.
    V37_REPARENT = 37;
    /// Consumers have types.
    V38_CONSUMER_TYPE = 38;
    /// `required=in:A,B`, and `required` may be repeated.
    V39_ANY_TRAITS = 39;
}
