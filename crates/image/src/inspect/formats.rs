//! Each format's marks, and what makes one of its files unsafe. Sources: the formats' specifications as published by
//! QEMU (`docs/interop`), VMware, Microsoft and ISO; layouts are facts.

use super::{Format, HEAD, MAX_VIRTUAL_SIZE};

type Checked = Result<u64, &'static str>;

fn at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

fn be32(bytes: &[u8], offset: usize) -> Option<u32> {
    at(bytes, offset).map(u32::from_be_bytes)
}

fn be64(bytes: &[u8], offset: usize) -> Option<u64> {
    at(bytes, offset).map(u64::from_be_bytes)
}

fn le16(bytes: &[u8], offset: usize) -> Option<u16> {
    at(bytes, offset).map(u16::from_le_bytes)
}

fn le32(bytes: &[u8], offset: usize) -> Option<u32> {
    at(bytes, offset).map(u32::from_le_bytes)
}

fn le64(bytes: &[u8], offset: usize) -> Option<u64> {
    at(bytes, offset).map(u64::from_le_bytes)
}

fn has(bytes: &[u8], offset: usize, mark: &[u8]) -> bool {
    bytes.get(offset..).is_some_and(|rest| rest.starts_with(mark))
}

const SHORT: &str = "the file ends within its header";

/// Every format whose marks are there. `tail` is the end of the file, once it is known.
pub(super) fn matching(head: &[u8], tail: &[u8]) -> Vec<Format> {
    let marks: [(Format, bool); 13] = [
        (Format::Qcow2, has(head, 0, b"QFI\xfb")),
        (Format::Vmdk, has(head, 0, b"KDMV") || has(head, 0, b"COWD") || is_descriptor(head)),
        (Format::Vdi, has(head, 0x40, b"\x7f\x10\xda\xbe")),
        (Format::Vhd, has(head, 0, b"conectix") || (tail.len() == 512 && has(tail, 0, b"conectix"))),
        (Format::Vhdx, has(head, 0, b"vhdxfile")),
        (Format::Iso, has(head, 0x8001, b"CD001") || has(head, 0x8001, b"BEA01") || has(head, 0x8001, b"NSR0")),
        (Format::Luks, has(head, 0, b"LUKS\xba\xbe")),
        (Format::Partitioned, has(head, 510, b"\x55\xaa") || has(head, 512, b"EFI PART")),
        (Format::Foreign("qed"), has(head, 0, b"QED\0")),
        (Format::Foreign("parallels"), has(head, 0, b"WithoutFreeSpace") || has(head, 0, b"WithouFreSpacExt")),
        (Format::Foreign("bochs"), has(head, 0, b"Bochs Virtual HD Image")),
        (Format::Foreign("cloop"), has(head, 0, b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop")),
        (Format::Foreign("dmg"), tail.len() == 512 && has(tail, 0, b"koly")),
    ];
    marks.into_iter().filter(|(_, there)| *there).map(|(format, _)| format).collect()
}

/// A VMDK that is only a text: comments and blank lines, then the title.
fn is_descriptor(head: &[u8]) -> bool {
    let start = &head[..head.len().min(4096)];
    let mut lines = start.split(|b| *b == b'\n').map(|line| line.trim_ascii()).filter(|line| !line.is_empty());
    lines.next().is_some_and(|line| {
        let line = line.strip_prefix(b"#").unwrap_or(line).trim_ascii();
        line.eq_ignore_ascii_case(b"Disk DescriptorFile") || line.to_ascii_lowercase().starts_with(b"version=")
    }) && contains_ascii(start, b"createtype")
}

fn contains_ascii(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle))
}

/// Whether a file of this format may be opened by it; the size of the disk in it.
pub(super) fn check(format: Format, head: &[u8], tail: &[u8], size: u64) -> Checked {
    let virtual_size = match format {
        Format::Qcow2 => qcow2(head),
        Format::Vmdk => vmdk(head),
        Format::Vdi => vdi(head),
        Format::Vhd => vhd(if has(head, 0, b"conectix") { head } else { tail }),
        Format::Vhdx => vhdx(head),
        Format::Iso => Ok(iso(head).unwrap_or(size)),
        Format::Luks | Format::Partitioned => Ok(size),
        Format::Foreign(_) => Err("this format is not supported"),
    }?;
    if virtual_size > MAX_VIRTUAL_SIZE { Err("the virtual size is absurd") } else { Ok(virtual_size) }
}

/// QEMU refuses a first-level table beyond this.
const QCOW2_MAX_L1_BYTES: u64 = 32 * 1024 * 1024;
const QCOW2_EXTERNAL_DATA: u64 = 1 << 2;
const QCOW2_CORRUPT: u64 = 1 << 1;
/// Dirty, corrupt, external data, compression type, extended L2.
const QCOW2_KNOWN: u64 = 0b1_1111;

