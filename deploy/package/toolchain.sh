#!/usr/bin/env bash
# What build.sh needs for these architectures, made under target/package/ where it is not there yet:
#
#   deploy/package/toolchain.sh ARCHITECTURE…
#
# - zig, as C compiler and linker: it links against whichever glibc is asked for. From PyPI.
# - Where this machine's Rust has no standard library of the architecture: a Debian with a Rust that has. That needs root and mmdebstrap;
#   `rustup target add` does as well.
# - For architectures other than this machine's: the C library of Debian 11, with which qemu-user runs what was built.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/package/architectures.sh

work=target/package
mkdir -p "$work"

# A folder that is there whole or not at all.
made() {
    local folder=$1
    shift
    [ ! -d "$work/$folder" ] || return 0
    echo "toolchain.sh: making $work/$folder" >&2
    rm -rf "$work/$folder.part"
    "$@" "$work/$folder.part"
    mv "$work/$folder.part" "$work/$folder"
}

zig() {
    python3 -m pip install --quiet --disable-pip-version-check --requirement deploy/package/requirements.txt --target "$1"
}

# The mirror of this machine, if it is a Debian.
mirror() {
    local told
    told=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -n 1 || true)
    told=${told%% *}
    echo "${told:-http://deb.debian.org/debian}"
}

need_mmdebstrap() {
    command -v mmdebstrap >/dev/null || {
        echo "toolchain.sh: mmdebstrap is missing ($1): apt-get install mmdebstrap" >&2
        exit 1
    }
}

rust() {
    [ "$(id -u)" -eq 0 ] || {
        echo "toolchain.sh: this Rust has no standard library for $*: rustup target add, or run this as root" >&2
        exit 1
    }
    need_mmdebstrap "it makes a Debian with a Rust for $missing"
    # Debian's next release: what was downloaded is signed, and it is no harm if it is some weeks old.
    mmdebstrap --quiet --variant=minbase --architectures=amd64,arm64,armhf --aptopt='Acquire::Check-Valid-Until "false"' \
        --include=rustc,cargo,libstd-rust-dev:arm64,libstd-rust-dev:armhf,gcc,libc6-dev,make,perl,ca-certificates \
        forky "$1" "$(mirror)"
}

sysroot() {
    need_mmdebstrap "it fetches the C library of $architecture"
    mmdebstrap --quiet --variant=extract --architectures="$architecture" --include=libc6,libgcc-s1 bullseye "$1" "$(mirror)"
}

made zig zig
missing=
for architecture in "$@"; do
    target=$(triple "$architecture")
    has_std "$target" || missing+=" $target"
    [ "$architecture" = "$(dpkg --print-architecture)" ] || made "sysroot-$architecture" sysroot
done
[ -z "$missing" ] || made rust rust
