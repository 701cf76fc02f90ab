//! The microversions at which something that we serve changes its shape.

use ferrostack_rest::MicroversionRange;
use ferrostack_types::Microversion;

const fn v(minor: u16) -> Microversion {
    Microversion::new(2, minor)
}

/// What is served.
pub(crate) const RANGE: MicroversionRange = MicroversionRange {
    service_type: "compute",
    legacy_header: Some("X-OpenStack-Nova-API-Version"),
    min: V2_1,
    max: v(96),
};

/// The beginning.
pub(crate) const V2_1: Microversion = v(1);
/// Key pairs have a type; their creation answers 201 and their deletion 204.
pub(crate) const V2_2: Microversion = v(2);
/// Servers show reservation id, launch index, host name, root device and user data to administrators.
pub(crate) const V2_3: Microversion = v(3);
/// Servers can be filtered by IPv6 address by everybody.
pub(crate) const V2_5: Microversion = v(5);
/// `POST /servers/{id}/remote-consoles` replaces the console actions.
pub(crate) const V2_6: Microversion = v(6);
/// A flavor that is public cannot be given to a project.
pub(crate) const V2_7: Microversion = v(7);
/// Servers show whether they are locked.
pub(crate) const V2_9: Microversion = v(9);
/// Administrators may manage other users' key pairs.
pub(crate) const V2_10: Microversion = v(10);
/// A service can be forced down.
pub(crate) const V2_11: Microversion = v(11);
/// Server groups show their project and user.
pub(crate) const V2_13: Microversion = v(13);
/// Server groups may be soft about affinity.
pub(crate) const V2_15: Microversion = v(15);
/// Servers show the state of their host.
pub(crate) const V2_16: Microversion = v(16);
/// Servers have a description.
pub(crate) const V2_19: Microversion = v(19);
/// Servers have tags.
pub(crate) const V2_26: Microversion = v(26);
/// A hypervisor's `cpu_info` is an object.
pub(crate) const V2_28: Microversion = v(28);
/// Hypervisors are listed in pages.
pub(crate) const V2_33: Microversion = v(33);
/// Key pairs are listed in pages.
pub(crate) const V2_35: Microversion = v(35);
/// The proxies for images and networks are gone; so are their limits and quotas.
pub(crate) const V2_36: Microversion = v(36);
/// `networks` may be `auto` or `none` and has to be said.
pub(crate) const V2_37: Microversion = v(37);
/// An unknown status in a filter is refused.
pub(crate) const V2_38: Microversion = v(38);
/// The metadata of images is gone from the limits.
pub(crate) const V2_39: Microversion = v(39);
/// Aggregates show their UUID.
pub(crate) const V2_41: Microversion = v(41);
/// Servers embed their flavor.
pub(crate) const V2_47: Microversion = v(47);
/// Events of an action are for everybody, their tracebacks are not.
pub(crate) const V2_51: Microversion = v(51);
/// Tags can be given at creation.
pub(crate) const V2_52: Microversion = v(52);
/// Hypervisors and services are known by UUID.
pub(crate) const V2_53: Microversion = v(53);
/// Flavors have a description.
pub(crate) const V2_55: Microversion = v(55);
/// Files can no longer be injected.
pub(crate) const V2_57: Microversion = v(57);
/// Actions are listed in pages and show when they were updated.
pub(crate) const V2_58: Microversion = v(58);
/// Flavors show their extra specs.
pub(crate) const V2_61: Microversion = v(61);
/// Events show their host.
pub(crate) const V2_62: Microversion = v(62);
/// Trusted image certificates are shown.
pub(crate) const V2_63: Microversion = v(63);
/// Server groups have one policy with rules.
pub(crate) const V2_64: Microversion = v(64);
/// Lists can be filtered by `changes-before`.
pub(crate) const V2_66: Microversion = v(66);
/// Attached interfaces and volumes show their tag.
pub(crate) const V2_70: Microversion = v(70);
/// Servers show their server groups.
pub(crate) const V2_71: Microversion = v(71);
/// Servers can be locked with a reason.
pub(crate) const V2_73: Microversion = v(73);
/// A host can be asked for at creation without a zone.
pub(crate) const V2_74: Microversion = v(74);
/// Unknown fields and filters are refused everywhere; `PUT` shows a whole server.
pub(crate) const V2_75: Microversion = v(75);
/// Users may filter servers by more fields.
pub(crate) const V2_83: Microversion = v(83);
/// Events have details.
pub(crate) const V2_84: Microversion = v(84);
/// Hypervisors show their uptime inside and lose what Placement knows better.
pub(crate) const V2_88: Microversion = v(88);
/// Servers have a host name of their own.
pub(crate) const V2_90: Microversion = v(90);
/// Key pairs are imported only.
pub(crate) const V2_92: Microversion = v(92);
/// Host names may be fully qualified.
pub(crate) const V2_94: Microversion = v(94);
/// Servers show the zone that they are pinned to.
pub(crate) const V2_96: Microversion = v(96);

/// The version right before.
pub(crate) const fn before(version: Microversion) -> Microversion {
    Microversion::new(version.major, version.minor - 1)
}
