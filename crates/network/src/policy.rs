//! The policy rules with Neutron's names and its present defaults.
//!
//! `create_port:mac_address` and the like are asked in addition to `create_port`, when a request names the attribute with
//! another value than its default. Rules such as `rule:shared` look at fields of the target, see `api::kit::target`.

use ferrostack_rest::{RuleDefault, ScopeType};

const PROJECT: &[ScopeType] = &[ScopeType::Project];

const fn rule(name: &'static str, check: &'static str, description: &'static str) -> RuleDefault {
    RuleDefault::new(name, check, description).scopes(PROJECT)
}

/// Rules that others refer to; any scope.
pub const BASE: &[RuleDefault] = &[
    RuleDefault::new("context_is_admin", "role:admin", "Cloud administrators"),
    RuleDefault::new("service_api", "role:service", "Service api"),
    RuleDefault::new("owner", "project_id:%(project_id)s", "Owner"),
    RuleDefault::new("admin_or_owner", "(rule:context_is_admin) or (rule:owner)", "Admin or owner"),
    RuleDefault::new("context_is_advsvc", "role:advsvc", "Context is advsvc"),
    RuleDefault::new(
        "admin_or_network_owner",
        "(rule:context_is_admin) or (project_id:%(network:project_id)s)",
        "Admin or network owner",
    ),
    RuleDefault::new(
        "admin_owner_or_network_owner",
        "(rule:owner) or (rule:admin_or_network_owner)",
        "Admin owner or network owner",
    ),
    RuleDefault::new("network_owner", "project_id:%(network:project_id)s", "Network owner"),
    RuleDefault::new("admin_only", "rule:context_is_admin", "Admin only"),
    RuleDefault::new("regular_user", "", "Anybody with a token"),
    RuleDefault::new("shared", "field:networks:shared=True", "Shared"),
    RuleDefault::new("default", "rule:admin_or_owner", "Default"),
    RuleDefault::new(
        "admin_or_ext_parent_owner",
        "(rule:context_is_admin) or (project_id:%(ext_parent:project_id)s)",
        "Admin or ext parent owner",
    ),
    RuleDefault::new("ext_parent_owner", "project_id:%(ext_parent:project_id)s", "Ext parent owner"),
    RuleDefault::new("sg_owner", "project_id:%(security_group:project_id)s", "Sg owner"),
    RuleDefault::new("external", "field:networks:router:external=True", "External"),
    RuleDefault::new("external_network", "field:subnets:router:external=True", "External network"),
    RuleDefault::new("network_device", "field:port:device_owner=~^network:", "Network device"),
    RuleDefault::new(
        "admin_or_sg_owner",
        "(rule:context_is_admin) or (project_id:%(security_group:project_id)s)",
        "Admin or sg owner",
    ),
    RuleDefault::new("admin_owner_or_sg_owner", "(rule:owner) or (rule:admin_or_sg_owner)", "Admin owner or sg owner"),
    RuleDefault::new("shared_security_group", "field:security_groups:shared=True", "Shared security group"),
    RuleDefault::new("rule_default_sg", "field:security_group_rules:belongs_to_default_sg=True", "Rule default sg"),
];