fn qcow2(head: &[u8]) -> Checked {
    let version = be32(head, 4).ok_or(SHORT)?;
    if !(2..=3).contains(&version) {
        return Err("unsupported version");
    }
    let backing = be64(head, 8).ok_or(SHORT)?;
    let backing_length = be32(head, 16).ok_or(SHORT)?;
    let cluster_bits = be32(head, 20).ok_or(SHORT)?;
    let virtual_size = be64(head, 24).ok_or(SHORT)?;
    let encryption = be32(head, 32).ok_or(SHORT)?;
    let l1_size = be32(head, 36).ok_or(SHORT)?;
    be64(head, 64).ok_or(SHORT)?;
    if backing != 0 || backing_length != 0 {
        return Err("it refers to a backing file");
    }
    if encryption != 0 {
        return Err("it is encrypted");
    }
    if !(9..=21).contains(&cluster_bits) {
        return Err("invalid cluster size");
    }
    if virtual_size > MAX_VIRTUAL_SIZE {
        return Err("the virtual size is absurd");
    }
    let mut header_length = 72;
    let mut entry_bits = 3;
    if version == 3 {
        let features = be64(head, 72).ok_or(SHORT)?;
        header_length = be32(head, 100).ok_or(SHORT)? as usize;
        if features & QCOW2_EXTERNAL_DATA != 0 {
            return Err("it keeps its data in another file");
        }
        if features & QCOW2_CORRUPT != 0 {
            return Err("it is marked as corrupt");
        }
        if features & !QCOW2_KNOWN != 0 {
            return Err("it needs features that are not known");
        }
        if header_length < 104 || header_length % 8 != 0 || header_length > 1 << cluster_bits {
            return Err("invalid header length");
        }
        // Extended entries are twice as long.
        entry_bits += u32::from(features & (1 << 4) != 0);
    }
    // A cluster of entries maps so many bytes; the first level has to cover the disk, and no more than that by much.
    let mapped_by_table_bits = cluster_bits + (cluster_bits - entry_bits);
    let needed = virtual_size.div_ceil(1 << mapped_by_table_bits);
    if u64::from(l1_size) < needed || u64::from(l1_size) * 8 > QCOW2_MAX_L1_BYTES {
        return Err("the first-level table does not fit the virtual size");
    }
    qcow2_extensions(head, header_length, 1 << cluster_bits)?;
    Ok(virtual_size)
}

/// Header extensions: type, length, data padded to 8 bytes; type 0 ends them. They lie in the first cluster.
fn qcow2_extensions(head: &[u8], start: usize, end: usize) -> Result<(), &'static str> {
    let mut offset = start;
    while offset + 8 <= end.min(HEAD) {
        let (Some(kind), Some(length)) = (be32(head, offset), be32(head, offset + 4)) else {
            // The file ends here: no more extensions.
            return Ok(());
        };
        match kind {
            0 => return Ok(()),
            0x4441_5441 => return Err("it names an external data file"),
            0x0537_be77 => return Err("it is encrypted"),
            // The name of the backing file's format is left over in images that have been flattened.
            _ => {}
        }
        let length = (length as usize).div_ceil(8) * 8;
        if length > end {
            return Err("invalid header extension");
        }
        offset += 8 + length;
    }
    Ok(())
}

const SECTOR: u64 = 512;
/// QEMU reads no longer descriptor.
const VMDK_MAX_DESCRIPTOR: u64 = 1024 * 1024;

/// Only files that hold everything themselves: hosted sparse extents with an embedded descriptor.
fn vmdk(head: &[u8]) -> Checked {
    if !has(head, 0, b"KDMV") {
        return Err("only monolithicSparse and streamOptimized are accepted");
    }
    let version = le32(head, 4).ok_or(SHORT)?;
    let capacity = le64(head, 12).ok_or(SHORT)?;
    let descriptor_at = le64(head, 28).ok_or(SHORT)?;
    let descriptor_sectors = le64(head, 36).ok_or(SHORT)?;
    if !(1..=3).contains(&version) {
        return Err("unsupported version");
    }
    // With no capacity, readers follow the descriptor to wherever it leads.
    if capacity == 0 {
        return Err("it has no capacity of its own");
    }
    let length = descriptor_sectors.checked_mul(SECTOR).filter(|l| (1..=VMDK_MAX_DESCRIPTOR).contains(l));
    let length = length.ok_or("invalid descriptor")? as usize;
    let start = descriptor_at.checked_mul(SECTOR).filter(|s| *s >= SECTOR && *s < HEAD as u64);
    let start = start.ok_or("invalid descriptor")? as usize;
    let text = head.get(start..start + length).ok_or(SHORT)?;
    vmdk_descriptor(text)?;
    capacity.checked_mul(SECTOR).ok_or("the virtual size is absurd")
}

