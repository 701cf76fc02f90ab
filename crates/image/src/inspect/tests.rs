//! Files that QEMU's own tools make are recognised; files that refer to others, lie or are broken are refused.

use super::*;
use proptest::prelude::*;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

fn inspect(declared: &str, bytes: &[u8]) -> Result<Inspected, Refusal> {
    let mut inspector = Inspector::new(declared);
    // In odd pieces, so that nothing depends on how a network cuts.
    for piece in bytes.chunks(70_001) {
        inspector.feed(&Bytes::copy_from_slice(piece))?;
    }
    inspector.finish()
}

struct Files(TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs `qemu-img` here and reads the file that it made.
    fn make(&self, name: &str, arguments: &[&str]) -> Vec<u8> {
        let done = Command::new("qemu-img").args(arguments).current_dir(self.0.path()).output().expect("qemu-img runs");
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        std::fs::read(self.path(name)).unwrap()
    }

    fn create(&self, format: &str, options: &str) -> Vec<u8> {
        let mut arguments = vec!["create", "-q", "-f", format];
        if !options.is_empty() {
            arguments.extend(["-o", options]);
        }
        arguments.extend(["disk", "10M"]);
        self.make("disk", &arguments)
    }
}

const MIB: u64 = 1024 * 1024;

fn verified(declared: &str, bytes: &[u8], virtual_size: u64) {
    let found = inspect(declared, bytes).unwrap_or_else(|e| panic!("{declared}: {e}"));
    assert_eq!(found, Inspected { verified: true, virtual_size: Some(virtual_size) }, "{declared}");
    // The same bytes under another name are a lie.
    for other in INSPECTABLE.iter().filter(|other| **other != declared) {
        assert!(matches!(inspect(other, bytes), Err(Refusal::Mismatch { .. })), "{declared} declared as {other}");
    }
    assert!(matches!(inspect("aki", bytes), Err(Refusal::Mismatch { .. })), "{declared} declared as aki");
}

fn refused(declared: &str, bytes: &[u8], why: &str) {
    match inspect(declared, bytes) {
        Err(refusal) => assert!(refusal.to_string().contains(why), "{declared}: {refusal}"),
        Ok(found) => panic!("{declared} passed as {found:?}"),
    }
}

#[test]
fn what_qemu_makes_is_recognised() {
    let files = Files::new();
    verified("qcow2", &files.create("qcow2", "compat=0.10"), 10 * MIB);
    verified("qcow2", &files.create("qcow2", "compat=1.1,lazy_refcounts=on,cluster_size=4k"), 10 * MIB);
    verified("qcow2", &files.create("qcow2", "extended_l2=on,compression_type=zstd"), 10 * MIB);
    verified("vdi", &files.create("vdi", ""), 10 * MIB);
    verified("vdi", &files.create("vdi", "static=on"), 10 * MIB);
    verified("vhd", &files.create("vpc", "force_size=on"), 10 * MIB);
    verified("vhd", &files.create("vpc", "subformat=fixed,force_size=on"), 10 * MIB);
    verified("vhdx", &files.create("vhdx", ""), 10 * MIB);
    verified("vmdk", &files.create("vmdk", ""), 10 * MIB);
    verified("vmdk", &files.create("vmdk", "subformat=streamOptimized"), 10 * MIB);
    for format in ["qed", "parallels"] {
        let bytes = files.create(format, "");
        refused("raw", &bytes, "did not match");
        refused("qcow2", &bytes, "did not match");
    }
}

#[test]
fn plain_bytes_are_raw_with_or_without_partitions() {
    let mut disk = vec![0_u8; 2 * 1024 * 1024];
    assert_eq!(inspect("raw", &disk).unwrap().virtual_size, Some(2 * MIB));
    disk[510..512].copy_from_slice(b"\x55\xaa");
    disk[512..520].copy_from_slice(b"EFI PART");
    assert!(inspect("raw", &disk).unwrap().verified);
    // What cannot be told from its bytes is not said to be verified.
    assert_eq!(inspect("aki", &disk).unwrap(), Inspected { verified: false, virtual_size: None });
    for declared in ["qcow2", "vmdk", "vdi", "vhd", "vhdx", "iso"] {
        refused(declared, &disk, "does not match stream data raw");
    }
    assert_eq!(inspect("raw", b"").unwrap().virtual_size, Some(0));
    refused("qcow2", b"", "did not match");
}

