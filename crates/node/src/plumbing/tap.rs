//! Tap devices: one for each port, persistent, so that it stays plugged while no QEMU has it open.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// `struct ifreq`: a name and 24 bytes of which each call uses some.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    value: [u8; 24],
}

impl Request {
    fn new(name: &str) -> std::io::Result<Request> {
        let mut request = Request { name: [0; libc::IFNAMSIZ], value: [0; 24] };
        if name.is_empty() || name.len() >= libc::IFNAMSIZ {
            return Err(std::io::Error::other("not an interface's name"));
        }
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        Ok(request)
    }
}

fn ioctl(file: &impl AsRawFd, call: libc::c_ulong, request: &mut Request) -> std::io::Result<()> {
    // SAFETY: every call made here reads and writes a `struct ifreq`, which `Request` is as large as.
    match unsafe { libc::ioctl(file.as_raw_fd(), call, request) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNSETPERSIST: libc::c_ulong = 0x4004_54cb;

fn attach(name: &str) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let mut request = Request::new(name)?;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.value[..2].copy_from_slice(&u16::try_from(flags).unwrap_or(0).to_ne_bytes());
    ioctl(&file, TUNSETIFF, &mut request)?;
    Ok(file)
}

fn persist(file: &File, persistent: bool) -> std::io::Result<()> {
    // SAFETY: this call takes a number, not a pointer.
    match unsafe { libc::ioctl(file.as_raw_fd(), TUNSETPERSIST, libc::c_ulong::from(persistent)) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

fn any_socket() -> std::io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    Ok(socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?)
}

/// Whether there is an interface of this name.
pub fn exists(name: &str) -> std::io::Result<bool> {
    let mut request = Request::new(name)?;
    match ioctl(&any_socket()?, libc::SIOCGIFINDEX, &mut request) {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Makes a tap if it is not there, sets its MTU and lets it be up.
pub fn create(name: &str, mtu: u32) -> std::io::Result<()> {
    if !exists(name)? {
        persist(&attach(name)?, true)?;
    }
    let socket = any_socket()?;
    let mut request = Request::new(name)?;
    request.value[..4].copy_from_slice(&mtu.to_ne_bytes());
    ioctl(&socket, libc::SIOCSIFMTU, &mut request)?;
    let mut request = Request::new(name)?;
    ioctl(&socket, libc::SIOCGIFFLAGS, &mut request)?;
    let up = u16::from_ne_bytes([request.value[0], request.value[1]]) | u16::try_from(libc::IFF_UP).unwrap_or(1);
    request.value[..2].copy_from_slice(&up.to_ne_bytes());
    ioctl(&socket, libc::SIOCSIFFLAGS, &mut request)
}

/// Opens a tap's end for QEMU.
pub fn open(name: &str) -> std::io::Result<OwnedFd> {
    if !exists(name)? {
        return Err(std::io::Error::other("the tap device is not there"));
    }
    attach(name).map(OwnedFd::from)
}

/// Removes a tap. Fine if it is not there.
pub fn remove(name: &str) -> std::io::Result<()> {
    if exists(name)? { persist(&attach(name)?, false) } else { Ok(()) }
}
