#!/usr/bin/env bash
# Tests libraries of environments, each in a fresh environment of its own: scripts/test_libraries.sh pgx navix
set -euo pipefail
cd "$(dirname "$0")/.."
if [ $# -eq 0 ]; then
    echo "usage: scripts/test_libraries.sh LIBRARY..., such as pgx navix (ppo-jax envs lists all)" >&2
    exit 2
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for library in "$@"; do
    echo "== $library"
    python3 -m venv "$scratch/$library"
    "$scratch/$library/bin/pip" install --quiet -e ".[$library]" pytest pytest-xdist
    "$scratch/$library/bin/python" -m pytest -n 0 tests/libraries --library "$library"
done