/// Rules of operations and attributes; for tokens of a project.
pub const RULES: &[RuleDefault] = &[
    rule("create_network", "(rule:admin_only) or (role:member and project_id:%(project_id)s)", "Create a network"),
    rule("create_network:shared", "rule:admin_only", "Set `shared` of a network"),
    rule("create_network:router:external", "rule:admin_only", "Set `router:external` of a network"),
    rule("create_network:is_default", "rule:admin_only", "Set `is_default` of a network"),
    rule(
        "create_network:port_security_enabled",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Set `port_security_enabled` of a network",
    ),
    rule("create_network:provider:network_type", "rule:admin_only", "Set `provider:network_type` of a network"),
    rule("create_network:provider:physical_network", "rule:admin_only", "Set `provider:physical_network` of a network"),
    rule("create_network:provider:segmentation_id", "rule:admin_only", "Set `provider:segmentation_id` of a network"),
    rule(
        "create_network:tags",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Set `tags` of a network",
    ),
    rule(
        "get_network",
        "((rule:admin_only) or (role:reader and project_id:%(project_id)s)) or (rule:service_api) or (rule:shared) or (rule:external) or (rule:context_is_advsvc)",
        "See a network",
    ),
    rule("get_network:provider:network_type", "rule:admin_only", "See `provider:network_type` of a network"),
    rule("get_network:provider:physical_network", "rule:admin_only", "See `provider:physical_network` of a network"),
    rule("get_network:provider:segmentation_id", "rule:admin_only", "See `provider:segmentation_id` of a network"),
    rule(
        "get_network:tags",
        "((rule:admin_only) or (role:reader and project_id:%(project_id)s)) or (rule:shared) or (rule:external) or (rule:context_is_advsvc)",
        "See `tags` of a network",
    ),
    rule("update_network", "(rule:admin_only) or (role:member and project_id:%(project_id)s)", "Change a network"),
    rule("update_network:shared", "rule:admin_only", "Change `shared` of a network"),
    rule("update_network:provider:network_type", "rule:admin_only", "Change `provider:network_type` of a network"),
    rule(
        "update_network:provider:physical_network",
        "rule:admin_only",
        "Change `provider:physical_network` of a network",
    ),
    rule(
        "update_network:provider:segmentation_id",
        "rule:admin_only",
        "Change `provider:segmentation_id` of a network",
    ),
    rule("update_network:router:external", "rule:admin_only", "Change `router:external` of a network"),
    rule("update_network:is_default", "rule:admin_only", "Change `is_default` of a network"),
    rule(
        "update_network:port_security_enabled",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Change `port_security_enabled` of a network",
    ),
    rule(
        "update_network:tags",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Change `tags` of a network",
    ),
    rule("delete_network", "(rule:admin_only) or (role:member and project_id:%(project_id)s)", "Delete a network"),
    rule(
        "delete_network:tags",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Delete `tags` of a network",
    ),
    rule("create_subnet", "(rule:admin_only) or (role:member and rule:network_owner)", "Create a subnet"),
    rule("create_subnet:service_types", "rule:admin_only", "Set `service_types` of a subnet"),
    rule(
        "create_subnet:tags",
        "(role:member and project_id:%(project_id)s) or ((rule:admin_only) or (role:member and rule:network_owner))",
        "Set `tags` of a subnet",
    ),
    rule(
        "get_subnet",
        "(role:reader and project_id:%(project_id)s) or (rule:shared) or (rule:external_network) or ((rule:admin_only) or (role:reader and rule:network_owner)) or (rule:service_api)",
        "See a subnet",
    ),
    rule(
        "get_subnet:tags",
        "(role:reader and project_id:%(project_id)s) or (rule:shared) or (rule:external_network) or ((rule:admin_only) or (role:reader and rule:network_owner))",
        "See `tags` of a subnet",
    ),
    rule(
        "update_subnet",
        "(role:member and project_id:%(project_id)s) or ((rule:admin_only) or (role:member and rule:network_owner))",
        "Change a subnet",
    ),
    rule("update_subnet:service_types", "rule:admin_only", "Change `service_types` of a subnet"),
    rule(
        "update_subnet:tags",
        "(role:member and project_id:%(project_id)s) or ((rule:admin_only) or (role:member and rule:network_owner))",
        "Change `tags` of a subnet",
    ),
    rule(
        "delete_subnet",
        "(role:member and project_id:%(project_id)s) or ((rule:admin_only) or (role:member and rule:network_owner))",
        "Delete a subnet",
    ),
    rule(
        "delete_subnet:tags",
        "(role:member and project_id:%(project_id)s) or ((rule:admin_only) or (role:member and rule:network_owner))",
        "Delete `tags` of a subnet",
    ),
    rule(
        "create_port",
        "((rule:admin_only) or (rule:service_api)) or (role:member and rule:network_owner) or (rule:shared)",
        "Create a port",
    ),
    rule(
        "create_port:device_id",
        "((rule:admin_only) or (role:member and project_id:%(project_id)s)) or (rule:service_api)",
        "Set `device_id` of a port",
    ),
    rule(
        "create_port:device_owner",
        "(not rule:network_device) or ((rule:admin_only) or (rule:service_api)) or (role:member and rule:network_owner)",
        "Set `device_owner` of a port",
    ),
    rule(
        "create_port:mac_address",
        "((rule:admin_only) or (rule:service_api)) or (role:member and rule:network_owner)",
        "Set `mac_address` of a port",
    ),
    rule(
        "create_port:fixed_ips",
        "((rule:admin_only) or (rule:service_api)) or (role:member and rule:network_owner) or (rule:shared)",
        "Set `fixed_ips` of a port",
    ),
    rule(
        "create_port:fixed_ips:ip_address",
        "((rule:admin_only) or (rule:service_api)) or (role:member and rule:network_owner)",
        "Set `fixed_ips:ip_address` of a port",
    ),
    rule(
        "create_port:fixed_ips:subnet_id",
        "((rule:admin_only) or (rule:service_api)) or (role:member and rule:network_owner) or (rule:shared)",
        "Set `fixed_ips:subnet_id` of a port",
    ),
    rule(
        "create_port:port_security_enabled",
        "((rule:admin_only) or (rule:service_api)) or (role:member and rule:network_owner)",
        "Set `port_security_enabled` of a port",
    ),
    rule("create_port:binding:host_id", "(rule:admin_only) or (rule:service_api)", "Set `binding:host_id` of a port"),
    rule("create_port:binding:profile", "rule:service_api", "Set `binding:profile` of a port"),
    rule(
        "create_port:binding:vnic_type",
        "((rule:admin_only) or (role:member and project_id:%(project_id)s)) or (rule:service_api)",
        "Set `binding:vnic_type` of a port",
    ),
    rule(
        "create_port:allowed_address_pairs",
        "((rule:admin_only) or (role:member and rule:network_owner)) or (rule:service_api)",
        "Set `allowed_address_pairs` of a port",
    ),
    rule(
        "create_port:allowed_address_pairs:mac_address",
        "((rule:admin_only) or (role:member and rule:network_owner)) or (rule:service_api)",
        "Set `allowed_address_pairs:mac_address` of a port",
    ),
    rule(
        "create_port:allowed_address_pairs:ip_address",
        "((rule:admin_only) or (role:member and rule:network_owner)) or (rule:service_api)",
        "Set `allowed_address_pairs:ip_address` of a port",
    ),
    rule(
        "create_port:tags",
        "((rule:admin_only) or (role:member and project_id:%(project_id)s)) or (rule:context_is_advsvc)",
        "Set `tags` of a port",
    ),
    rule(
        "get_port",
        "((rule:admin_only) or (rule:service_api)) or (role:reader and rule:network_owner) or (role:reader and project_id:%(project_id)s)",
        "See a port",
    ),
    rule("get_port:binding:vif_type", "(rule:admin_only) or (rule:service_api)", "See `binding:vif_type` of a port"),
    rule(
        "get_port:binding:vif_details",
        "(rule:admin_only) or (rule:service_api)",
        "See `binding:vif_details` of a port",
    ),
    rule("get_port:binding:host_id", "(rule:admin_only) or (rule:service_api)", "See `binding:host_id` of a port"),
    rule("get_port:binding:profile", "(rule:admin_only) or (rule:service_api)", "See `binding:profile` of a port"),
    rule(
        "get_port:tags",
        "(rule:context_is_advsvc) or ((rule:admin_only) or (role:reader and rule:network_owner)) or (role:reader and project_id:%(project_id)s)",
        "See `tags` of a port",
    ),
    rule(
        "update_port",
        "((rule:admin_only) or (rule:service_api)) or (role:member and project_id:%(project_id)s)",
        "Change a port",
    ),
    rule(
        "update_port:device_id",
        "((rule:admin_only) or (role:member and project_id:%(project_id)s)) or (rule:service_api)",
        "Change `device_id` of a port",
    ),
    rule(
        "update_port:device_owner",
        "(not rule:network_device) or ((rule:admin_only) or (rule:service_api)) or (role:member and rule:network_owner)",
        "Change `device_owner` of a port",
    ),
    rule(
        "update_port:mac_address",
        "((rule:admin_only) or (rule:service_api)) or (role:manager and rule:network_owner)",
        "Change `mac_address` of a port",
    ),
    rule(
        "update_port:fixed_ips",
        "((rule:admin_only) or (rule:service_api)) or (role:member and rule:network_owner)",
        "Change `fixed_ips` of a port",
    ),
    rule(
        "update_port:fixed_ips:ip_address",
        "((rule:admin_only) or (rule:service_api)) or (role:member and rule:network_owner)",
        "Change `fixed_ips:ip_address` of a port",
    ),
    rule(
        "update_port:fixed_ips:subnet_id",
        "((rule:admin_only) or (rule:service_api)) or (role:member and rule:network_owner) or (rule:shared)",
        "Change `fixed_ips:subnet_id` of a port",
    ),
    rule(
        "update_port:port_security_enabled",
        "((rule:admin_only) or (rule:service_api)) or (role:member and rule:network_owner)",
        "Change `port_security_enabled` of a port",
    ),
    rule(
        "update_port:binding:host_id",
        "(rule:admin_only) or (rule:service_api)",
        "Change `binding:host_id` of a port",
    ),
    rule("update_port:binding:profile", "rule:service_api", "Change `binding:profile` of a port"),
    rule(
        "update_port:binding:vnic_type",
        "((rule:admin_only) or (rule:service_api)) or (role:member and project_id:%(project_id)s)",
        "Change `binding:vnic_type` of a port",
    ),
    rule(
        "update_port:allowed_address_pairs",
        "((rule:admin_only) or (role:member and rule:network_owner)) or (rule:service_api)",
        "Change `allowed_address_pairs` of a port",
    ),
    rule(
        "update_port:allowed_address_pairs:mac_address",
        "((rule:admin_only) or (role:member and rule:network_owner)) or (rule:service_api)",
        "Change `allowed_address_pairs:mac_address` of a port",
    ),
    rule(
        "update_port:allowed_address_pairs:ip_address",
        "((rule:admin_only) or (role:member and rule:network_owner)) or (rule:service_api)",
        "Change `allowed_address_pairs:ip_address` of a port",
    ),
    rule(
        "update_port:tags",
        "((rule:admin_only) or (role:member and project_id:%(project_id)s)) or (rule:context_is_advsvc)",
        "Change `tags` of a port",
    ),
    rule(
        "delete_port",
        "((rule:admin_only) or (rule:service_api)) or (role:member and rule:network_owner) or (role:member and project_id:%(project_id)s)",
        "Delete a port",
    ),
    rule(
        "delete_port:tags",
        "(rule:context_is_advsvc) or (role:member and project_id:%(project_id)s) or ((rule:admin_only) or (role:member and rule:network_owner))",
        "Delete `tags` of a port",
    ),
    rule("create_router", "(rule:admin_only) or (role:member and project_id:%(project_id)s)", "Create a router"),
    rule("create_router:distributed", "rule:admin_only", "Set `distributed` of a router"),
    rule("create_router:ha", "rule:admin_only", "Set `ha` of a router"),
    rule(
        "create_router:external_gateway_info",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Set `external_gateway_info` of a router",
    ),
    rule(
        "create_router:external_gateway_info:network_id",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Set `external_gateway_info:network_id` of a router",
    ),
    rule(
        "create_router:external_gateway_info:enable_snat",
        "rule:admin_only",
        "Set `external_gateway_info:enable_snat` of a router",
    ),
    rule(
        "create_router:external_gateway_info:external_fixed_ips",
        "rule:admin_only",
        "Set `external_gateway_info:external_fixed_ips` of a router",
    ),
    rule(
        "create_router:tags",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Set `tags` of a router",
    ),
    rule("get_router", "(rule:admin_only) or (role:reader and project_id:%(project_id)s)", "See a router"),
    rule("get_router:distributed", "rule:admin_only", "See `distributed` of a router"),
    rule("get_router:ha", "rule:admin_only", "See `ha` of a router"),
    rule(
        "get_router:tags",
        "(rule:admin_only) or (role:reader and project_id:%(project_id)s)",
        "See `tags` of a router",
    ),
    rule("update_router", "(rule:admin_only) or (role:member and project_id:%(project_id)s)", "Change a router"),
    rule("update_router:distributed", "rule:admin_only", "Change `distributed` of a router"),
    rule("update_router:ha", "rule:admin_only", "Change `ha` of a router"),
    rule(
        "update_router:external_gateway_info",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Change `external_gateway_info` of a router",
    ),
    rule(
        "update_router:external_gateway_info:network_id",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Change `external_gateway_info:network_id` of a router",
    ),
    rule(
        "update_router:external_gateway_info:enable_snat",
        "rule:admin_only",
        "Change `external_gateway_info:enable_snat` of a router",
    ),
    rule(
        "update_router:external_gateway_info:external_fixed_ips",
        "rule:admin_only",
        "Change `external_gateway_info:external_fixed_ips` of a router",
    ),
    rule(
        "update_router:tags",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Change `tags` of a router",
    ),
    rule("delete_router", "(rule:admin_only) or (role:member and project_id:%(project_id)s)", "Delete a router"),
    rule(
        "delete_router:tags",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Delete `tags` of a router",
    ),
    rule(
        "add_router_interface",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Add router interface",
    ),
    rule(
        "remove_router_interface",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Remove router interface",
    ),
    rule(
        "create_floatingip",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Create a floating IP",
    ),
    rule(
        "create_floatingip:floating_ip_address",
        "(rule:admin_only) or (role:manager and project_id:%(project_id)s)",
        "Set `floating_ip_address` of a floating IP",
    ),
    rule(
        "create_floatingip:tags",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Set `tags` of a floating IP",
    ),
    rule("get_floatingip", "(rule:admin_only) or (role:reader and project_id:%(project_id)s)", "See a floating IP"),
    rule(
        "get_floatingip:tags",
        "(rule:admin_only) or (role:reader and project_id:%(project_id)s)",
        "See `tags` of a floating IP",
    ),
    rule(
        "update_floatingip",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Change a floating IP",
    ),
    rule(
        "update_floatingip:tags",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Change `tags` of a floating IP",
    ),
    rule(
        "delete_floatingip",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Delete a floating IP",
    ),
    rule(
        "delete_floatingip:tags",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Delete `tags` of a floating IP",
    ),
    rule(
        "create_security_group",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Create a security group",
    ),
    rule(
        "create_security_group:tags",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Set `tags` of a security group",
    ),
    rule(
        "get_security_group",
        "((rule:admin_only) or (role:reader and project_id:%(project_id)s)) or (rule:shared_security_group)",
        "See a security group",
    ),
    rule(
        "get_security_group:tags",
        "((rule:admin_only) or (role:reader and project_id:%(project_id)s)) or (rule:shared_security_group)",
        "See `tags` of a security group",
    ),
    rule(
        "update_security_group",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Change a security group",
    ),
    rule(
        "update_security_group:tags",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Change `tags` of a security group",
    ),
    rule(
        "delete_security_group",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Delete a security group",
    ),
    rule(
        "delete_security_group:tags",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
        "Delete `tags` of a security group",
    ),
    rule(
        "create_security_group_rule",
        "(rule:admin_only) or (role:member and rule:sg_owner)",
        "Create a security group rule",
    ),
    rule(
        "get_security_group_rule",
        "(rule:admin_only) or (role:reader and rule:sg_owner)",
        "See a security group rule",
    ),
    rule(
        "delete_security_group_rule",
        "(rule:admin_only) or (role:member and rule:sg_owner)",
        "Delete a security group rule",
    ),
    rule("get_quota", "(rule:admin_only) or (role:manager and project_id:%(project_id)s)", "See a quota"),
    rule("update_quota", "rule:admin_only", "Change a quota"),
    rule("delete_quota", "rule:admin_only", "Delete a quota"),
    rule("get_agent", "rule:admin_only", "See an agent"),
    rule("get_availability_zone", "role:reader", "See an availability zone"),
    rule(
        "get_network_ip_availability",
        "(rule:admin_only) or (rule:service_api)",
        "See the usage of networks' addresses",
    ),
    rule("get_service_provider", "role:reader", "See a service provider"),
];
