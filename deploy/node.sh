#!/bin/sh
# Installs runc-ts on the node that this pod runs on, as a runtime of containerd, or removes it:
#
#     node.sh install | uninstall | wait
#
# The pod is privileged and shares the node's processes: what has to happen on the node runs in the mount namespace of
# process 1. The node needs sh and tar.
set -eu

# Where runc-ts is installed on the node, containerd's configuration there, and what makes containerd read it.
prefix=${PREFIX:-/opt/runc-ts}
config=${CONTAINERD_CONFIG:-/etc/containerd/config.toml}
restart=${CONTAINERD_RESTART:-systemctl restart containerd}

# The directory of the release.
release=$(cd "$(dirname "$0")/.." && pwd)
begin='# BEGIN runc-ts'
end='# END runc-ts'

die() {
  echo "error: $*" >&2
  exit 1
}

on_node() { nsenter -t 1 -m -- "$@"; }

# Puts the release on the node for a moment, and carries out its command `install` or `uninstall`.
release_command() {
  tar -c -f - -C "$release" . | on_node sh -c 'rm -rf "$1" && mkdir -p "$1" && tar -x -f - -C "$1"' sh "$prefix.release"
  status=0
  on_node "$prefix.release/$1" --prefix "$prefix" || status=$?
  on_node rm -rf "$prefix.release"
  return $status
}

# Which release is installed: the hash of the list of its files.
wanted() { sha256sum <"$release/sbom.cdx.json"; }
found() { on_node cat "$prefix/release" 2>/dev/null || :; }

# Reads containerd's configuration; a node without one gets a new one. One that cannot be read must not be replaced.
read_configuration() {
  configured=$(on_node sh -c 'if [ -e "$1" ]; then cat "$1"; else echo "version = 2"; fi' sh "$config") ||
    die "cannot read $config"
  ! has "$begin" || has "$end" || die "$config has the line \"$begin\", and not \"$end\""
}

has() { echo "$configured" | grep -qxF "$1"; }

# The configuration without our tables.
without_ours() { echo "$configured" | sed "/^$begin\$/,/^$end\$/d"; }

# Our tables for the version of the configuration.
tables() {
  case $(echo "$configured" | sed -n 's/^ *version *= *\([0-9]*\).*/\1/p' | head -n 1) in
    2) plugin=io.containerd.grpc.v1.cri ;;
    3) plugin=io.containerd.cri.v1.runtime ;;
    *) die "$config has neither version 2 nor version 3" ;;
  esac
  # The kubelet has one driver for the cgroups of all runtimes.
  systemd=false
  ! without_ours | grep -q '^ *SystemdCgroup *= *true' || systemd=true
  cat <<TABLES
$begin
[plugins."$plugin".containerd.runtimes.runc-ts]
  runtime_type = "io.containerd.runc.v2"
  [plugins."$plugin".containerd.runtimes.runc-ts.options]
    BinaryName = "$prefix/bin/runc"
    SystemdCgroup = $systemd
$end
TABLES
}

# Replaces the configuration by the first argument, and lets containerd read it, if it is another one. The file keeps its
# owner and its mode: it may have passwords of registries.
configure() {
  [ "$1" != "$configured" ] || return 0
  echo "$1" | on_node sh -c 'mkdir -p "$(dirname "$1")" && rm -f "$1.new" && { [ ! -e "$1" ] || cp -p "$1" "$1.new"; } &&
    cat >"$1.new" && mv "$1.new" "$1"' sh "$config"
  on_node sh -c "$restart"
}

case ${1:-} in
  install)
    if [ "$(wanted)" != "$(found)" ]; then
      release_command install
      wanted | on_node sh -c 'cat >"$1"' sh "$prefix/release"
    fi
    read_configuration
    ours=$(tables)
    configure "$(without_ours; echo "$ours")"
    echo "runc-ts is installed"
    ;;
  uninstall)
    read_configuration
    configure "$(without_ours)"
    if [ -n "$(found)" ]; then
      on_node rm "$prefix/release"
      release_command uninstall
    fi
    echo "runc-ts is not installed"
    ;;
  wait)
    # A shell that is process 1 has to handle the signal itself.
    trap 'exit 0' TERM INT
    while :; do sleep 3600 & wait $!; done
    ;;
  *) die "usage: node.sh install | uninstall | wait" ;;
esac
