#!/bin/sh
# Put the SDK's everything-server into .parts/mcp-everything, out of the source distribution that requirements.txt pins by hash.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
target=$root/.parts/mcp-everything
if cmp -s "$here/requirements.txt" "$target/installed.txt"; then exit 0; fi
mkdir -p "$target"
"${PYTHON:-$root/.venv/bin/python}" -m pip download -q --disable-pip-version-check --require-hashes --no-deps --no-binary :all: \
  --dest "$target" -r "$here/requirements.txt"
tar -xzf "$target"/mcp-*.tar.gz -C "$target" --strip-components 4 --wildcards '*/examples/servers/everything-server/mcp_everything_server'
rm "$target"/mcp-*.tar.gz
cp "$here/requirements.txt" "$target/installed.txt"
