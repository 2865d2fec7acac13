/**
 * Makes what tests/vm boots: a kernel, and a Debian with systemd. Both come from Debian's packages, take about a minute and 700 MB,
 * and are kept; nothing is done twice.
 *
 * @module
 */

import { existsSync } from "@std/fs";
import { ensureInstalled } from "../../tools/packages.ts";
import { giveUp } from "../../tools/bundle.ts";
import { debianKernel, fullKernel, type Kernel, qemuKernel } from "./kernels.ts";
import { mirror, must } from "./packages.ts";

const kernels = { debian: debianKernel, full: fullKernel, qemu: qemuKernel } as const satisfies Record<string, Kernel>;

/** A machine by its kernel. README.md says what each can do. */
export type Kind = keyof typeof kernels;

/** All there are. */
export const kinds = Object.keys(kernels) as readonly Kind[];

/** A kernel and a disk, ready to boot. */
export interface Machine {
  readonly kind: Kind;
  /** A program; of `qemu` an image. */
  readonly kernel: string;
  /** What the kernel of `qemu` starts with. */
  readonly initrd: string;
  /** An ext4 image, never written to. */
  readonly disk: string;
}

/** What makes the disk. */
const diskPackages = [
  { package: "mmdebstrap", program: "mmdebstrap" },
  { package: "e2fsprogs", program: "mke2fs" },
];

/** What is in the machine, beside Debian's essential packages. */
const guestPackages = [
  ..."systemd systemd-sysv dbus dbus-user-session libpam-systemd kmod procps util-linux iproute2".split(" "),
  ..."busybox-static runc strace uidmap".split(" "),
  // For tests/conformance.
  ..."bats gawk jq".split(" "),
];

/** Units that a machine of seconds does not need. Each costs time to boot. */
const maskedUnits = [
  "apt-daily.timer",
  "apt-daily-upgrade.timer",
  "console-getty.service",
  "dpkg-db-backup.timer",
  "e2scrub_all.timer",
  "e2scrub_reap.service",
  "fstrim.timer",
  "getty.target",
  "systemd-fsck-root.service",
  "systemd-pstore.service",
  "systemd-random-seed.service",
  "systemd-remount-fs.service",
  "systemd-udev-trigger.service",
  "systemd-udevd-control.socket",
  "systemd-udevd-kernel.socket",
  "systemd-udevd.service",
  "systemd-update-utmp.service",
];

/** `mount-share TAG DIRECTORY PLACE`: shows a directory of the host, which qemu knows by a tag. */
const mountShare = `#!/bin/sh
case $(cat /proc/cmdline) in
  *vm.shares=9p*) exec mount -t 9p -o trans=virtio,version=9p2000.L,cache=loose,msize=512000 "$1" "$3" ;;
  *) exec mount -t hostfs -o "$2" none "$3" ;;
esac
`;

/** The service that runs what the machine was booted for: the job's own `agent`, from a directory of the host. */
const jobService = `[Unit]
Description=the job of this machine
Wants=dbus.socket systemd-logind.service
After=basic.target dbus.socket systemd-logind.service systemd-user-sessions.service systemd-modules-load.service

[Service]
Type=exec
ExecStart=/bin/sh -c 'mkdir -p /run/job && mount-share job "$(sed -n "s/.*vm.job=\\\\([^ ]*\\\\).*/\\\\1/p" /proc/cmdline)" /run/job && exec /bin/sh /run/job/agent'
Environment=HOME=/root USER=root LANG=C.UTF-8
Delegate=yes
TasksMax=infinity
KillMode=process
`;

/** What {@link prepare} writes into the machine, by path. */
const guestFiles: Readonly<Record<string, string>> = {
  "etc/hostname": "vm\n",
  "etc/hosts": "127.0.0.1 localhost vm\n",
  "etc/fstab": "",
  "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
  "etc/modules-load.d/vm.conf": "overlay\n",
  "etc/systemd/journald.conf.d/vm.conf": "[Journal]\nStorage=volatile\n",
  // systemd gives users memory and pids; a container of theirs may limit more.
  "etc/systemd/system/user@.service.d/delegate.conf": "[Service]\nDelegate=cpu cpuset io memory pids\n",
  "etc/systemd/system/vm-job.service": jobService,
  "usr/local/sbin/mount-share": mountShare,
};

