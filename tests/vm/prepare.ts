/**
 * Makes what tests/vm boots: a User Mode Linux kernel and a Debian with systemd. Both come from Debian's packages, take about
 * a minute and 700 MB, and are kept; nothing is done twice.
 *
 * @module
 */

import { existsSync } from "@std/fs";
import { ensureInstalled } from "../../tools/packages.ts";
import { giveUp, type Outcome, reason, runTool } from "../../tools/bundle.ts";

/** A kernel and a disk, ready to boot. */
export interface Machine {
  /** The User Mode Linux kernel, a program. */
  readonly kernel: string;
  /** An ext4 image, never written to. */
  readonly disk: string;
}

/** What makes both. */
const hostPackages = [
  { package: "mmdebstrap", program: "mmdebstrap" },
  { package: "e2fsprogs", program: "mke2fs" },
  { package: "patchelf", program: "patchelf" },
];

/** What is in the machine, beside Debian's essential packages. */
const guestPackages = [
  ..."systemd systemd-sysv dbus dbus-user-session libpam-systemd kmod procps util-linux iproute2".split(" "),
  ..."busybox-static runc strace uidmap".split(" "),
  // For tests/conformance.
  ..."bats gawk jq".split(" "),
];

/** User Mode Linux since 6.16 runs its processes under seccomp instead of ptrace: several times faster. Bookworm's is older. */
const kernelSuite = "sid";

const mirror = "http://deb.debian.org/debian";

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

