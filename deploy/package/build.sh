#!/usr/bin/env bash
# Builds the programs of packages as they are shipped, and says what they need:
#
#   deploy/package/build.sh ARCHITECTURE agent|kafka FOLDER
#
# `agent` is gaitway-agent, `kafka` are the three others: together, for they are made of the same. toolchain.sh has made what it needs.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/package/architectures.sh

architecture=$1 group=$2 folder=$3
target=$(triple "$architecture")
work=$PWD/target/package
home=${CARGO_HOME:-$HOME/.cargo}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}

case $group in
agent) packages=(gaitway-agent) ;;
kafka) packages=(gaitway gaitway-relay gaitway-sink) ;;
*)
    echo "build.sh: there are agent and kafka, not $group" >&2
    exit 2
    ;;
esac
arguments=(zigbuild --release --locked --quiet --target "$target.$GLIBC")
for package in "${packages[@]}"; do
    arguments+=(--package "$package" --bin "$package")
    for feature in $(features "$package"); do
        arguments+=(--features "$package/$feature")
    done
done
if [[ $PWD == *[[:space:]]* ]]; then
    echo "build.sh: librdkafka cannot be built where a folder's name has a space: $PWD" >&2
    exit 1
fi

rustc=$(command -v rustc)
has_std "$target" || rustc=$work/rust/bin/rustc
if [ ! -x "$rustc" ] || [ ! -d "$work/zig" ]; then
    echo "build.sh: run deploy/package/toolchain.sh $architecture first" >&2
    exit 1
fi

# One build at a time, of one clone: what another one left would pass for this one's where its files are younger.
[ -d "$BUILD" ] || mkdir -m 700 "$BUILD"
if [ -L "$BUILD" ] || [ ! -O "$BUILD" ]; then
    echo "build.sh: $BUILD is somebody else's: it must be a folder of yours, or not be there" >&2
    exit 1
fi
exec 9>"$BUILD/lock"
flock 9
if [ "$(cat "$BUILD/clone" 2>/dev/null)" != "$PWD" ]; then
    rm -rf "$BUILD/target"
    echo "$PWD" >"$BUILD/clone"
fi

# No path of this machine is in what Rust compiles.
remaps=("$PWD=/src" "$home=/cargo" "$("$rustc" --print sysroot)=/rust")
export PATH=$work/zig/bin:$PATH CARGO_ZIGBUILD_ZIG_PATH=$work/zig/ziglang/zig CARGO_ZIGBUILD_CACHE_DIR=$BUILD/zig CARGO_TARGET_DIR=$BUILD/target
export RUSTC=$rustc SOURCE_DATE_EPOCH
if [ "$group" = kafka ]; then
    # What librdkafka's own configure asks for; nothing else does, for what is built to run here has a compiler of its own. An OpenSSL that is
    # built in knows of no certificates: librdkafka looks where distributions keep them if it is told. Its version script names what release
    # builds leave out, and no library of this machine is linked.
    zig="$work/zig/ziglang/zig CC -fno-sanitize=all -DWITH_STATIC_LIB_libcrypto=1 -target ${target%%-*}-linux-gnu.$GLIBC"
    export CC=${zig/CC/cc} CXX=${zig/CC/c++} HOST_CC=cc HOST_CXX=c++ LDFLAGS=-Wl,--undefined-version PKG_CONFIG_LIBDIR=$work/none
fi
RUSTFLAGS="${remaps[*]/#/--remap-path-prefix=}" cargo-zigbuild "${arguments[@]}"

for package in "${packages[@]}"; do
    built=$BUILD/target/$target/release/$package
    needed=$(readelf --version-info "$built" | grep -oE 'GLIBC_[0-9.]+' | sort -uV | tail -n 1)
    if [ "$(printf '%s\n' "GLIBC_$GLIBC" "$needed" | sort -V | tail -n 1)" != "GLIBC_$GLIBC" ]; then
        echo "build.sh: $package for $architecture needs $needed, and packages promise GLIBC_$GLIBC" >&2
        exit 1
    fi
    cp "$built" "$folder/"
    printf '%-14s %-6s %9d bytes, needs %s\n' "$package" "$architecture" "$(stat --format=%s "$built")" "$needed"
done