/**
 * Makes sure that both are there. `cache`: the directory that keeps them.
 *
 * Ends the program with one line where that is not possible: without network, or on a machine that is not x86_64.
 */
export function prepare(cache: string, kind: Kind): Machine {
  if (Deno.build.arch !== "x86_64") giveUp("the virtual machine is for x86_64 only");
  if (Deno.uid() !== 0) giveUp("making the virtual machine's disk needs root");
  if (kind === "qemu") ensureInstalled([{ package: "qemu-system-x86", program: "qemu-system-x86_64" }]);
  const directoryOf = (kind: Kind) => `${cache}/kernel-${kind}`;
  const makeKernel = (kind: Kind) => keep(directoryOf(kind), kernels[kind].recipe, kernels[kind].make);
  // The disk has its modules.
  makeKernel("debian");
  if (kind !== "debian") makeKernel(kind);
  keep(`${cache}/disk`, diskRecipe, (directory) => makeDisk(directory, `${directoryOf("debian")}/modules`));
  const kernel = directoryOf(kind);
  return { kind, kernel: `${kernel}/kernel`, initrd: `${kernel}/initrd`, disk: `${cache}/disk/root.ext4` };
}

/** Runs `make` with a new directory which then becomes `directory`, unless that was made with the same `recipe` before. */
function keep(directory: string, recipe: string, make: (directory: string) => void): void {
  const note = `${directory}/recipe`;
  if (existsSync(note) && Deno.readTextFileSync(note) === recipe) return;
  const half = `${directory}.new`;
  const remove = (old: string) => existsSync(old) && Deno.removeSync(old, { recursive: true });
  remove(half);
  Deno.mkdirSync(half, { recursive: true });
  const startedAt = performance.now();
  make(half);
  Deno.writeTextFileSync(`${half}/recipe`, recipe);
  // Not before: where the new one cannot be made, the old one still is what another checkout uses.
  remove(directory);
  Deno.renameSync(half, directory);
  console.log(`made ${directory} in ${Math.round((performance.now() - startedAt) / 1000)} s`);
}

const diskRecipe = JSON.stringify([guestPackages, maskedUnits, guestFiles]);

/** `modules`: a directory of a kernel's. */
function makeDisk(directory: string, modules: string): void {
  ensureInstalled(diskPackages);
  const tree = `${directory}/tree`;
  const without = ["doc", "man", "locale"].map((name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`);
  const packages = `--include=${guestPackages.join(",")}`;
  must(
    "mmdebstrap",
    ["--mode=root", "--variant=minbase", packages, ...without, "bookworm", tree, mirror()],
    "get the virtual machine's packages from Debian",
  );
  for (const [path, text] of Object.entries(guestFiles)) {
    Deno.mkdirSync(`${tree}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
    Deno.writeTextFileSync(`${tree}/${path}`, text, { mode: text.startsWith("#!") ? 0o755 : 0o644 });
  }
  for (const unit of maskedUnits) Deno.symlinkSync("/dev/null", `${tree}/etc/systemd/system/${unit}`);
  must("chroot", [tree, "useradd", "--create-home", "--uid", "1000", "tester"], "make the machine's user");
  must("cp", ["-a", modules, `${tree}/usr/lib/modules`], "copy the kernel's modules");
  for (const { name } of Deno.readDirSync(`${tree}/usr/lib/modules`)) {
    must("chroot", [tree, "depmod", name], "list the kernel's modules");
  }
  const options = ["-q", "-t", "ext4", "-m", "0", "-O", "^has_journal", "-E", "lazy_itable_init=1"];
  must("mke2fs", [...options, "-d", tree, `${directory}/root.ext4`, "4G"], "make the machine's disk");
  Deno.removeSync(tree, { recursive: true });
}
