#!/usr/bin/env bash
# Builds Debian packages, their checksums and a bill of materials (CycloneDX) into target/packages/.
#
#   deploy/package.sh [PACKAGE/ARCHITECTURE…]      all of them, or such as gaitway-agent/arm64
#
# The same sources make the same bytes (README.md says where not yet). Needs Rust, a C compiler with make and perl, Python 3 with venv, and what deploy/package/toolchain.sh
# needs for other architectures than this machine's.
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/package/architectures.sh

all=(gaitway/amd64 gaitway/arm64 gaitway-agent/{amd64,arm64,armhf} gaitway-relay/{amd64,arm64} gaitway-sink/{amd64,arm64})
wanted=("$@")
[ $# -gt 0 ] || wanted=("${all[@]}")
for one in "${wanted[@]}"; do
    [[ " ${all[*]} " == *" $one "* ]] || {
        echo "package.sh: there is no package $one: there are ${all[*]}" >&2
        exit 2
    }
done

# The date of the sources, for whatever writes one down.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

# In just this version: what they write depends on it.
tool() {
    [[ "$(cargo "$1" --version 2>/dev/null)" =~ (^| )"$2"$ ]] || cargo install "cargo-$1" --locked --version "$2"
}
tool deb 3.8.0
tool cyclonedx 0.5.9

stage=target/package/stage
out=target/package/out
rm -rf "$stage" "$out"
mkdir -p "$stage" "$out"
mapfile -t architectures < <(printf '%s\n' "${wanted[@]#*/}" | sort -u)
deploy/package/toolchain.sh "${architectures[@]}"
for architecture in "${architectures[@]}"; do
    mkdir -p "$stage/$architecture"
    [[ " ${wanted[*]} " != *" gaitway-agent/$architecture "* ]] || deploy/package/build.sh "$architecture" agent "$stage/$architecture"
    [[ ! " ${wanted[*]} " =~ \ gaitway(-relay|-sink)?/$architecture\  ]] || deploy/package/build.sh "$architecture" kafka "$stage/$architecture"
done

# As tests build it, so that they and this share what is built.
reference=(cargo run --quiet --profile test --locked --package gaitway-reference --)
"${reference[@]}" man "$stage/man" >/dev/null
"${reference[@]}" completions "$stage/completions" >/dev/null
gzip --best --no-name "$stage"/man/*
# A page is in one package, for all but gaitway and gaitway-agent may be on one machine.
for name in gaitway-agent gaitway-relay gaitway-sink gaitway; do
    mkdir "$stage/man/$name"
    mv "$stage"/man/"$name"*.1.gz "$stage/man/$name/"
done
cp "$stage"/man/gaitway-agent/* "$stage/man/gaitway/"

# What others read: Grafana, Prometheus, databases. In the package of the service that it is about, by its path below deploy/.
(
    cd deploy
    examples() {
        mkdir -p "../$stage/examples/$1"
        cp --parents -- "${@:2}" "../$stage/examples/$1/"
    }
    grafana=(grafana/README.md grafana/provisioning/{README.md,notify.yaml})
    examples gaitway "${grafana[@]}" grafana/dashboards/sqlite/*.json grafana/provisioning/*/sqlite.yaml
    examples gaitway-relay kafka/README.md prometheus/README.md prometheus/*.yml prometheus/rules/*.yml \
        grafana/dashboards/prometheus/*.json grafana/provisioning/*/prometheus.yaml
    examples gaitway-sink postgres/* snowflake/*.sql snowflake/README.md \
        "${grafana[@]}" grafana/dashboards/{postgres,snowflake,snowflake-community}/*.json grafana/provisioning/*/{postgres,snowflake,snowflake-community}.yaml
)

for package in $(printf '%s\n' "${wanted[@]%/*}" | sort -u); do
    mkdir -p "$stage/third-party/$package"
    targets=()
    for one in "${all[@]}"; do
        [ "${one%/*}" != "$package" ] || targets+=("$(triple "${one#*/}")")
    done
    deploy/package/licences.py "$package" "$(features "$package")" "${targets[@]}" | gzip --best --no-name >"$stage/third-party/$package/third-party.txt.gz"
done

for one in "${wanted[@]}"; do
    package=${one%/*} architecture=${one#*/}
    cp "$stage/$architecture/$package" "$stage/"
    cargo deb --quiet --no-build --no-strip --target "$(triple "$architecture")" --package "$package" --output "$out/"
done

# One for each package, of every architecture, and of no folder of this machine's.
trap 'find . -name gaitway-package.cdx.json -not -path "./target/*" -delete' EXIT
cargo cyclonedx --quiet --format json --spec-version 1.5 --target all --all-features --override-filename gaitway-package.cdx
for package in $(printf '%s\n' "${wanted[@]%/*}" | sort -u); do
    crate=${package#gaitway} crate=${crate#-}
    sed "s#file://$PWD#file:///src#g" "./$crate/gaitway-package.cdx.json" >"$out/$package.cdx.json"
done
(cd "$out" && sha256sum -- *.deb *.json >SHA256SUMS)
# Packages that were there stay until these are whole.
rm -rf target/packages
mv "$out" target/packages
ls -l target/packages
