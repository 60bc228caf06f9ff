#!/usr/bin/env bash
# Tests libraries of environments in a fresh environment that has them: scripts/test_libraries.sh pgx navix
set -euo pipefail
cd "$(dirname "$0")/.."
if [ $# -eq 0 ]; then
    echo "usage: scripts/test_libraries.sh LIBRARY..., such as pgx navix (ppo-jax envs lists all)" >&2
    exit 2
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
extras=$(IFS=,; echo "$*")
"$scratch/venv/bin/pip" install --quiet --no-compile -e ".[$extras]" pytest pytest-xdist
printf '%s\n' "$@" | xargs -P 2 -I LIBRARY \
    "$scratch/venv/bin/python" -m pytest -n 0 tests/libraries --library LIBRARY
