#!/usr/bin/env bash
# jars.sh POM HOME: fetches the jars of a pom from Maven Central once and prints their folder.
# - The folder is named by the pom's checksum and appears only complete (renamed into place): who finds it may use it.
# - Two callers at once: one fetches, the other waits.
set -euo pipefail

pom=$1 home=$2
folder=$home/$(sha256sum <"$pom" | cut -c1-12)
if [[ ! -d $folder ]]; then
  mkdir -p "$home"
  exec 8>"$home/lock"
  flock 8
  if [[ ! -d $folder ]]; then
    command -v mvn >/dev/null || { echo "jars.sh: mvn is missing, install Apache Maven 3.8 or newer" >&2; exit 1; }
    echo "fetching the jars of ${pom##*/} into $folder" >&2
    rm -rf "$folder.partial"
    mvn -q -B -f "$pom" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$folder.partial" 2>&1 8>&- |
      sed 's/\x1b\[[0-9;]*m//g' >&2
    mv "$folder.partial" "$folder"
  fi
fi
echo "$folder"