#[test]
fn a_cd_may_also_start_a_disk() {
    let mut cd = vec![0_u8; 0x8000 + 4096];
    cd[0x8000] = 1;
    cd[0x8001..0x8006].copy_from_slice(b"CD001");
    cd[0x8050..0x8054].copy_from_slice(&18_u32.to_le_bytes());
    cd[0x8080..0x8082].copy_from_slice(&2048_u16.to_le_bytes());
    cd[510..512].copy_from_slice(b"\x55\xaa");
    verified("iso", &cd, 18 * 2048);
    // Both at once: whoever opens it by another rule than ours sees something else.
    cd[..4].copy_from_slice(b"QFI\xfb");
    refused("iso", &cd, "qcow2 and iso");
    refused("qcow2", &cd, "qcow2 and iso");
}

/// Attacks A1 and A2: a file of the host is to appear in the guest.
#[test]
fn nothing_that_refers_to_other_files_passes() {
    let files = Files::new();
    let canary = files.path("canary");
    std::fs::write(&canary, vec![7; MIB as usize]).unwrap();
    let canary = canary.to_str().unwrap();
    let backed = files.make("disk", &["create", "-q", "-f", "qcow2", "-b", canary, "-F", "raw", "disk"]);
    refused("qcow2", &backed, "backing file");
    refused("raw", &backed, "did not match");
    let data = files.create("qcow2", "data_file=external,data_file_raw=on");
    refused("qcow2", &data, "another file");
    refused("raw", &data, "did not match");
    // The bit cleared, the name of the data file left in its extension.
    let mut named = data;
    named[79] &= !4;
    refused("qcow2", &named, "external data file");
    for subformat in ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"] {
        let bytes = files.create("vmdk", &format!("subformat={subformat}"));
        refused("vmdk", &bytes, "");
        refused("raw", &bytes, "did not match");
    }
    let hand_made = format!(
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n\
         RW 2048 FLAT \"{canary}\" 0\n"
    );
    refused("vmdk", hand_made.as_bytes(), "only monolithicSparse");
    refused("raw", hand_made.as_bytes(), "did not match");
    let qed = files.make("child", &["create", "-q", "-f", "qed", "-b", canary, "-F", "raw", "child"]);
    refused("raw", &qed, "did not match");
}

#[test]
fn a_sparse_vmdk_must_not_lead_elsewhere_either() {
    let files = Files::new();
    let good = files.create("vmdk", "");
    let replace = |from: &str, to: &str| {
        let mut bytes = good.clone();
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap_or_else(|| panic!("{from}"));
        // The descriptor is padded with zeroes: a longer text just takes some of them.
        let end = at + bytes[at..].iter().position(|b| *b == 0).unwrap();
        let rest = bytes[at + from.len()..end].to_vec();
        let new = [to.as_bytes(), &rest].concat();
        bytes[at..end].fill(0);
        bytes[at..at + new.len()].copy_from_slice(&new);
        bytes
    };
    refused("vmdk", &replace("monolithicSparse", "monolithicFlat"), "only monolithicSparse");
    refused("vmdk", &replace("SPARSE \"disk\"", "FLAT \"/etc/shadow\" 0"), "other files");
    refused("vmdk", &replace("SPARSE \"disk\"", "SPARSE \"../../../etc/shadow\""), "other files");
    refused("vmdk", &replace("SPARSE \"disk\"", "SPARSE \"disk\"\nRW 1 FLAT \"/etc/shadow\" 0"), "other files");
    refused("vmdk", &replace("parentCID=ffffffff", "parentCID=00000001"), "parent");
    refused("vmdk", &replace("parentCID=", "parentFileNameHint=\"/x\"\nparentCID="), "parent");
    let mut bytes = good.clone();
    bytes[12..20].fill(0);
    refused("vmdk", &bytes, "no capacity");
}