/** The service that runs what the machine was booted for: the job's own `agent`, from a directory of the host. */
const jobService = `[Unit]
Description=the job of this machine
Wants=dbus.socket systemd-logind.service
After=basic.target dbus.socket systemd-logind.service systemd-user-sessions.service systemd-modules-load.service

[Service]
Type=exec
ExecStart=/bin/sh -c 'mkdir -p /run/job && mount -t hostfs none /run/job -o "$(sed -n "s/.*vm.job=\\\\([^ ]*\\\\).*/\\\\1/p" /proc/cmdline)" && exec /bin/sh /run/job/agent'
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
};

/**
 * Makes sure that both are there. `cache`: the directory that keeps them. `kernel`: another kernel than Debian's, see README.md.
 *
 * Ends the program with one line where that is not possible: without network, or on a machine that is not x86_64.
 */
export function prepare(cache: string, kernel?: string): Machine {
  if (Deno.build.arch !== "x86_64") giveUp("User Mode Linux exists for x86_64 only");
  if (Deno.uid() !== 0) giveUp("making the virtual machine's disk needs root");
  ensureInstalled(hostPackages);
  Deno.mkdirSync(cache, { recursive: true });
  const debians = `${cache}/kernel`;
  if (kernel === undefined) keep(debians, kernelSuite, makeKernel);
  const disk = `${cache}/disk`;
  keep(disk, JSON.stringify([guestPackages, maskedUnits, guestFiles]), (directory) => makeDisk(directory, debians));
  return { kernel: kernel ?? `${debians}/linux`, disk: `${disk}/root.ext4` };
}

/** Runs `make` with a new directory which then becomes `directory`, unless that was made with the same `recipe` before. */
function keep(directory: string, recipe: string, make: (directory: string) => void): void {
  const note = `${directory}/recipe`;
  if (existsSync(note) && Deno.readTextFileSync(note) === recipe) return;
  const half = `${directory}.new`;
  const remove = (old: string) => existsSync(old) && Deno.removeSync(old, { recursive: true });
  remove(half);
  Deno.mkdirSync(half);
  const startedAt = performance.now();
  make(half);
  Deno.writeTextFileSync(`${half}/recipe`, recipe);
  // Not before: where the new one cannot be made, the old one still is what another checkout uses.
  remove(directory);
  Deno.renameSync(half, directory);
  console.log(`made ${directory} in ${Math.round((performance.now() - startedAt) / 1000)} s`);
}

/** Debian's user-mode-linux with the libc that it was built for: nothing of the suite is installed here. */
function makeKernel(directory: string): void {
  const lists = `${directory}/lists`;
  Deno.mkdirSync(`${lists}/partial`, { recursive: true });
  const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
  Deno.writeTextFileSync(`${directory}/sources`, `deb [signed-by=${keyring}] ${mirror} ${kernelSuite} main\n`);
  const apt = (...args: string[]) =>
    must("apt-get", [
      `-oDir::Etc::SourceList=${directory}/sources`,
      "-oDir::Etc::SourceParts=-",
      `-oDir::State::Lists=${lists}`,
      `-oDir::Cache=${directory}`,
      "-oAPT::Sandbox::User=root",
      ...args,
    ], "get a kernel from Debian");
  // Otherwise lists that could not be fetched are warnings, and packages are missing afterwards.
  apt("-oAPT::Update::Error-Mode=any", "update");
  apt("install", "--download-only", "--reinstall", "--yes", "--no-install-recommends", "user-mode-linux", "libc6");
  const archives = [...Deno.readDirSync(`${directory}/archives`)].map(({ name }) => name);
  for (const name of archives.filter((name) => /^(user-mode-linux|libc6)_/.test(name))) {
    must("dpkg-deb", ["--extract", `${directory}/archives/${name}`, `${directory}/unpacked`], "unpack the kernel");
  }
  const unpacked = `${directory}/unpacked/usr`;
  Deno.renameSync(`${unpacked}/bin/linux.uml`, `${directory}/linux`);
  Deno.renameSync(`${unpacked}/lib/uml/modules`, `${directory}/modules`);
  Deno.renameSync(`${unpacked}/lib/x86_64-linux-gnu`, `${directory}/lib`);
  // The directory's name once it is done.
  const final = directory.replace(/\.new$/, "");
  const loader = ["--set-interpreter", `${final}/lib/ld-linux-x86-64.so.2`, "--set-rpath", `${final}/lib`];
  must("patchelf", [...loader, `${directory}/linux`], "give the kernel its libc");
  for (const part of ["archives", "unpacked", "lists"]) Deno.removeSync(`${directory}/${part}`, { recursive: true });
}

/** `kernel`: a directory with the kernel's modules, if it has any. */
function makeDisk(directory: string, kernel: string): void {
  const tree = `${directory}/tree`;
  const without = ["doc", "man", "locale"].map((name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`);
  const packages = `--include=${guestPackages.join(",")}`;
  must(
    "mmdebstrap",
    ["--mode=root", "--variant=minbase", packages, ...without, "bookworm", tree, mirror],
    "get the virtual machine's packages from Debian",
  );
  for (const [path, text] of Object.entries(guestFiles)) {
    Deno.mkdirSync(`${tree}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
    Deno.writeTextFileSync(`${tree}/${path}`, text);
  }
  for (const unit of maskedUnits) Deno.symlinkSync("/dev/null", `${tree}/etc/systemd/system/${unit}`);
  must("chroot", [tree, "useradd", "--create-home", "--uid", "1000", "tester"], "make the machine's user");
  if (existsSync(`${kernel}/modules`)) {
    must("cp", ["-a", `${kernel}/modules`, `${tree}/usr/lib/modules`], "copy the kernel's modules");
    for (const { name } of Deno.readDirSync(`${tree}/usr/lib/modules`)) {
      must("chroot", [tree, "depmod", name], "list the kernel's modules");
    }
  }
  const options = ["-q", "-t", "ext4", "-m", "0", "-O", "^has_journal", "-E", "lazy_itable_init=1"];
  must("mke2fs", [...options, "-d", tree, `${directory}/root.ext4`, "4G"], "make the machine's disk");
  Deno.removeSync(tree, { recursive: true });
}

function must(program: string, args: readonly string[], purpose: string): void {
  const outcome: Outcome = runTool(program, args, { DEBIAN_FRONTEND: "noninteractive" });
  if (!outcome.success) giveUp(`cannot ${purpose}: ${program}: ${reason(outcome.stderr)}`);
}
