//! What an image's bytes really are.
//!
//! A declared format is a promise, and everything behind it trusts that promise: a node opens the file with the
//! declared format, and that format's driver does what the file's header says, such as opening other files of the
//! host. So the bytes are looked at while they are uploaded, by this code alone: no tool is run, nothing is guessed
//! from a name, and whatever is not understood is refused.
//!
//! ```text
//!   bytes ──► Inspector: the first 4 MiB and the last 512 bytes are kept ──► which formats match? ──► is it safe?
//! ```
//!
//! What is refused beside a wrong format: anything that refers to bytes outside of the file (backing files, external
//! data files, parents, extents in other files), that would be two formats at once, or whose header does not hold
//! together.

mod formats;

use bytes::{Bytes, BytesMut};
use std::fmt;

/// So many bytes of the beginning are kept: VHDX has its metadata behind 2 MiB, everything else is in front.
pub const HEAD: usize = 4 * 1024 * 1024;

/// A fixed VHD has its header at its end.
const TAIL: usize = 512;

/// No disk is larger: 1 PiB. A larger claim is an attack or an accident.
pub const MAX_VIRTUAL_SIZE: u64 = 1 << 50;

/// A format that is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// QEMU's copy-on-write format.
    Qcow2,
    /// VMware's.
    Vmdk,
    /// VirtualBox's.
    Vdi,
    /// Microsoft's older one.
    Vhd,
    /// Microsoft's newer one.
    Vhdx,
    /// A CD's or DVD's file system.
    Iso,
    /// An encrypted disk.
    Luks,
    /// A disk with a partition table. Nothing but plain bytes to us.
    Partitioned,
    /// A format of QEMU's that images must not have.
    Foreign(&'static str),
}

impl Format {
    /// The name in the API's `disk_format`.
    pub fn name(self) -> &'static str {
        match self {
            Format::Qcow2 => "qcow2",
            Format::Vmdk => "vmdk",
            Format::Vdi => "vdi",
            Format::Vhd => "vhd",
            Format::Vhdx => "vhdx",
            Format::Iso => "iso",
            Format::Luks => "luks",
            Format::Partitioned => "raw",
            Format::Foreign(name) => name,
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspected {
    /// Whether the bytes bear out the declared format; if not, nothing about them contradicts it.
    pub verified: bool,
    /// How large the disk is that a guest sees.
    pub virtual_size: Option<u64>,
}

/// Why the bytes are not accepted. Its text is for the tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// They are something else than declared.
    Mismatch {
        /// What was declared.
        declared: String,
        /// What they look like.
        found: String,
    },
    /// They are of the declared format, and dangerous or broken.
    Unsafe(&'static str, &'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Mismatch { declared, found } => write!(
                f,
                "Image content did not match disk_format: Image disk_format {declared} does not match stream data {found}"
            ),
            Refusal::Unsafe(format, why) => write!(f, "Image failed safety checks: {format}: {why}"),
        }
    }
}

/// The declared formats that can be told from their bytes; what is declared as anything else (`aki`, `ploop` ...) must
/// not look like one of the known ones.
const INSPECTABLE: [&str; 8] = ["raw", "qcow2", "vmdk", "vdi", "vhd", "vhdx", "iso", "luks"];

/// Looks at bytes that go by.
pub struct Inspector {
    declared: String,
    head: BytesMut,
    tail: Vec<u8>,
    size: u64,
    looked: bool,
}

impl Inspector {
    /// For bytes that are declared as `disk_format`.
    pub fn new(declared: &str) -> Inspector {
        Inspector { declared: declared.to_owned(), head: BytesMut::new(), tail: Vec::new(), size: 0, looked: false }
    }

    /// The next bytes. Fails as soon as enough is known to refuse them.
    pub fn feed(&mut self, bytes: &Bytes) -> Result<(), Refusal> {
        self.size += bytes.len() as u64;
        let wanted = HEAD.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..wanted]);
        self.keep_tail(bytes);
        if self.head.len() == HEAD && !self.looked {
            self.looked = true;
            // A footer may still come, so what is missing is not held against it yet.
            let found = formats::matching(&self.head, &[]);
            if found.iter().any(|f| *f != Format::Partitioned) {
                self.judge(&found).map(|_| ())?;
            }
        }
        Ok(())
    }

    fn keep_tail(&mut self, bytes: &[u8]) {
        let from = bytes.len().saturating_sub(TAIL);
        self.tail.extend_from_slice(&bytes[from..]);
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
    }

    /// All bytes have been seen.
    pub fn finish(&self) -> Result<Inspected, Refusal> {
        self.judge(&formats::matching(&self.head, &self.tail))
    }

    fn judge(&self, found: &[Format]) -> Result<Inspected, Refusal> {
        // A partition table says nothing: a bootable CD, a fixed VHD and a plain disk may all have one.
        let telling: Vec<Format> = found.iter().copied().filter(|f| *f != Format::Partitioned).collect();
        let mismatch = |found: String| Err(Refusal::Mismatch { declared: self.declared.clone(), found });
        match telling.as_slice() {
            [] if self.declared == "raw" => Ok(Inspected { verified: true, virtual_size: Some(self.size) }),
            [] if INSPECTABLE.contains(&self.declared.as_str()) => mismatch("raw".to_owned()),
            [] => Ok(Inspected { verified: false, virtual_size: None }),
            [one] if one.name() == self.declared => {
                let virtual_size = formats::check(*one, &self.head, &self.tail, self.size)
                    .map_err(|why| Refusal::Unsafe(one.name(), why))?;
                Ok(Inspected { verified: true, virtual_size: Some(virtual_size) })
            }
            [one] => mismatch(one.name().to_owned()),
            // Somebody wants two programs to see two different things.
            several => mismatch(several.iter().map(|f| f.name()).collect::<Vec<_>>().join(" and ")),
        }
    }
}

#[cfg(test)]
mod tests;
