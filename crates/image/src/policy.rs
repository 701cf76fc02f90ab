//! Glance's rules with the defaults of the real service.

use ferrostack_rest::{RuleDefault, ScopeType};

const PROJECT: &[ScopeType] = &[ScopeType::Project];

const ADMIN: &str = "rule:context_is_admin";
const ADMIN_OR_MEMBER: &str = "rule:context_is_admin or (role:member and project_id:%(project_id)s)";
const ADMIN_OR_READER: &str = "rule:context_is_admin or (role:reader and project_id:%(project_id)s)";
const GET: &str = "rule:context_is_admin or (role:reader and (project_id:%(project_id)s or project_id:%(member_id)s or \
                   'community':%(visibility)s or 'public':%(visibility)s or 'shared':%(visibility)s))";
const DOWNLOAD: &str = "rule:context_is_admin or (role:member and (project_id:%(project_id)s or \
                        project_id:%(member_id)s or 'community':%(visibility)s or 'public':%(visibility)s or \
                        'shared':%(visibility)s))";
const ADD: &str = "rule:context_is_admin or (role:member and project_id:%(project_id)s and project_id:%(owner)s)";
const MEMBERS: &str =
    "rule:context_is_admin or role:reader and (project_id:%(project_id)s or project_id:%(member_id)s)";
const MODIFY_MEMBER: &str = "rule:context_is_admin or (role:member and project_id:%(member_id)s)";

const fn rule(name: &'static str, check: &'static str, description: &'static str) -> RuleDefault {
    RuleDefault::new(name, check, description).scopes(PROJECT)
}

/// All rules.
pub const RULES: &[RuleDefault] = &[
    RuleDefault::new("default", "", "What historically had no rule of its own."),
    RuleDefault::new("context_is_admin", "role:admin", "Whoever administers images."),
    rule("add_image", ADD, "Create an image."),
    rule("delete_image", ADMIN_OR_MEMBER, "Delete an image."),
    rule("get_image", GET, "Show an image."),
    rule("get_images", ADMIN_OR_READER, "List images."),
    rule("modify_image", ADMIN_OR_MEMBER, "Change an image."),
    rule("publicize_image", ADMIN, "Show an image to everybody."),
    rule("communitize_image", ADMIN_OR_MEMBER, "Give an image to whoever knows of it."),
    rule("download_image", DOWNLOAD, "Read an image's data."),
    rule("upload_image", ADMIN_OR_MEMBER, "Write an image's data."),
    rule("add_member", ADMIN_OR_MEMBER, "Share an image."),
    rule("delete_member", ADMIN_OR_MEMBER, "Share an image no more."),
    rule("get_member", MEMBERS, "Show whom an image is shared with."),
    rule("get_members", MEMBERS, "List whom an image is shared with."),
    rule("modify_member", MODIFY_MEMBER, "Accept or reject a shared image."),
    rule("deactivate", ADMIN_OR_MEMBER, "Keep an image's data from being read."),
    rule("reactivate", ADMIN_OR_MEMBER, "Let an image's data be read again."),
];
