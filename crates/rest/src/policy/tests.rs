use super::*;
use ferrostack_contracts::identity::Scope;
use ferrostack_types::Timestamp;
use ferrostack_types::ids::DomainId;

fn caller(roles: &[&str], scope: Scope) -> Caller {
    Caller {
        user_id: UserId::new("u"),
        user_name: "u".into(),
        user_domain_id: DomainId::new("default"),
        user_domain_name: "Default".into(),
        scope,
        roles: roles.iter().map(|r| (*r).to_owned()).collect(),
        audit_ids: vec![],
        expires_at: Timestamp::default(),
        methods: vec![],
        application_credential: None,
    }
}

fn in_project(id: &str) -> Scope {
    Scope::Project { id: ProjectId::new(id), name: id.into(), domain_id: DomainId::new("d"), domain_name: "d".into() }
}

fn holds(rule: &str, caller: &Caller, target: &Target) -> bool {
    let check = parse::parse(rule).unwrap();
    let mut rules = HashMap::new();
    rules.insert("admin".to_owned(), parse::parse("role:admin").unwrap());
    rules.insert("loop".to_owned(), parse::parse("rule:loop").unwrap());
    check.holds(&Facts { caller, target, rules: &rules }, 0)
}

#[test]
fn decides_as_oslo_does() {
    let member = caller(&["member", "reader"], in_project("p"));
    let admin = caller(&["Admin"], in_project("q"));
    let system = caller(&["reader"], Scope::System);
    let target = Target::project(&ProjectId::new("p")).set("target.enabled", "True");
    for (rule, by_member, by_admin, by_system) in [
        ("", true, true, true),
        ("@", true, true, true),
        ("!", false, false, false),
        ("rule:admin", false, true, false),
        ("rule:unknown", false, false, false),
        ("rule:loop", false, false, false),
        ("role:reader and project_id:%(project_id)s", true, false, false),
        ("(role:reader and project_id:%(project_id)s) or rule:admin", true, true, false),
        ("not role:member", false, true, true),
        ("role:reader and system_scope:all", false, false, true),
        ("project_id:%(no_such)s", false, false, false),
        ("True:%(target.enabled)s", true, true, true),
        ("'True':%(target.enabled)s", true, true, true),
        ("None:%(target.domain_id)s", true, true, true),
        ("field:networks:target.enabled=True", true, true, true),
        ("field:networks:target.enabled=False", false, false, false),
        ("field:networks:router:external=True", false, false, false),
        ("field:port:target.enabled=~^Tr", true, true, true),
        ("not field:port:target.enabled=~^network:", true, true, true),
        ("is_admin:True", false, false, false),
        ("domain_id:None", true, true, true),
        ("not project_id:None", true, true, false),
        ("user_id:u and not (role:member or role:admin)", false, false, true),
    ] {
        assert_eq!(holds(rule, &member, &target), by_member, "member: {rule}");
        assert_eq!(holds(rule, &admin, &target), by_admin, "admin: {rule}");
        assert_eq!(holds(rule, &system, &target), by_system, "system: {rule}");
    }
    // A caller without a project never equals a target without one.
    assert!(!holds("project_id:%(project_id)s", &system, &Target::none()));
}

#[test]
fn refuses_what_is_no_rule() {
    for bad in [
        "role",
        "role:a or",
        "(role:a",
        "role:a)",
        "role:a role:b",
        "http://example/check",
        "not",
        "field:shared=True",
        "field:a:b=~(",
    ] {
        assert!(parse::parse(bad).is_err(), "{bad}");
    }
    assert!(parse::parse(&"(".repeat(10_000)).is_err());
    assert!(parse::parse(&"not ".repeat(10_000)).is_err());
}

#[tokio::test]
async fn a_file_overrides_and_scopes_bind() {
    const RULES: &[RuleDefault] =
        &[RuleDefault::new("a", "role:admin", "a"), RuleDefault::new("b", "", "b").scopes(&[ScopeType::System])];
    let file = std::env::temp_dir().join(format!("ferrostack-policy-{}.yaml", std::process::id()));
    std::fs::write(&file, "# by the operator\n\"a\": \"role:member\"\n").unwrap();
    let enforcer = Enforcer::new("test", &[RULES], Some(file.clone())).unwrap();
    std::fs::remove_file(&file).unwrap();
    let member = caller(&["member"], in_project("p"));
    assert!(enforcer.enforce("a", &member, &Target::none()).is_ok());
    assert!(enforcer.enforce("b", &member, &Target::none()).is_err());
    assert!(enforcer.enforce("b", &caller(&[], Scope::System), &Target::none()).is_ok());
    assert!(enforcer.enforce("nothing", &member, &Target::none()).is_err());
}
