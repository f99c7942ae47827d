#!/bin/sh
# deploy/package/check, which says what it does: --help.
PYTHONDONTWRITEBYTECODE=1 exec python3 "$(dirname "$0")/check" "$@"