fn vmdk_descriptor(text: &[u8]) -> Result<(), &'static str> {
    let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
    let text = std::str::from_utf8(&text[..end]).map_err(|_| "the descriptor is not a text")?;
    let (mut kind, mut extents) = (None, 0);
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let (name, value) = line.split_once('=').map_or((line, ""), |(n, v)| (n.trim(), v.trim()));
        let name = name.to_ascii_lowercase();
        let words: Vec<&str> = line.split_whitespace().collect();
        let access = words[0].to_ascii_uppercase();
        if matches!(access.as_str(), "RW" | "RDONLY" | "NOACCESS") {
            extents += 1;
            // RW 20480 SPARSE "disk.vmdk": within this file, which is opened as what it is. FLAT and VMFS are others.
            if words.len() != 4 || !words[2].eq_ignore_ascii_case("SPARSE") || words[3].contains(['/', '\\']) {
                return Err("it refers to extents in other files");
            }
        } else if name == "createtype" {
            if kind.is_some() {
                return Err("the descriptor contradicts itself");
            }
            kind = Some(value.trim_matches('"').to_ascii_lowercase());
        } else if name == "parentfilenamehint" || (name == "parentcid" && !value.eq_ignore_ascii_case("ffffffff")) {
            return Err("it refers to a parent");
        } else if value.is_empty() && !line.contains('=') {
            return Err("the descriptor has lines that are not known");
        }
    }
    match kind.as_deref() {
        Some("monolithicsparse" | "streamoptimized") if extents == 1 => Ok(()),
        Some("monolithicsparse" | "streamoptimized") => Err("it refers to extents in other files"),
        _ => Err("only monolithicSparse and streamOptimized are accepted"),
    }
}

fn vdi(head: &[u8]) -> Checked {
    let kind = le32(head, 0x4c).ok_or(SHORT)?;
    let virtual_size = le64(head, 0x170).ok_or(SHORT)?;
    match kind {
        1 | 2 => Ok(virtual_size),
        _ => Err("it refers to a parent"),
    }
}

/// A fixed or dynamic disk; the same 512 bytes are at the end of every VHD and at the start of a dynamic one.
fn vhd(header: &[u8]) -> Checked {
    let virtual_size = be64(header, 48).ok_or(SHORT)?;
    match be32(header, 60).ok_or(SHORT)? {
        2 | 3 => Ok(virtual_size),
        4 => Err("it refers to a parent"),
        _ => Err("unknown disk type"),
    }
}

const VHDX_METADATA: [u8; 16] = guid(0x8B7C_A206, 0x4790, 0x4B9A, *b"\xB8\xFE\x57\x5F\x05\x0F\x88\x6E");
const VHDX_SIZE: [u8; 16] = guid(0x2FA5_4224, 0xCD1B, 0x4876, *b"\xB2\x11\x5D\xBE\xD8\x3B\xF4\xB8");
const VHDX_PARAMETERS: [u8; 16] = guid(0xCAA1_6737, 0xFA36, 0x4D43, *b"\xB3\xB6\x33\xF0\xAA\x44\xE7\x6B");
const VHDX_PARENT: [u8; 16] = guid(0xA8D3_5F2D, 0xB30B, 0x454D, *b"\xAB\xF7\xD3\xD8\x48\x34\xAB\x0C");

/// A GUID as Microsoft lays it out: the first three parts little-endian.
const fn guid(a: u32, b: u16, c: u16, d: [u8; 8]) -> [u8; 16] {
    let (a, b, c) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
    [a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]]
}

fn vhdx(head: &[u8]) -> Checked {
    const REGIONS: usize = 192 * 1024;
    if !has(head, REGIONS, b"regi") {
        return Err("it has no region table");
    }
    let count = le32(head, REGIONS + 8).ok_or(SHORT)? as usize;
    if count > 2047 {
        return Err("invalid region table");
    }
    let region = (0..count)
        .map(|n| REGIONS + 16 + 32 * n)
        .find(|entry| at::<16>(head, *entry) == Some(VHDX_METADATA))
        .ok_or("it has no metadata")?;
    let start = usize::try_from(le64(head, region + 16).ok_or(SHORT)?).ok().filter(|s| *s < HEAD);
    let start = start.ok_or("its metadata is too far from its beginning")?;
    if !has(head, start, b"metadata") {
        return Err("invalid metadata");
    }
    let items = usize::from(le16(head, start + 10).ok_or(SHORT)?);
    if items > 2047 {
        return Err("invalid metadata");
    }
    let (mut size, mut parameters) = (None, None);
    for entry in (0..items).map(|n| start + 32 + 32 * n) {
        let id: [u8; 16] = at(head, entry).ok_or(SHORT)?;
        let value = start + le32(head, entry + 16).ok_or(SHORT)? as usize;
        match id {
            VHDX_PARENT => return Err("it refers to a parent"),
            VHDX_SIZE => size = Some(le64(head, value).ok_or(SHORT)?),
            VHDX_PARAMETERS => parameters = Some(le32(head, value + 4).ok_or(SHORT)?),
            _ => {}
        }
    }
    // Bit 1: there is a parent.
    match parameters {
        Some(flags) if flags & 2 == 0 => size.ok_or("it does not say its size"),
        Some(_) => Err("it refers to a parent"),
        None => Err("it has no parameters"),
    }
}

/// The volume's blocks times their size, from the primary descriptor.
fn iso(head: &[u8]) -> Option<u64> {
    if head.get(0x8000) != Some(&1) {
        return None;
    }
    let size = u64::from(le32(head, 0x8050)?) * u64::from(le16(head, 0x8080)?);
    (size > 0).then_some(size)
}
