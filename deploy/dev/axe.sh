#!/usr/bin/env bash
# axe.sh: fetches axe-core from Maven Central once and prints the jar that has its axe.min.js.
# - It is kept in ${GAITWAY_AXE_HOME:-${XDG_CACHE_HOME:-~/.cache}/gaitway/axe-VERSION}.
# - For tests alone, and no part of the tree: its licence is the MPL.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(sed -n 's|^  <version>\(.*\)</version>|\1|p' "$here/axe-pom.xml")
home=${GAITWAY_AXE_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/gaitway/axe-$version}
folder=$(bash "$here/jars.sh" "$here/axe-pom.xml" "$home")
echo "$folder/selenium-$version.jar"
