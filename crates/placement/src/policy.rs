//! Placement's rules with the defaults of the real service.

use ferrostack_rest::{RuleDefault, ScopeType};

const PROJECT: &[ScopeType] = &[ScopeType::Project];
const ADMIN_OR_SERVICE: &str = "rule:admin_or_service_api";

const fn rule(name: &'static str, description: &'static str) -> RuleDefault {
    RuleDefault::new(name, ADMIN_OR_SERVICE, description).scopes(PROJECT)
}

/// All rules.
pub const RULES: &[RuleDefault] = &[
    RuleDefault::new("admin_api", "role:admin", "Whoever administers the cloud.").scopes(PROJECT),
    RuleDefault::new("service_api", "role:service", "Other services.").scopes(PROJECT),
    RuleDefault::new("admin_or_service_api", "role:admin or role:service", "Most of this API.").scopes(PROJECT),
    RuleDefault::new("project_reader_api", "role:reader and project_id:%(project_id)s", "Readers of a project."),
    RuleDefault::new(
        "admin_or_project_reader_or_service_api",
        "role:admin or rule:project_reader_api or role:service",
        "What a project's readers may see of their own project.",
    )
    .scopes(PROJECT),
    rule("placement:resource_providers:list", "List resource providers."),
    rule("placement:resource_providers:create", "Create a resource provider."),
    rule("placement:resource_providers:show", "Show a resource provider."),
    rule("placement:resource_providers:update", "Update a resource provider."),
    rule("placement:resource_providers:delete", "Delete a resource provider."),
    rule("placement:resource_providers:inventories:list", "List a provider's inventories."),
    rule("placement:resource_providers:inventories:create", "Create an inventory."),
    rule("placement:resource_providers:inventories:show", "Show an inventory."),
    rule("placement:resource_providers:inventories:update", "Update inventories."),
    rule("placement:resource_providers:inventories:delete", "Delete inventories."),
    rule("placement:resource_providers:aggregates:list", "List a provider's aggregates."),
    rule("placement:resource_providers:aggregates:update", "Set a provider's aggregates."),
    rule("placement:resource_providers:usages", "Show what is used of a provider."),
    rule("placement:resource_providers:allocations:list", "List what is allocated of a provider."),
    rule("placement:resource_providers:traits:list", "List a provider's traits."),
    rule("placement:resource_providers:traits:update", "Set a provider's traits."),
    rule("placement:resource_providers:traits:delete", "Remove a provider's traits."),
    rule("placement:resource_classes:list", "List resource classes."),
    rule("placement:resource_classes:create", "Create a resource class."),
    rule("placement:resource_classes:show", "Show a resource class."),
    rule("placement:resource_classes:update", "Update a resource class."),
    rule("placement:resource_classes:delete", "Delete a resource class."),
    rule("placement:traits:list", "List traits."),
    rule("placement:traits:show", "Show a trait."),
    rule("placement:traits:update", "Create a trait."),
    rule("placement:traits:delete", "Delete a trait."),
    rule("placement:allocations:manage", "Write the allocations of several consumers."),
    rule("placement:allocations:list", "List a consumer's allocations."),
    rule("placement:allocations:update", "Write a consumer's allocations."),
    rule("placement:allocations:delete", "Delete a consumer's allocations."),
    rule("placement:allocation_candidates:list", "List allocation candidates."),
    rule("placement:reshaper:reshape", "Move inventories and allocations in one step."),
    RuleDefault::new("placement:usages", "rule:admin_or_project_reader_or_service_api", "Show what a project uses.")
        .scopes(PROJECT),
];
