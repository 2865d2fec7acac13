/**
 * A room in which whole runs can do no harm: its own mount, pid, network, IPC and UTS namespaces; a root in which
 * everything that is written goes to memory; a /dev without the host's devices.
 *
 * @module
 */

import { findDeno } from "../../../tools/build.ts";
import { projectDir } from "../../../tools/bundle.ts";

/** Run as process 1 of the room. `$0`: a directory for its root; the rest: what to run. */
const script = `set -e
work=$1 project=$2
shift 2
mount -t tmpfs -o mode=755 fuzz "$work"
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" fuzz "$work/root"
cd "$work/root"
mkdir -p ".$project" proc sys dev run tmp
mount --rbind "$project" ".$project"
mount -o remount,bind,ro ".$project"
mount -t proc proc proc
mount --rbind /sys sys
mount -t tmpfs -o mode=755 dev dev
for device in null:3 zero:5 full:7 random:8 urandom:9; do
  mknod -m 666 "dev/\${device%:*}" c 1 "\${device#*:}"
done
mknod -m 666 dev/tty c 5 0
ln -s /proc/self/fd dev/fd
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,gid=5,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs shm dev/shm
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp
mkdir old
pivot_root . old
cd /
umount -l old
rmdir old
# No exec: process 1 takes the orphans.
"$@"
exit $?`;

const namespaces = [
  "--mount",
  "--pid",
  "--net",
  "--ipc",
  "--uts",
  "--fork",
  "--kill-child",
  "--propagation",
  "private",
];

/** Starts \`tests/fuzz/whole/inside.ts\` with these arguments in a new room. */
export function inRoom(args: readonly string[], work: string): Deno.ChildProcess {
  const inside = [findDeno(), "run", "--allow-all", "--no-check", "--no-lock", "--quiet", "tests/fuzz/whole/inside.ts"];
  return new Deno.Command("/usr/bin/unshare", {
    args: [
      ...namespaces,
      "/bin/sh",
      "-c",
      script,
      "sh",
      work,
      projectDir,
      "/bin/sh",
      "-c",
      'cd "$0" && exec "$@"',
      projectDir,
      ...inside,
      ...args,
    ],
    env: { NO_COLOR: "1", DENO_NO_PROMPT: "1", DENO_DIR: "/tmp/deno" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}
