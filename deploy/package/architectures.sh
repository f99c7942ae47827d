# Debian's architectures, as Rust calls them. Sourced.
# shellcheck shell=bash

# The oldest glibc that packages run with.
# shellcheck disable=SC2034
GLIBC=2.31

# Where programs are built, the same folder on every machine: what OpenSSL and librdkafka compile names it.
# shellcheck disable=SC2034
BUILD=/var/tmp/gaitway-build

triple() {
    case $1 in
    amd64) echo x86_64-unknown-linux-gnu ;;
    arm64) echo aarch64-unknown-linux-gnu ;;
    armhf) echo armv7-unknown-linux-gnueabihf ;;
    *)
        echo "there are amd64, arm64 and armhf, not $1" >&2
        return 2
        ;;
    esac
}

# What a program is built with.
features() {
    [ "$1" = gaitway-agent ] || echo kafka-tls-static
}

# Whether this machine's own Rust can build for it.
has_std() {
    local there
    there=$(rustc --print target-libdir --target "$1" 2>/dev/null) && compgen -G "$there/libstd-*" >/dev/null
}
