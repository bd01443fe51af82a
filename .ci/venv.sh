#!/bin/sh
# Make .venv with every package of requirements.lock, each checked by its hash, and our two distributions in place.
# Instant while nothing that it depends on has changed. PYTHON names another interpreter (3.11 or newer).
set -eu
cd "$(dirname "$0")/.."
. .ci/missing.sh

usable() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

python=${PYTHON:-}
if [ -z "$python" ]; then
  for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
    if usable "$candidate"; then python=$candidate; break; fi
  done
fi
[ -n "$python" ] || missing "Python 3.11 or newer" python3
usable "$python" || missing "Python 3.11 or newer ($python is not)" python3
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing "Python's venv module" python3-venv
command -v git >/dev/null || missing git git

# The place is part of the key: the scripts of a virtual environment name it.
key=$("$python" -c '
import hashlib, pathlib, sys
key = hashlib.sha256(f"{sys.version} {pathlib.Path.cwd()}".encode())
for name in ("requirements.lock", "pyproject.toml", "sdk/pyproject.toml"):
    key.update(pathlib.Path(name).read_bytes())
print(key.hexdigest())')
stamp=.venv/wicketgate.stamp
if [ -x .venv/bin/wicketgate ] && [ "$(cat $stamp 2>/dev/null)" = "$key" ]; then exit 0; fi

echo "setting up .venv (once)" >&2
# Whoever changed the lock keeps the folder; another interpreter, or a folder that was moved, starts again.
if ! .venv/bin/python -c 'import pip' 2>/dev/null || ! head -1 .venv/bin/pip | grep -q "$(pwd -P)/.venv/"; then
  "$python" -m venv --clear .venv >&2
fi
rm -f $stamp
by_pip() {
  .venv/bin/pip install -q --disable-pip-version-check --require-hashes --no-deps -r requirements.lock >&2
  .venv/bin/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e sdk -e . >&2
}
by_uv() {
  # uv, itself from the lock by hash, takes a fifth of pip's time. It follows pip's settings where it has none.
  index=${UV_DEFAULT_INDEX:-$(.venv/bin/pip config get global.index-url 2>/dev/null || echo "${PIP_INDEX_URL:-}")}
  if [ -n "$index" ]; then export UV_DEFAULT_INDEX="$index"; fi
  if [ -n "${PIP_CERT:-}" ]; then export SSL_CERT_FILE="${SSL_CERT_FILE:-$PIP_CERT}"; fi
  awk '/^[^ ]/ { wanted = /^uv==/ } wanted' requirements.lock > .venv/uv.lock
  .venv/bin/pip install -q --disable-pip-version-check --require-hashes --no-deps -r .venv/uv.lock >&2 &&
    .venv/bin/uv pip install -q --python .venv/bin/python --require-hashes --no-deps -r requirements.lock >&2 &&
    .venv/bin/uv pip install -q --python .venv/bin/python --no-deps --no-build-isolation -e sdk -e . >&2
}
by_uv || { echo "uv could not install; pip does it (slower)" >&2; by_pip; }
echo "$key" > $stamp