#[test]
fn headers_that_do_not_hold_together_are_refused() {
    let files = Files::new();
    let good = files.create("qcow2", "");
    let with = |offset: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[offset..offset + bytes.len()].copy_from_slice(bytes);
        changed
    };
    refused("qcow2", &with(4, &9_u32.to_be_bytes()), "unsupported version");
    refused("qcow2", &with(4, &1_u32.to_be_bytes()), "unsupported version");
    refused("qcow2", &with(20, &30_u32.to_be_bytes()), "cluster size");
    refused("qcow2", &with(24, &u64::MAX.to_be_bytes()), "absurd");
    refused("qcow2", &with(24, &(1_u64 << 49).to_be_bytes()), "first-level table");
    refused("qcow2", &with(36, &u32::MAX.to_be_bytes()), "first-level table");
    refused("qcow2", &with(32, &1_u32.to_be_bytes()), "encrypted");
    refused("qcow2", &with(72, &(1_u64 << 40).to_be_bytes()), "not known");
    refused("qcow2", &with(72, &2_u64.to_be_bytes()), "corrupt");
    refused("qcow2", &with(100, &105_u32.to_be_bytes()), "header length");
    refused("qcow2", &good[..50], "ends within");
    refused("luks", &good, "did not match");
    let vhd = files.create("vpc", "");
    let mut differencing = vhd.clone();
    differencing[60..64].copy_from_slice(&4_u32.to_be_bytes());
    refused("vhd", &differencing, "parent");
    let mut differencing = files.create("vdi", "");
    differencing[0x4c] = 4;
    refused("vdi", &differencing, "parent");
    let mut vhdx = files.create("vhdx", "");
    let find = |bytes: &[u8], mark: &[u8]| bytes.windows(mark.len()).position(|w| w == mark).unwrap();
    let metadata = find(&vhdx, b"metadata");
    let entry = metadata + find(&vhdx[metadata..], b"\x37\x67\xA1\xCA\x36\xFA\x43\x4D");
    let value = u32::from_le_bytes(vhdx[entry + 16..entry + 20].try_into().unwrap()) as usize;
    vhdx[metadata + value + 4] |= 2;
    refused("vhdx", &vhdx, "parent");
}

/// A lie in a large image is told at once, not after its last byte.
#[test]
fn a_lie_is_noticed_early() {
    let mut bytes = vec![0; HEAD];
    bytes[..4].copy_from_slice(b"QFI\xfb");
    assert!(Inspector::new("raw").feed(&Bytes::from(bytes)).is_err());
    // A fixed VHD of more than the head shows itself only at the end.
    let mut bytes = vec![0; HEAD + 1024 * 1024];
    let end = bytes.len() - 512;
    bytes[510..512].copy_from_slice(b"\x55\xaa");
    bytes[end..end + 8].copy_from_slice(b"conectix");
    bytes[end + 48..end + 56].copy_from_slice(&(end as u64).to_be_bytes());
    bytes[end + 63] = 2;
    assert_eq!(inspect("vhd", &bytes).unwrap().virtual_size, Some(end as u64));
    refused("raw", &bytes, "did not match");
}

fn samples() -> &'static [(&'static str, Vec<u8>)] {
    static SAMPLES: std::sync::OnceLock<Vec<(&str, Vec<u8>)>> = std::sync::OnceLock::new();
    SAMPLES.get_or_init(|| {
        let files = Files::new();
        vec![
            ("qcow2", files.create("qcow2", "")),
            ("vmdk", files.create("vmdk", "")),
            ("vdi", files.create("vdi", "")),
            ("vhd", files.create("vpc", "")),
            ("vhdx", files.create("vhdx", "")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever the bytes are, there is an answer and no panic; and an accepted size is never absurd.
    #[test]
    fn broken_headers_are_survived(
        which in 0..5_usize,
        cut in 0..3_000_000_usize,
        changes in prop::collection::vec((0..2_200_000_usize, any::<u64>()), 0..12),
        near in prop::collection::vec((0..600_usize, any::<u8>()), 0..12),
    ) {
        let (declared, good) = &samples()[which];
        let mut bytes = good.clone();
        for (at, value) in changes {
            if let Some(place) = bytes.get_mut(at..at + 8) {
                place.copy_from_slice(&value.to_le_bytes());
            }
        }
        for (at, value) in near {
            if let Some(place) = bytes.get_mut(at) {
                *place = value;
            }
        }
        bytes.truncate(cut);
        if let Ok(found) = inspect(declared, &bytes) {
            prop_assert!(found.virtual_size.unwrap_or_default() <= MAX_VIRTUAL_SIZE);
        }
    }

    #[test]
    fn noise_is_survived(head in prop::collection::vec(any::<u8>(), 0..2048), mark in 0..8_usize) {
        let marks: [&[u8]; 8] =
            [b"", b"QFI\xfb\0\0\0\x03", b"KDMV\x01\0\0\0", b"vhdxfile", b"conectix", b"LUKS\xba\xbe", b"QED\0", b"# Disk DescriptorFile\n"];
        let bytes = [marks[mark], head.as_slice()].concat();
        for declared in INSPECTABLE {
            drop(inspect(declared, &bytes));
        }
    }
}
