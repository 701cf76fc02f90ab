# Shared by the scripts beside it. Source it; it runs nothing.
# shellcheck shell=bash

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Runs a command as root: as it is, or with sudo.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo -E "$@"; else die "root or sudo is needed for: $*"; fi
}

# Installs those of the named Debian packages that are missing. The first word says why.
need_packages() {
  local why=$1 missing=() package
  shift
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ "${#missing[@]}" -eq 0 ] && return 0
  say "installing ${missing[*]} ($why)"
  # Daemons of packages must not start by themselves: the cloud runs engines of its own and leaves the system's alone.
  local policy=/usr/sbin/policy-rc.d made=
  if [ ! -e "$policy" ]; then
    made=1
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
  fi
  local code=0
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 \
    || { as_root apt-get -o DPkg::Lock::Timeout=300 update -qq \
         && as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; } \
    || code=$?
  [ -n "$made" ] && as_root rm -f "$policy"
  return "$code"
}

need_rust() {
  command -v cargo >/dev/null || { [ -r "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"; }
  command -v cargo >/dev/null || die "no Rust toolchain found. Install Rust 1.95 or newer (https://rustup.rs explains how), then run this again."
  command -v cc >/dev/null || need_packages "a C compiler for the bundled SQLite" gcc libc6-dev
}

engine_packages() {
  need_packages "runs guests" qemu-system-x86 qemu-utils
  need_packages "carries packets" openvswitch-switch ovn-central ovn-host iproute2
}

home_dir() {
  if [ -n "${FERROSTACK_HOME:-}" ]; then printf '%s\n' "$FERROSTACK_HOME"; else printf '/var/lib/ferrostack\n'; fi
}
