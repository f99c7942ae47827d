#!/bin/sh
# Makes passwords where there are none, each in a file that one user alone may read: PostgreSQL's (999), the sink's (65532), Grafana's (472).
set -eu
umask 077
root=$GAITWAY_SECRETS

# made FILE: a password that was not there before, 144 random bits.
made() {
    [ -s "$root/$1" ] && return
    head -c 18 /dev/urandom | base64 | tr '+/' '-_' >"$root/$1.new"
    mv "$root/$1.new" "$root/$1"
}

# shared FROM TO: the same password for whoever uses it.
shared() {
    cp "$root/$1" "$root/$2.new"
    mv "$root/$2.new" "$root/$2"
}

for user in admin sink reader operator; do made "postgres/$user"; done
made grafana/admin.password
shared postgres/sink sink/postgres.password
shared postgres/reader grafana/postgres.password
# Where the dashboards are mounted.
mkdir -p "$root/grafana/dashboards"
chown -R 999:999 "$root/postgres"
chown -R 65532:65532 "$root/sink"
chown -R 472:472 "$root/grafana"
