//! A small ISO 9660 image with Rock Ridge, for a config drive.
//!
//! ```text
//!  sector 16      primary volume descriptor      20..  directories, each in whole sectors
//!         17      terminator                      ..   files
//!         18, 19  path tables, both byte orders
//!  after them     the text that announces Rock Ridge
//! ```
//!
//! The plain names are numbers; what a guest sees are the Rock Ridge names.

use ferrostack_types::Timestamp;
use std::collections::BTreeMap;

const SECTOR: usize = 2048;

struct Dir {
    parent: usize,
    name: String,
    /// Index into the directories, or nothing for a file.
    children: Vec<(String, Child)>,
}

#[derive(Clone, Copy)]
enum Child {
    Dir(usize),
    File(usize),
}

/// The image of these files, whose names may have directories in them.
pub(super) fn image(label: &str, files: &BTreeMap<String, Vec<u8>>, now: Timestamp) -> Vec<u8> {
    let bodies: Vec<&Vec<u8>> = files.values().collect();
    let dirs = tree(files);
    let stamp = Stamp::new(now);
    // First where everything will be, then its bytes.
    let path_sectors = sectors(path_table(&dirs, &vec![0; dirs.len()], true).len());
    let announcement_at = 18 + 2 * path_sectors;
    let mut next = announcement_at + 1;
    let mut place = |bytes: usize| {
        let at = next;
        next += sectors(bytes).max(1);
        at
    };
    let dir_at: Vec<usize> = dirs.iter().enumerate().map(|(i, _)| place(dir_size(&dirs, i))).collect();
    let file_at: Vec<usize> = bodies.iter().map(|body| place(body.len())).collect();
    let total = next;

    let layout = Layout { dirs: &dirs, dir_at: &dir_at, file_at: &file_at, bodies: &bodies, stamp, announcement_at };
    let mut out = Image(vec![0; total * SECTOR]);
    let table = path_table(&dirs, &dir_at, true);
    out.put(16, &layout.volume_descriptor(label, total, table.len(), 18, 18 + path_sectors));
    out.put(17, b"\xffCD001\x01");
    out.put(18, &table);
    out.put(18 + path_sectors, &path_table(&dirs, &dir_at, false));
    out.put(announcement_at, &announcement());
    for (index, at) in dir_at.iter().enumerate() {
        out.put(*at, &layout.directory(index));
    }
    for (body, at) in bodies.iter().zip(&file_at) {
        out.put(*at, body);
    }
    out.0
}

struct Image(Vec<u8>);

impl Image {
    fn put(&mut self, sector: usize, bytes: &[u8]) {
        self.0[sector * SECTOR..][..bytes.len()].copy_from_slice(bytes);
    }
}

/// Directories in the order of the path table: parents before children.
fn tree(files: &BTreeMap<String, Vec<u8>>) -> Vec<Dir> {
    let mut dirs = vec![Dir { parent: 0, name: String::new(), children: Vec::new() }];
    let depth = files.keys().map(|path| path.matches('/').count()).max().unwrap_or(0);
    let mut known: BTreeMap<&str, usize> = BTreeMap::from([("", 0)]);
    for level in 1..=depth {
        for path in files.keys() {
            let Some((end, _)) = path.match_indices('/').nth(level - 1) else { continue };
            let path = &path[..end];
            if known.contains_key(path) {
                continue;
            }
            let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
            let (parent, index) = (known[above], dirs.len());
            dirs.push(Dir { parent, name: name.to_owned(), children: Vec::new() });
            dirs[parent].children.push((name.to_owned(), Child::Dir(index)));
            known.insert(path, index);
        }
    }
    for (index, path) in files.keys().enumerate() {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        dirs[known[above]].children.push((name.to_owned(), Child::File(index)));
    }
    dirs
}

fn sectors(bytes: usize) -> usize {
    bytes.div_ceil(SECTOR)
}

fn plain_name(child: Child) -> String {
    match child {
        Child::Dir(index) => format!("D{index:07}"),
        Child::File(index) => format!("F{index:07}.;1"),
    }
}

