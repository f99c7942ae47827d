#!/bin/sh
# PostgreSQL's users, once, when the database is made: of deploy/postgres/roles.sql, with the passwords that secrets.sh made.
set -eu
psql --no-psqlrc --quiet -v ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname "$POSTGRES_DB" <<END
\\set sink \`cat "$GAITWAY_SECRETS/sink"\`
\\set reader \`cat "$GAITWAY_SECRETS/reader"\`
\\set operator \`cat "$GAITWAY_SECRETS/operator"\`
CREATE ROLE gaitway_sink LOGIN PASSWORD :'sink';
CREATE ROLE gaitway_reader LOGIN PASSWORD :'reader';
CREATE ROLE gaitway_operator LOGIN PASSWORD :'operator';
\\ir $GAITWAY_ROLES
END
