#!/bin/sh
# Installs Deno and esbuild with npm, and uses Deno to run a task in deno.json:
#
#     sh tools/setup.sh TASK [ARG...]
#
# `npm run demo`, `npm test` and so on call this; package.json has a script for each task. With your own Deno, run `deno task TASK` directly.
set -eu

die() {
  echo "error: $*" >&2
  exit 1
}

# The architecture's name in Deno's npm packages.
deno_arch() {
  case $(uname -m) in
    x86_64) echo x64 ;;
    aarch64) echo arm64 ;;
    *) die "no Deno for $(uname -m): only x86_64 and aarch64 are supported" ;;
  esac
}

# The value of the first `"NAME": "..."` in a JSON file; empty where the file is missing.
json_value() {
  sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" "$2" 2>/dev/null | head -n 1
}

# Whether npm has installed the version of a package that package.json names.
is_installed() {
  wanted=$(json_value "$(echo "$1" | sed 's|/|\\/|')" package.json)
  [ "$(json_value version "node_modules/$1/package.json")" = "$wanted" ]
}

# Installs what package-lock.json pins, unless it is there. Scripts of packages are not run: the binaries come without.
ensure_packages() {
  if [ -x "$deno" ] && is_installed "@deno/linux-$arch-glibc" && is_installed "@esbuild/linux-$arch"; then
    return
  fi
  command -v npm >/dev/null || die "npm not found: install npm (Debian: apt-get install npm) or Deno"
  npm ci --ignore-scripts --no-audit --no-fund || die "npm ci failed: is the npm registry reachable?"
  [ -x "$deno" ] || die "npm ci did not install $deno: is this a glibc system?"
}

[ $# -ge 1 ] || die "usage: sh tools/setup.sh TASK [ARG...]"
cd "$(dirname "$0")/.."
arch=$(deno_arch)
deno=$PWD/node_modules/@deno/linux-$arch-glibc/deno
ensure_packages
exec "$deno" task "$@"
