#!/usr/bin/env bash
# validate.sh HOST:PORT [v3] [v4]: asks Snowflake's own connector whether it takes the configurations of this folder (both by default).
# - A Kafka Connect worker runs on 127.0.0.1 for the length of the check, in a temporary folder, and leaves nothing on the broker.
# - The one thing that cannot be checked without an account is the login. RefuseLogin.java stands in for the account and refuses it; the
#   errors of that, and only these, count as passed: "Cannot connect to Snowflake" at the three keys named in NETWORK.
# - Every configuration is also sent with mistakes, and each mistake must be refused at its own key: a check that cannot fail is none.
set -euo pipefail

NETWORK='["snowflake.url.name", "snowflake.user.name", "snowflake.private.key"]'

say() { echo "validate.sh: $*" >&2; }
die() { say "$@"; exit 1; }

[[ ${1:-} =~ ^[^:]+:[0-9]+$ ]] || { say "usage: validate.sh HOST:PORT [v3] [v4]"; exit 2; }
broker=$1
shift
versions=("$@")
[[ $# -gt 0 ]] || versions=(v3 v4)
for version in "${versions[@]}"; do
  [[ $version == v3 || $version == v4 ]] || { say "usage: validate.sh HOST:PORT [v3] [v4]"; exit 2; }
done

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dev=$here/../dev
java=${JAVA_HOME:+$JAVA_HOME/bin/}java
cache=${XDG_CACHE_HOME:-$HOME/.cache}/gaitway
for tool in "$java" curl jq openssl; do
  command -v "$tool" >/dev/null || die "$tool is missing"
done

work=$(mktemp -d)
worker='' account='' rest=''
end() {
  [[ -n $1 ]] || return 0
  kill "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}
trap 'end "$worker"; end "$account"; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# plugin VERSION: the folder that holds the connector's jars.
plugin() {
  local given=GAITWAY_SNOWFLAKE_${1^^}
  if [[ -n ${!given:-} ]]; then
    [[ -d ${!given} ]] || die "$given=${!given} is no folder"
    echo "${!given}"
  else
    bash "$dev/jars.sh" "$here/$1-pom.xml" "$cache/snowflake-connector-$1" ||
      die "the jars of $1-pom.xml cannot be had from Maven Central: put them into a folder and name it in $given"
  fi
}

# An account that refuses, and a key that nobody else knows.
start_account() {
  : >"$work/port"
  "$java" "$here/RefuseLogin.java" </dev/null >"$work/port" 2>>"$work/account.log" &
  account=$!
  until [[ -s $work/port ]]; do
    kill -0 "$account" 2>/dev/null || { cat "$work/account.log" >&2; die "RefuseLogin.java did not start (it needs a JDK)"; }
    sleep 0.1
  done
  openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$work/key.p8" 2>/dev/null
  {
    echo "url=http://127.0.0.1:$(cat "$work/port")"
    echo "user=GAITWAY_CONNECT"
    echo "role=GAITWAY_CONNECT"
    echo "database=GAITWAY"
    echo "private.key=$(grep -v -- ----- "$work/key.p8" | tr -d '\n')"
  } >"$work/snowflake.properties"
}

start_worker() {
  local libs
  libs=$(bash "$dev/kafka.sh" jars)
  sed -e '/^\(group\|config\.storage\|status\.storage\)\./d' -e '/^offset\.storage\./d' \
    -e "s|^bootstrap\.servers=.*|bootstrap.servers=$broker|" \
    -e "s|^plugin\.path=.*|plugin.path=$work/plugins|" \
    -e "s|^listeners=.*|listeners=http://127.0.0.1:0|" \
    -e "s|/etc/gaitway|$work|" "$here/worker.properties" >"$work/worker.properties"
  echo "offset.storage.file.filename=$work/offsets" >>"$work/worker.properties"
  : >"$work/worker.log"
  "$java" -Xmx1g -XX:+UseSerialGC -Dlog4j2.configurationFile="$dev/log4j2.properties" -cp "$libs/*" \
    org.apache.kafka.connect.cli.ConnectStandalone "$work/worker.properties" </dev/null >>"$work/worker.log" 2>&1 &
  worker=$!
  for _ in {1..1200}; do
    rest=$(sed -n 's|.*REST server listening at \(http://127\.0\.0\.1:[0-9]*\)/.*|\1|p' "$work/worker.log")
    if [[ -n $rest ]] && curl -sf "$rest/connector-plugins" >"$work/plugins.json"; then
      return
    fi
    kill -0 "$worker" 2>/dev/null || break
    sleep 0.1
  done
  tail -n 30 "$work/worker.log" >&2
  die "the Kafka Connect worker did not start (broker $broker)"
}

# ask FILE FILTER: the errors that the connector finds, as {key: [message…]}, after FILTER has changed the configuration.
ask() {
  local class status
  jq --arg work "$work" '.config + {name} | map_values(gsub("/etc/gaitway"; $work))' "$1" | jq "$2" >"$work/request.json"
  class=$(jq -r '."connector.class"' "$work/request.json")
  status=$(curl -s -o "$work/answer.json" -w '%{http_code}' -X PUT -H 'Content-Type: application/json' \
    --data-binary "@$work/request.json" "$rest/connector-plugins/$class/config/validate")
  if [[ $status != 200 ]]; then
    cat "$work/answer.json" >&2
    die "$1: the worker answers $status"
  fi
  jq -c '[.configs[].value | select(.errors | length > 0) | {key: .name, value: .errors}] | from_entries' "$work/answer.json"
}

# accept FILE: no error but the login's, and the login was really tried.
accept() {
  local errors bad
  : >"$work/account.log"
  errors=$(ask "$1" .)
  bad=$(jq -c --argjson network "$NETWORK" 'with_entries(select(
    (.key as $k | $network | index($k)) == null or (.value | any(contains("Cannot connect to Snowflake") | not))))' <<<"$errors")
  [[ $bad == '{}' ]] || die "$1 is refused: $bad"
  grep -qxF 'POST /session/v1/login-request' "$work/account.log" ||
    die "$1: the login was not tried, so the check did not reach the end: $errors"
  # What the connector does not know it would silently ignore. (The classic one reads schematization without declaring it.)
  bad=$(jq -c --slurpfile asked "$work/request.json" '[.configs[].value.name] as $known
    | $asked[0] | keys - $known - ["name", "snowflake.enable.schematization"] | map(select(startswith("consumer.override.") or startswith("value.converter.") | not))' "$work/answer.json")
  [[ $bad == '[]' ]] || die "$1 has keys that this connector does not know: $bad"
}

# refuse FILE FILTER KEY: the mistake that FILTER makes is an error at KEY.
refuse() {
  local errors
  errors=$(ask "$1" "$2")
  jq -e --arg key "$3" --argjson network "$NETWORK" \
    'has($key) and (.[$key] | any(contains("Cannot connect to Snowflake") | not))' <<<"$errors" >/dev/null ||
    die "$1 with the mistake '$2' should be refused at $3, but: $errors"
}

start_account
for version in "${versions[@]}"; do
  rm -rf "$work/plugins"
  mkdir "$work/plugins"
  folder=$(plugin "$version")
  ln -s "$folder" "$work/plugins/snowflake"
  start_worker
  class=$(jq -r '.config."connector.class"' "$here/$version/raw.json")
  found=$(jq -r --arg class "$class" '.[] | select(.class == $class) | .version' "$work/plugins.json")
  [[ -n $found ]] || die "$version: the worker does not find $class in $folder"
  for name in raw activity; do
    file=$here/$version/$name.json
    accept "$file"
    refuse "$file" 'del(."snowflake.schema.name")' snowflake.schema.name
    refuse "$file" '."snowflake.topic2table.map" = "raw_sensor_data;ACTIVITY_RECORDS"' snowflake.topic2table.map
    refuse "$file" '."errors.tolerance" = "sometimes"' errors.tolerance
    refuse "$file" '."value.converter" = "com.example.NoConverter"' value.converter
    refuse "$file" '."snowflake.url.name" = "no address"' snowflake.url.name
    echo "$version/$name.json: accepted by Snowflake's connector $found, 5 mistakes refused"
  done
  end "$worker"
  worker=''
done
