#!/usr/bin/env bash
# Builds the program of a package as it is shipped, and says what it needs:
#
#   deploy/package/build.sh ARCHITECTURE PACKAGE FILE
#
# toolchain.sh has made what it needs. The same sources make the same bytes.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/package/architectures.sh

architecture=$1 package=$2 out=$3
target=$(triple "$architecture")
work=$PWD/target/package
home=${CARGO_HOME:-$HOME/.cargo}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}

features=
[ "$package" = gaitway-agent ] || features=kafka-tls-static
arguments=(zigbuild --release --locked --quiet --target "$target.$GLIBC" --package "$package" --bin "$package" --features "$features")

if has_std "$target"; then
    # No path of this machine is in what is shipped.
    flags="--remap-path-prefix=$PWD=/src --remap-path-prefix=$home=/cargo --remap-path-prefix=$(rustc --print sysroot)=/rust"
    env PATH="$work/zig/bin:$PATH" PYTHONPATH="$work/zig" CARGO_ZIGBUILD_ZIG_PATH="$work/zig/ziglang/zig" CARGO_TARGET_DIR="$work/build" \
        SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" RUSTFLAGS="$flags" cargo-zigbuild "${arguments[@]}"
else
    cargo fetch --quiet --locked
    root=$work/rust
    mkdir -p "$root/src" "$root/cargo"
    # Mounts of this process's own end with it.
    # shellcheck disable=SC2016
    unshare --mount bash -euc '
        root=$1 project=$2 home=$3
        shift 3
        mount --bind "$project" "$root/src"
        mount --bind "$home" "$root/cargo"
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        exec chroot "$root" /usr/bin/env --chdir=/src --ignore-environment HOME=/tmp PATH=/src/target/package/zig/bin:/usr/bin:/bin "$@"
    ' - "$root" "$PWD" "$home" CARGO_HOME=/cargo CARGO_NET_OFFLINE=true CARGO_TARGET_DIR=/src/target/package/build \
        CARGO_ZIGBUILD_ZIG_PATH=/src/target/package/zig/ziglang/zig SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" \
        cargo-zigbuild "${arguments[@]}"
fi

built=$work/build/$target/release/$package
needed=$(readelf --version-info "$built" | grep -oE 'GLIBC_[0-9.]+' | sort -uV | tail -n 1)
if [ "$(printf '%s\n' "GLIBC_$GLIBC" "$needed" | sort -V | tail -n 1)" != "GLIBC_$GLIBC" ]; then
    echo "build.sh: $package for $architecture needs $needed, and packages promise GLIBC_$GLIBC" >&2
    exit 1
fi
cp "$built" "$out"
printf '%-14s %-6s %9d bytes, needs %s\n' "$package" "$architecture" "$(stat --format=%s "$out")" "$needed"
