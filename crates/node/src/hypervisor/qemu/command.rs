//! QEMU's command line.
//!
//! Nothing is left to defaults that a version may change: every device has an address, every disk its format down the
//! whole chain, so that nothing is probed and no header that a guest has written matters. File names are relative to the
//! guest's `vm` directory, QEMU's working directory, so that their length and what lies above do not matter either.

use super::QemuConfig;
use crate::plumbing::NicBackend;
use ferrostack_contracts::image::DiskFormat;
use ferrostack_contracts::node::GuestSpec;
use ferrostack_types::ids::ServerId;
use serde_json::{Value, json};

/// The processor's virtualization, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The kernel's.
    Kvm,
    /// None: QEMU translates.
    Tcg,
}

impl Accelerator {
    /// Its name in QEMU and in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg => "tcg",
        }
    }
}

/// What makes the arguments of one guest.
pub(super) struct CommandLine<'a> {
    pub config: &'a QemuConfig,
    pub accelerator: Accelerator,
    pub server: ServerId,
    pub spec: &'a GuestSpec,
    pub nics: &'a [NicBackend],
    /// The taps' file descriptors, in the order of the tap NICs.
    pub tap_fds: &'a [i32],
    pub userspace_network: bool,
}

/// Everything that a switch in user space cannot do for guests.
const NO_OFFLOAD: &str = ",csum=off,guest_csum=off,gso=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,\
host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off";

impl CommandLine<'_> {
    /// All arguments, the program first.
    pub fn argv(&self) -> Vec<String> {
        let mut args = vec![self.config.program.clone()];
        self.machine(&mut args);
        self.disks(&mut args);
        self.nics(&mut args);
        self.consoles(&mut args);
        args
    }

    fn machine(&self, args: &mut Vec<String>) {
        let accelerator = match self.accelerator {
            Accelerator::Kvm => "kvm".to_owned(),
            Accelerator::Tcg => format!("tcg,thread=multi,tb-size={}", self.config.tcg_cache_mb),
        };
        let cpu = if self.accelerator == Accelerator::Kvm { "host" } else { "max" };
        let name = plain(&self.spec.name);
        let (memory, vcpus) = (self.spec.memory_mb, self.spec.vcpus);
        for (key, value) in [
            ("-name", format!("guest={name},debug-threads=on")),
            ("-uuid", self.server.to_string()),
            ("-machine", "pc,dump-guest-core=off".to_owned()),
            ("-accel", accelerator),
            ("-cpu", cpu.to_owned()),
            ("-m", format!("{memory}M")),
            ("-smp", format!("{vcpus},sockets={vcpus},cores=1,threads=1")),
            ("-rtc", "base=utc,driftfix=slew".to_owned()),
            ("-boot", "menu=off,strict=on".to_owned()),
            // cloud-init recognises the cloud by the product's name.
            ("-smbios", format!("type=1,manufacturer=Ferrostack,product=OpenStack Compute,serial={}", self.server)),
            ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny".to_owned()),
            ("-object", "rng-random,id=rng0,filename=/dev/urandom".to_owned()),
            ("-device", "virtio-rng-pci,rng=rng0,id=rng,addr=0x3".to_owned()),
            ("-device", "VGA,id=vga,addr=0x2,vgamem_mb=8".to_owned()),
        ] {
            args.extend([key.to_owned(), value]);
        }
        // The guest waits, stopped, until it is written down that it was started; and again after it has switched
        // itself off.
        args.extend(["-nodefaults", "-no-user-config", "-S", "-no-shutdown"].map(str::to_owned));
    }

    fn disks(&self, args: &mut Vec<String>) {
        let mut base = json!({
            "driver": self.spec.image.format.as_str(), "node-name": "base", "file": "base-file", "read-only": true,
        });
        if self.spec.image.format == DiskFormat::Qcow2 {
            base["backing"] = Value::Null;
        }
        let mut nodes = vec![
            json!({ "driver": "file", "node-name": "base-file", "filename": "../base", "read-only": true }),
            base,
            json!({ "driver": "file", "node-name": "root-file", "filename": "disk.qcow2", "discard": "unmap" }),
            json!({
                "driver": "qcow2", "node-name": "root", "file": "root-file", "backing": "base", "discard": "unmap",
            }),
        ];
        if self.spec.config_drive {
            nodes.push(json!({
                "driver": "file", "node-name": "config-file", "filename": "../config.iso", "read-only": true,
            }));
            nodes.push(json!({ "driver": "raw", "node-name": "config", "file": "config-file", "read-only": true }));
        }
        for node in nodes {
            args.extend(["-blockdev".to_owned(), node.to_string()]);
        }
        args.extend(["-device".to_owned(), "virtio-blk-pci,drive=root,id=disk0,addr=0x4,bootindex=1".to_owned()]);
        if self.spec.config_drive {
            args.extend(["-device".to_owned(), "virtio-blk-pci,drive=config,id=config-drive,addr=0x5".to_owned()]);
        }
    }

    fn nics(&self, args: &mut Vec<String>) {
        let mut tap_fds = self.tap_fds.iter();
        for (index, (port, backend)) in self.spec.nics.iter().zip(self.nics).enumerate() {
            let netdev = match (backend, tap_fds.as_slice().first()) {
                (NicBackend::Tap(_), Some(fd)) => {
                    tap_fds.next();
                    format!("tap,id=net{index},fd={fd},vhost=off")
                }
                _ => format!("hubport,id=net{index},hubid={index}"),
            };
            let offload = if self.userspace_network { NO_OFFLOAD } else { "" };
            args.extend(["-netdev".to_owned(), netdev, "-device".to_owned()]);
            args.push(format!(
                "virtio-net-pci,netdev=net{index},id=nic{index},mac={},host_mtu={},addr={:#x},romfile={offload}",
                plain(&port.mac),
                port.mtu,
                8 + index,
            ));
        }
    }

    fn consoles(&self, args: &mut Vec<String>) {
        for (key, value) in [
            ("-vnc", "unix:vnc.sock"),
            ("-chardev", "socket,id=serial0,path=serial.sock,server=on,wait=off,logfile=console.log,logappend=on"),
            ("-serial", "chardev:serial0"),
            ("-chardev", "socket,id=qmp,path=qmp.sock,server=on,wait=off"),
            ("-mon", "chardev=qmp,mode=control"),
        ] {
            args.extend([key.to_owned(), value.to_owned()]);
        }
    }
}

/// Without what would end a value in QEMU's syntax.
fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.:".contains(*c)).collect()
}
