//! A guest's root disk: a qcow2 overlay on the image.
//!
//! The image's bytes come from a tenant. Its header is read here, by few lines; no tool opens it before QEMU does,
//! which runs without privileges and is told every format.

use crate::hypervisor::{Failure, GuestRef};
use crate::images::ImageCache;
use crate::tools;
use ferrostack_contracts::image::DiskFormat;
use ferrostack_contracts::node::GuestSpec;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

const GIB: u64 = 1 << 30;

/// Makes `vm/disk.qcow2` on `base`, once.
pub(super) async fn ensure(
    guest: GuestRef<'_>,
    dir: &Path,
    spec: &GuestSpec,
    images: &ImageCache,
    owner: Option<u32>,
) -> Result<(), Failure> {
    let disk = dir.join("vm/disk.qcow2");
    if disk.symlink_metadata().is_ok() {
        return Ok(());
    }
    let base = dir.join("base");
    images.link(&spec.image, &base).await?;
    let mut file = File::open(&base).map_err(|e| Failure::io("open a base image", &e))?;
    let size = root_size(virtual_size(&mut file, spec.image.format)?, spec.root_gb)?;
    let temporary = dir.join("disk.new");
    let _ = fs::remove_file(&temporary);
    // With -u the base is not opened: all that the tool would learn there is given.
    let args =
        ["create", "-q", "-u", "-f", "qcow2", "-b", "../base", "-F", spec.image.format.as_str(), "-o", "compat=1.1"];
    let mut args: Vec<String> = args.iter().map(ToString::to_string).collect();
    args.extend([temporary.display().to_string(), size.to_string()]);
    tools::run("qemu-img", &args, tools::SMALL).await?;
    tracing::debug!(server = %guest.server, size, "disk made");
    give(&temporary, owner)?;
    fs::rename(&temporary, &disk).map_err(|e| Failure::io("rename a disk", &e))
}

/// Makes a file a guest's own.
pub(super) fn give(path: &Path, owner: Option<u32>) -> Result<(), Failure> {
    match owner {
        Some(id) => {
            std::os::unix::fs::lchown(path, Some(id), Some(id)).map_err(|e| Failure::io("give a file away", &e))
        }
        None => Ok(()),
    }
}

fn root_size(image: u64, root_gb: u64) -> Result<u64, Failure> {
    if root_gb == 0 {
        return Ok(image.next_multiple_of(512));
    }
    if image > root_gb.saturating_mul(GIB) {
        let text =
            format!("The image's disk of {} GiB is larger than the flavor's of {root_gb} GiB.", image.div_ceil(GIB));
        return Err(Failure::permanent(text.clone(), text));
    }
    Ok(root_gb.saturating_mul(GIB))
}

/// How large a disk the image is, after a look at what it refers to: nothing, or it is refused.
fn virtual_size(file: &mut File, format: DiskFormat) -> Result<u64, Failure> {
    let length = file.metadata().map_err(|e| Failure::io("look at a base image", &e))?.len();
    if format == DiskFormat::Raw {
        return Ok(length);
    }
    let mut header = Vec::new();
    file.take(104).read_to_end(&mut header).map_err(|e| Failure::io("read a base image", &e))?;
    qcow2_size(&header).map_err(|why| Failure::permanent("The image is not usable: it is no plain qcow2 image.", why))
}

fn qcow2_size(header: &[u8]) -> Result<u64, &'static str> {
    let word = |at: usize| header.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    let long = |at: usize| Some(u64::from(word(at)?) << 32 | u64::from(word(at + 4)?));
    let (Some(magic), Some(version), Some(backing), Some(size), Some(crypt)) =
        (word(0), word(4), long(8), long(24), word(32))
    else {
        return Err("the header is cut short");
    };
    if magic != 0x5146_49fb || !(2..=3).contains(&version) {
        return Err("not qcow2 version 2 or 3");
    }
    if backing != 0 {
        return Err("it names a backing file");
    }
    if crypt != 0 {
        return Err("it is encrypted");
    }
    if version == 3 {
        // Bit 0: dirty refcounts, bit 3: compression type, bit 4: extended L2 entries. Bit 2 is an external data file,
        // bit 1 marks corruption, others are unknown.
        match long(72) {
            Some(features) if features & !0b1_1001 == 0 => {}
            Some(_) => return Err("it needs features that are not allowed, such as an external data file"),
            None => return Err("the header is cut short"),
        }
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(change: impl Fn(&mut [u8])) -> Vec<u8> {
        let mut header = vec![0; 104];
        header[..4].copy_from_slice(b"QFI\xfb");
        header[7] = 3;
        header[24..32].copy_from_slice(&(5 * GIB).to_be_bytes());
        change(&mut header);
        header
    }

    #[test]
    fn refuses_images_that_refer_to_something_else() {
        assert_eq!(qcow2_size(&header(|_| ())), Ok(5 * GIB));
        assert!(qcow2_size(&header(|h| h[15] = 1)).is_err());
        assert!(qcow2_size(&header(|h| h[79] = 4)).is_err());
        assert!(qcow2_size(&header(|h| h[35] = 2)).is_err());
        assert!(qcow2_size(&header(|h| h[7] = 9)).is_err());
        assert!(qcow2_size(b"QFI\xfb").is_err());
    }

    #[test]
    fn a_flavor_disk_is_never_smaller_than_the_image() {
        assert_eq!(root_size(5 * GIB, 0).unwrap(), 5 * GIB);
        assert_eq!(root_size(5 * GIB, 10).unwrap(), 10 * GIB);
        let failure = root_size(5 * GIB, 4).unwrap_err();
        assert!(!failure.passing && !failure.error.elsewhere);
    }
}
