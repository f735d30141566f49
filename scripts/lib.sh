# Shared by scripts/run and scripts/test: find Python, update .venv, ask before a step that needs root.
say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }
die() { printf 'error: %s\n' "$1" >&2; [ -z "${2:-}" ] || printf '  → %s\n' "$2" >&2; exit 3; }

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  die "no Python 3.11 or newer found" "Install it (Debian: sudo apt-get install python3 python3-venv) or set PYTHON"
}

# as_root WHY COMMAND...: runs a command as root; asks first where that takes sudo.
as_root() {
  local why=$1 answer
  shift
  if [ "$(id -u)" = 0 ]; then
    say "$why: $*"
    "$@" >&2
    return
  fi
  command -v sudo >/dev/null || die "$why needs root and there is no sudo" "Run as root: $*"
  [ -t 0 ] || die "$why needs root" "Run: sudo $*"
  read -r -p "$why needs root. Run 'sudo $*'? [y/N] " answer
  case $answer in [yY]*) sudo "$@" >&2 ;; *) die "$why was declined" "Run it yourself: sudo $*" ;; esac
}

# install_debian WHY PACKAGE...
install_debian() {
  local why=$1
  shift
  command -v apt-get >/dev/null || die "$why: this is not Debian or Ubuntu" "Install with your package manager: $*"
  if [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*Packages*' -print -quit 2>/dev/null)" ]; then
    as_root "Reading the package lists" apt-get update -qq
  fi
  as_root "$why" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@"
}

# ensure_venv EXTRAS: .venv with this checkout installed, installed again only when pyproject.toml or the extras change.
ensure_venv() {
  local extras=$1 python stamp
  python=$(find_python)
  if [ ! -x .venv/bin/python ]; then
    say "Making .venv with $("$python" --version)"
    "$python" -m venv .venv 2>/dev/null || {
      rm -rf .venv
      install_debian "Making virtual environments" python3-venv
      "$python" -m venv .venv
    }
  fi
  stamp="$(cksum <pyproject.toml) $extras"
  if [ "$(cat .venv/.installed 2>/dev/null)" != "$stamp" ]; then
    say "Installing aar$extras"
    .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip -q
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".$extras"
    printf '%s' "$stamp" >.venv/.installed
  fi
}

# ensure_sandbox: set up Docker with its image where an engine runs, else bubblewrap.
ensure_sandbox() {
  if docker info >/dev/null 2>&1 && ! .venv/bin/aar doctor sandbox 2>/dev/null | grep -q 'campaigns here use docker'; then
    say "Building the sandbox image, once"
    .venv/bin/aar sandbox build || say "The image could not be built; bubblewrap is the other choice"
  fi
  .venv/bin/aar doctor --quiet sandbox && return
  command -v bwrap >/dev/null || install_debian "Installing bubblewrap, the sandbox" bubblewrap
  .venv/bin/aar doctor --quiet sandbox || die "no sandbox works here" "See: .venv/bin/aar doctor"
}
