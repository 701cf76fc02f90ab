//! The rules with Nova's names and defaults.

use ferrostack_rest::{RuleDefault, ScopeType};

const ADMIN: &str = "rule:context_is_admin";
const MEMBER: &str = "rule:project_member_or_admin";
const READER: &str = "rule:project_reader_or_admin";
const ANYBODY: &str = "@";
const PROJECT: &[ScopeType] = &[ScopeType::Project];

const fn base(name: &'static str, check: &'static str, description: &'static str) -> RuleDefault {
    RuleDefault::new(name, check, description)
}

const fn rule(name: &'static str, check: &'static str, description: &'static str) -> RuleDefault {
    RuleDefault::new(name, check, description).scopes(PROJECT)
}

/// All of them.
pub(crate) const RULES: &[RuleDefault] = &[
    base("context_is_admin", "role:admin", "Who is an administrator."),
    base("admin_or_owner", "is_admin:True or project_id:%(project_id)s", "Kept for override files of old."),
    base("admin_api", "is_admin:True", "Kept for override files of old."),
    base("project_member_api", "role:member and project_id:%(project_id)s", "Members of the project."),
    base("project_reader_api", "role:reader and project_id:%(project_id)s", "Readers of the project."),
    base("project_manager_api", "role:manager and project_id:%(project_id)s", "Managers of the project."),
    base("project_member_or_admin", "rule:project_member_api or rule:context_is_admin", "Members and administrators."),
    base("project_reader_or_admin", "rule:project_reader_api or rule:context_is_admin", "Readers and administrators."),
    // Servers
    rule("os_compute_api:servers:index", READER, "List servers."),
    rule("os_compute_api:servers:detail", READER, "List servers with details."),
    rule("os_compute_api:servers:index:get_all_tenants", ADMIN, "List the servers of all projects."),
    rule("os_compute_api:servers:detail:get_all_tenants", ADMIN, "List the servers of all projects with details."),
    rule("os_compute_api:servers:allow_all_filters", ADMIN, "Filter servers by whatever there is."),
    rule("os_compute_api:servers:show", READER, "Show a server."),
    rule("os_compute_api:servers:show:host_status", ADMIN, "Show the state of a server's host."),
    rule("os_compute_api:servers:create", MEMBER, "Create a server."),
    rule("os_compute_api:servers:create:forced_host", ADMIN, "Create a server on a host by name."),
    rule("os_compute_api:servers:create:attach_network", MEMBER, "Create a server with networks."),
    rule("os_compute_api:compute:servers:create:requested_destination", ADMIN, "Ask for a host."),
    rule("os_compute_api:servers:delete", MEMBER, "Delete a server."),
    rule("os_compute_api:servers:update", MEMBER, "Change a server."),
    rule("os_compute_api:servers:reboot", MEMBER, "Reboot a server."),
    rule("os_compute_api:servers:start", MEMBER, "Start a server."),
    rule("os_compute_api:servers:stop", MEMBER, "Stop a server."),
    rule("os_compute_api:servers:rebuild", MEMBER, "Rebuild a server."),
    rule("os_compute_api:servers:resize", MEMBER, "Resize a server."),
    rule("os_compute_api:servers:create_image", MEMBER, "Make an image of a server."),
    rule("os_compute_api:os-pause-server:pause", MEMBER, "Pause a server."),
    rule("os_compute_api:os-pause-server:unpause", MEMBER, "Unpause a server."),
    rule("os_compute_api:os-lock-server:lock", MEMBER, "Lock a server."),
    rule("os_compute_api:os-lock-server:unlock", MEMBER, "Unlock a server."),
    rule("os_compute_api:os-lock-server:unlock:unlock_override", ADMIN, "Unlock whoever has locked it."),
    rule("os_compute_api:os-admin-actions:reset_state", ADMIN, "Say that a server is in another state."),
    rule("os_compute_api:os-deferred-delete:force", MEMBER, "Delete a server at once."),
    rule("os_compute_api:os-console-output", MEMBER, "Read a server's console log."),
    rule("os_compute_api:os-remote-consoles", MEMBER, "Open a console of a server."),
    rule("os_compute_api:os-extended-server-attributes", ADMIN, "Show a server's host and the like."),
    rule("os_compute_api:os-attach-interfaces:list", READER, "List a server's interfaces."),
    rule("os_compute_api:os-attach-interfaces:show", READER, "Show an interface of a server."),
    rule("os_compute_api:ips:index", READER, "List a server's addresses."),
    rule("os_compute_api:ips:show", READER, "Show a server's addresses on a network."),
    rule("os_compute_api:os-security-groups:list", READER, "List a server's security groups."),
    rule("os_compute_api:os-volumes-attachments:index", READER, "List a server's volumes."),
    rule("os_compute_api:server-metadata:index", READER, "List a server's metadata."),
    rule("os_compute_api:server-metadata:show", READER, "Show an item of a server's metadata."),
    rule("os_compute_api:server-metadata:create", MEMBER, "Add to a server's metadata."),
    rule("os_compute_api:server-metadata:update_all", MEMBER, "Replace a server's metadata."),
    rule("os_compute_api:server-metadata:update", MEMBER, "Change an item of a server's metadata."),
    rule("os_compute_api:server-metadata:delete", MEMBER, "Delete an item of a server's metadata."),
    rule("os_compute_api:os-server-tags:index", READER, "List a server's tags."),
    rule("os_compute_api:os-server-tags:show", READER, "Ask for a tag of a server."),
    rule("os_compute_api:os-server-tags:update", MEMBER, "Add a tag to a server."),
    rule("os_compute_api:os-server-tags:update_all", MEMBER, "Replace a server's tags."),
    rule("os_compute_api:os-server-tags:delete", MEMBER, "Delete a tag of a server."),
    rule("os_compute_api:os-server-tags:delete_all", MEMBER, "Delete all tags of a server."),
    rule("os_compute_api:os-instance-actions:list", READER, "List what was done to a server."),
    rule("os_compute_api:os-instance-actions:show", READER, "Show what was done to a server."),
    rule("os_compute_api:os-instance-actions:events", ADMIN, "Show the events of an action with tracebacks."),
    rule("os_compute_api:os-instance-actions:events:details", ADMIN, "Show the details of an action's events."),
    // Flavors
    rule("os_compute_api:os-flavor-access:add_tenant_access", ADMIN, "Let a project use a private flavor."),
    rule("os_compute_api:os-flavor-access:remove_tenant_access", ADMIN, "Forbid a project a private flavor."),
    rule("os_compute_api:os-flavor-access", ADMIN, "List the projects that may use a private flavor."),
    rule("os_compute_api:os-flavor-extra-specs:show", READER, "Show an extra spec of a flavor."),
    rule("os_compute_api:os-flavor-extra-specs:index", READER, "List the extra specs of a flavor."),
    rule("os_compute_api:os-flavor-extra-specs:create", ADMIN, "Add extra specs to a flavor."),
    rule("os_compute_api:os-flavor-extra-specs:update", ADMIN, "Change an extra spec of a flavor."),
    rule("os_compute_api:os-flavor-extra-specs:delete", ADMIN, "Delete an extra spec of a flavor."),
    rule("os_compute_api:os-flavor-manage:create", ADMIN, "Create a flavor."),
    rule("os_compute_api:os-flavor-manage:update", ADMIN, "Change a flavor."),
    rule("os_compute_api:os-flavor-manage:delete", ADMIN, "Delete a flavor."),
    rule("os_compute_api:flavors", ANYBODY, "List and show flavors."),
    // Key pairs
    rule("os_compute_api:os-keypairs:index", "(rule:context_is_admin) or user_id:%(user_id)s", "List key pairs."),
    rule("os_compute_api:os-keypairs:create", "(rule:context_is_admin) or user_id:%(user_id)s", "Create a key pair."),
    rule("os_compute_api:os-keypairs:show", "(rule:context_is_admin) or user_id:%(user_id)s", "Show a key pair."),
    rule("os_compute_api:os-keypairs:delete", "(rule:context_is_admin) or user_id:%(user_id)s", "Delete a key pair."),
    // Limits and quotas
    rule("os_compute_api:limits", ANYBODY, "Show the limits of one's own project."),
    rule("os_compute_api:limits:other_project", ADMIN, "Show the limits of another project."),
    rule("os_compute_api:os-quota-sets:show", READER, "Show a project's quotas."),
    rule("os_compute_api:os-quota-sets:detail", READER, "Show a project's quotas and their use."),
    rule("os_compute_api:os-quota-sets:defaults", ANYBODY, "Show the quotas of projects that have none of their own."),
    rule("os_compute_api:os-quota-sets:update", ADMIN, "Change a project's quotas."),
    rule("os_compute_api:os-quota-sets:delete", ADMIN, "Take a project's own quotas away."),
    rule("os_compute_api:os-quota-class-sets:show", ADMIN, "Show the quotas of a class."),
    rule("os_compute_api:os-simple-tenant-usage:list", ADMIN, "Show the use of all projects."),
    rule("os_compute_api:os-simple-tenant-usage:show", READER, "Show the use of a project."),
    // Hosts
    rule("os_compute_api:os-availability-zone:list", ANYBODY, "List the availability zones."),
    rule("os_compute_api:os-availability-zone:detail", ADMIN, "List the availability zones with their hosts."),
    rule("os_compute_api:os-hypervisors:list", ADMIN, "List hypervisors."),
    rule("os_compute_api:os-hypervisors:list-detail", ADMIN, "List hypervisors with details."),
    rule("os_compute_api:os-hypervisors:statistics", ADMIN, "Sum up all hypervisors."),
    rule("os_compute_api:os-hypervisors:show", ADMIN, "Show a hypervisor."),
    rule("os_compute_api:os-hypervisors:uptime", ADMIN, "Show a hypervisor's uptime."),
    rule("os_compute_api:os-hypervisors:search", ADMIN, "Find hypervisors."),
    rule("os_compute_api:os-hypervisors:servers", ADMIN, "List the servers of hypervisors."),
    rule("os_compute_api:os-services:list", ADMIN, "List services."),
    rule("os_compute_api:os-services:update", ADMIN, "Change a service."),
    rule("os_compute_api:os-services:delete", ADMIN, "Delete a service."),
    rule("os_compute_api:os-aggregates:index", ADMIN, "List aggregates."),
    rule("os_compute_api:os-aggregates:create", ADMIN, "Create an aggregate."),
    rule("os_compute_api:os-aggregates:show", ADMIN, "Show an aggregate."),
    rule("os_compute_api:os-aggregates:update", ADMIN, "Change an aggregate."),
    rule("os_compute_api:os-aggregates:delete", ADMIN, "Delete an aggregate."),
    rule("os_compute_api:os-aggregates:add_host", ADMIN, "Put a host into an aggregate."),
    rule("os_compute_api:os-aggregates:remove_host", ADMIN, "Take a host out of an aggregate."),
    rule("os_compute_api:os-aggregates:set_metadata", ADMIN, "Change the metadata of an aggregate."),
    rule("os_compute_api:os-migrations:index", ADMIN, "List migrations."),
    // Groups and the rest
    rule("os_compute_api:os-server-groups:create", MEMBER, "Create a server group."),
    rule("os_compute_api:os-server-groups:delete", MEMBER, "Delete a server group."),
    rule("os_compute_api:os-server-groups:index", READER, "List server groups."),
    rule("os_compute_api:os-server-groups:index:all_projects", ADMIN, "List the server groups of all projects."),
    rule("os_compute_api:os-server-groups:show", READER, "Show a server group."),
    rule("os_compute_api:extensions", ANYBODY, "List extensions."),
];