fn path_table(dirs: &[Dir], at: &[usize], little: bool) -> Vec<u8> {
    let mut table = Vec::new();
    for (index, dir) in dirs.iter().enumerate() {
        let name = if index == 0 { vec![0] } else { plain_name(Child::Dir(index)).into_bytes() };
        table.extend([u8::try_from(name.len()).unwrap_or(0), 0]);
        let (place, parent) = (number(at[index]), u16::try_from(dir.parent + 1).unwrap_or(1));
        if little {
            table.extend(place.to_le_bytes());
            table.extend(parent.to_le_bytes());
        } else {
            table.extend(place.to_be_bytes());
            table.extend(parent.to_be_bytes());
        }
        let odd = name.len() % 2;
        table.extend(name);
        table.extend(vec![0; odd]);
    }
    table
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn both(value: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&value.to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_be_bytes());
    bytes
}

fn both16(value: u16) -> [u8; 4] {
    let (l, b) = (value.to_le_bytes(), value.to_be_bytes());
    [l[0], l[1], b[0], b[1]]
}

#[derive(Clone)]
struct Stamp {
    short: [u8; 7],
    long: [u8; 17],
}

impl Stamp {
    fn new(now: Timestamp) -> Stamp {
        // `2026-11-22T16:00:00Z`
        let text = now.to_iso();
        let part = |from: usize, to: usize| text.get(from..to).and_then(|t| t.parse::<u16>().ok()).unwrap_or(0);
        let byte = |value: u16| u8::try_from(value).unwrap_or(0);
        let year = byte(part(0, 4).saturating_sub(1900));
        let short =
            [year, byte(part(5, 7)), byte(part(8, 10)), byte(part(11, 13)), byte(part(14, 16)), byte(part(17, 19)), 0];
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_digit).chain(*b"00").collect();
        let mut long = [0; 17];
        long[..16].copy_from_slice(digits.get(..16).unwrap_or(&[b'0'; 16]));
        Stamp { short, long }
    }
}

/// The entries of a directory record that say what the file really is.
fn rock_ridge(name: Option<&str>, is_dir: bool, root_dot_at: Option<usize>) -> Vec<u8> {
    let mut entries = Vec::new();
    if let Some(at) = root_dot_at {
        entries.extend(*b"SP\x07\x01\xbe\xef\x00");
        entries.extend(*b"CE\x1c\x01");
        for value in [number(at), 0, number(announcement().len())] {
            entries.extend(both(value));
        }
    }
    entries.extend(*b"PX\x24\x01");
    let mode: u32 = if is_dir { 0o040_555 } else { 0o100_444 };
    for value in [mode, if is_dir { 2 } else { 1 }, 0, 0] {
        entries.extend(both(value));
    }
    if let Some(name) = name {
        entries.extend(*b"NM");
        entries.extend([u8::try_from(name.len() + 5).unwrap_or(5), 1, 0]);
        entries.extend(name.as_bytes());
    }
    entries
}

/// Says that Rock Ridge is used.
fn announcement() -> Vec<u8> {
    let (id, text, source) = ("RRIP_1991A", "THE ROCK RIDGE INTERCHANGE PROTOCOL", "SEE PUBLISHER");
    let lengths = [id.len(), text.len(), source.len()].map(|n| u8::try_from(n).unwrap_or(0));
    let mut entry = b"ER".to_vec();
    entry.extend([8 + lengths.iter().sum::<u8>(), 1, lengths[0], lengths[1], lengths[2], 1]);
    for part in [id, text, source] {
        entry.extend(part.as_bytes());
    }
    entry
}

fn record_size(name: usize, system: usize) -> usize {
    let plain = 33 + name + (name + 1) % 2;
    (plain + system).next_multiple_of(2)
}

/// Records do not cross sectors.
fn advance(offset: usize, size: usize) -> usize {
    let at = if offset % SECTOR + size > SECTOR { offset.next_multiple_of(SECTOR) } else { offset };
    at + size
}

fn dir_size(dirs: &[Dir], index: usize) -> usize {
    let mut size = record_size(1, rock_ridge(None, true, (index == 0).then_some(0)).len());
    size = advance(size, record_size(1, rock_ridge(None, true, None).len()));
    for (name, child) in &dirs[index].children {
        let system = rock_ridge(Some(name), matches!(child, Child::Dir(_)), None).len();
        size = advance(size, record_size(plain_name(*child).len(), system));
    }
    size.next_multiple_of(SECTOR)
}

struct Layout<'a> {
    dirs: &'a [Dir],
    dir_at: &'a [usize],
    file_at: &'a [usize],
    bodies: &'a [&'a Vec<u8>],
    stamp: Stamp,
    announcement_at: usize,
}

