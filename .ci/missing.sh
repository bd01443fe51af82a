# Sourced: missing WHAT PACKAGE... says what this machine lacks and the command that installs it, and ends.
missing() {
  what=$1; shift
  sudo=$([ "$(id -u)" = 0 ] || echo "sudo ")
  if command -v apt-get >/dev/null; then remedy="${sudo}apt-get install -y $*"
  elif command -v dnf >/dev/null; then remedy="${sudo}dnf install -y $(echo "$*" | sed 's/python3-venv/python3/; s/postgresql/postgresql-server/')"
  elif command -v brew >/dev/null; then remedy="brew install $(echo "$*" | sed 's/python3-venv/python3/')"
  else remedy="install the package $* of your system"
  fi
  echo "missing: $what. Run: $remedy" >&2
  exit 1
}
