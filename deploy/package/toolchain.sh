#!/usr/bin/env bash
# What build.sh needs for these architectures, made under target/package/ where it is not there yet:
#
#   deploy/package/toolchain.sh ARCHITECTURE…
#
# - zig, as C compiler and linker: it links against whichever glibc is asked for. From PyPI.
# - Where this machine's Rust has no standard library of the architecture: Debian's Rust, unpacked, for amd64. `rustup target add` does as well.
# - For architectures other than this machine's: the C library of Debian 11, with which qemu-user runs what was built.
#
# Nothing is installed, and no root is needed.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/package/architectures.sh

work=target/package
mkdir -p "$work"

# A folder that is there whole or not at all, and made as this script makes it.
made() {
    local folder=$1 recipe
    shift
    recipe=$(cat deploy/package/{toolchain.sh,architectures.sh,requirements.txt} | sha256sum)
    [ "$recipe" != "$(cat "$work/$folder/recipe" 2>/dev/null)" ] || return 0
    echo "toolchain.sh: making $work/$folder" >&2
    rm -rf "$work/$folder.part"
    "$@" "$work/$folder.part"
    echo "$recipe" >"$work/$folder.part/recipe"
    rm -rf "${work:?}/$folder"
    mv "$work/$folder.part" "$work/$folder"
}

zig() {
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --require-hashes --requirement deploy/package/requirements.txt --target "$1"
}

# The mirror of this machine, if it is a Debian.
mirror() {
    local told
    told=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -n 1 || true)
    told=${told%% *}
    echo "${told:-http://deb.debian.org/debian}"
}

keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# Debian's packages, unpacked into a folder. Apt checks signatures and dates as ever, but knows of no package that is installed here.
#   unpack FOLDER RELEASE PACKAGE… [-- PACKAGE…]      those before -- with what they depend on, those after it alone
unpack() {
    local folder=$1 release=$2 apt deb whole=()
    shift 2
    if ! command -v apt-get >/dev/null || [ ! -e "$keyring" ]; then
        echo "toolchain.sh: apt-get or $keyring is missing: apt-get install debian-archive-keyring${missing:+; or rustup target add$missing}" >&2
        exit 1
    fi
    mkdir -p "$folder/apt/"{lists,debs}/partial
    apt=$(cd "$folder/apt" && pwd)
    touch "$apt/status"
    echo "deb [signed-by=$keyring] $(mirror) $release main" >"$apt/sources.list"
    cat >"$apt/apt.conf" <<END
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "$apt";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
Dir::Cache::archives "$apt/debs";
APT::Architecture "amd64";
APT::Architectures { "amd64"; "arm64"; "armhf"; };
APT::Sandbox::User "";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "3";
END
    export APT_CONFIG=$apt/apt.conf
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        whole+=("$1")
        shift
    done
    apt-get update -qq -o APT::Update::Error-Mode=any
    [ ${#whole[@]} -eq 0 ] || apt-get install -qq --yes --download-only "${whole[@]}" >/dev/null
    [ $# -le 1 ] || (cd "$apt/debs" && apt-get download -qq "${@:2}")
    unset APT_CONFIG
    for deb in "$apt"/debs/*.deb; do
        dpkg-deb --extract "$deb" "$folder"
    done
    rm -r "$apt"
}

# The Rust with which Debian's stable release builds its browsers. It runs with the libraries that came with it.
rust() {
    local target
    [ "$(uname -m)" = x86_64 ] || {
        echo "toolchain.sh: this Rust has no standard library for$missing, and Debian's is taken on amd64 only: rustup target add$missing" >&2
        exit 1
    }
    unpack "$1" trixie libstd-rust-web-dev:amd64 -- rustc-web:amd64 libstd-rust-web-dev:arm64 libstd-rust-web-dev:armhf
    mkdir "$1/bin"
    cat >"$1/bin/rustc" <<'END'
#!/bin/sh
usr=$(dirname "$(dirname "$(readlink -f "$0")")")/usr
exec "$usr/lib64/ld-linux-x86-64.so.2" --library-path "$usr/lib/x86_64-linux-gnu" "$usr/bin/rustc" --sysroot "$usr" "$@"
END
    chmod +x "$1/bin/rustc"
    # A mirror may be half-way between two versions.
    for target in $missing; do
        echo | "$1/bin/rustc" --target "$target" --crate-type lib --emit metadata -o "$1/empty" - || {
            echo "toolchain.sh: Debian's Rust and its standard library for $target are not of one version: try again later" >&2
            exit 1
        }
    done
    rm "$1/empty"
}

sysroot() {
    unpack "$1" bullseye "libc6:$architecture" "libgcc-s1:$architecture"
}

made zig zig
missing=
for architecture in "$@"; do
    target=$(triple "$architecture")
    has_std "$target" || missing+=" $target"
    [ "$architecture" = "$(dpkg --print-architecture)" ] || made "sysroot-$architecture" sysroot
done
[ -z "$missing" ] || made rust rust