impl Layout<'_> {
    fn record(&self, name: &[u8], at: usize, size: usize, is_dir: bool, system: &[u8]) -> Vec<u8> {
        let length = record_size(name.len(), system.len());
        let mut record = vec![u8::try_from(length).unwrap_or(u8::MAX), 0];
        record.extend(both(number(at)));
        record.extend(both(number(size)));
        record.extend(self.stamp.short);
        record.extend([if is_dir { 2 } else { 0 }, 0, 0]);
        record.extend(both16(1));
        record.push(u8::try_from(name.len()).unwrap_or(0));
        record.extend(name);
        record.extend(vec![0; (name.len() + 1) % 2]);
        record.extend(system);
        record.resize(length, 0);
        record
    }

    fn dot(&self, name: u8, of: usize, announce: bool) -> Vec<u8> {
        let system = rock_ridge(None, true, announce.then_some(self.announcement_at));
        self.record(&[name], self.dir_at[of], dir_size(self.dirs, of), true, &system)
    }

    fn directory(&self, index: usize) -> Vec<u8> {
        let dir = &self.dirs[index];
        debug_assert!(index == 0 || !dir.name.is_empty());
        let mut records = vec![self.dot(0, index, index == 0), self.dot(1, dir.parent, false)];
        // In the order of the plain names, as the standard wants it.
        let mut children: Vec<&(String, Child)> = dir.children.iter().collect();
        children.sort_by_key(|(_, child)| plain_name(*child));
        for (name, child) in children {
            let (at, size, is_dir) = match child {
                Child::Dir(child) => (self.dir_at[*child], dir_size(self.dirs, *child), true),
                Child::File(file) => (self.file_at[*file], self.bodies[*file].len(), false),
            };
            let system = rock_ridge(Some(name), is_dir, None);
            records.push(self.record(plain_name(*child).as_bytes(), at, size, is_dir, &system));
        }
        let mut bytes = Vec::new();
        for record in records {
            let end = advance(bytes.len(), record.len());
            bytes.resize(end - record.len(), 0);
            bytes.extend(record);
        }
        bytes
    }

    fn volume_descriptor(&self, label: &str, total: usize, table: usize, little_at: usize, big_at: usize) -> Vec<u8> {
        let padded = |text: &str, length: usize| format!("{text:length$}").into_bytes();
        let mut bytes = b"\x01CD001\x01\x00".to_vec();
        bytes.extend(padded("", 32));
        bytes.extend(padded(label, 32));
        bytes.extend([0; 8]);
        bytes.extend(both(number(total)));
        bytes.extend([0; 32]);
        bytes.extend(both16(1));
        bytes.extend(both16(1));
        bytes.extend(both16(2048));
        bytes.extend(both(number(table)));
        bytes.extend(number(little_at).to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(number(big_at).to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.record(&[0], self.dir_at[0], dir_size(self.dirs, 0), true, &[]));
        // Set, publisher, preparer, application, and three file names: all blank.
        bytes.extend(padded("", 4 * 128 + 3 * 37));
        bytes.extend(&self.stamp.long);
        bytes.extend(&self.stamp.long);
        bytes.extend([b'0'; 16]);
        bytes.push(0);
        bytes.extend(&self.stamp.long);
        bytes.extend([1, 0]);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn another_program_reads_what_was_written() {
        let mut files = BTreeMap::from([
            ("openstack/latest/meta_data.json".to_owned(), b"{\"a\":1}".to_vec()),
            ("openstack/latest/user_data".to_owned(), vec![b'x'; 70_000]),
            ("openstack/2012-08-10/meta_data.json".to_owned(), b"old".to_vec()),
            ("empty".to_owned(), Vec::new()),
        ]);
        // More than one sector of records.
        for number in 0..60 {
            files.insert(format!("content/a-file-with-a-longer-name-{number}"), number.to_string().into_bytes());
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.iso");
        std::fs::write(&path, image("config-2", &files, Timestamp::from_secs(1_795_363_200))).unwrap();
        let isoinfo = |args: &[&str]| {
            let output = Command::new("isoinfo").arg("-i").arg(&path).args(args).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        };
        let header = String::from_utf8(isoinfo(&["-d"])).unwrap();
        assert!(header.contains("Volume id: config-2") && header.contains("Rock Ridge"), "{header}");
        let listing = String::from_utf8(isoinfo(&["-R", "-f"])).unwrap();
        for (name, body) in &files {
            assert!(listing.lines().any(|line| line == format!("/{name}")), "{name}\n{listing}");
            assert_eq!(&isoinfo(&["-R", "-x", &format!("/{name}")]), body, "{name}");
        }
    }
}
