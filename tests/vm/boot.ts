/**
 * Boots a virtual machine for one command: unified cgroup v2, systemd as PID 1, in about five seconds with User Mode Linux.
 *
 * @module
 */

import { existsSync } from "@std/fs";
import type { Machine } from "./prepare.ts";

/** What a machine is booted for. */
export interface Job {
  /** A shell script. */
  readonly command: string;
  /** Another, that root runs first. */
  readonly before?: string;
  /** `tester` runs it with uid 1000, in a cgroup that is delegated to that user. */
  readonly user: "root" | "tester";
  /** Directories of the host that the machine sees at the same paths, and writes to. */
  readonly shares: readonly string[];
  readonly timeoutSeconds: number;
  /** More of the kernel's command line. */
  readonly kernelArguments?: readonly string[];
  /** Where what it prints goes; by default, to standard output. Stays open. */
  readonly output?: WritableStream<Uint8Array>;
}

const MEMORY_MB = 2048;
/** Debian's User Mode Linux takes one. */
const PROCESSORS = 2;
/** What qemu's machine knows the job's own directory by. */
const JOB_TAG = "job";

/**
 * Runs the job, relaying what it prints. What it changes on the machine's disk is forgotten.
 *
 * @returns the command's exit status; undefined, after the console's last lines, where the machine did not get that far.
 */
export async function boot(machine: Machine, job: Job): Promise<number | undefined> {
  const directory = Deno.makeTempDirSync({ prefix: "vm-job-" });
  try {
    Deno.chmodSync(directory, 0o755);
    for (const name of ["agent", "ps"]) {
      Deno.copyFileSync(new URL(`${name}.sh`, import.meta.url), `${directory}/${name}`);
    }
    const { command, user, before = "" } = job;
    const shares = taggedShares(job).map(({ tag, path }) => `${tag} ${path}\n`).join("");
    const files = { command, user, before, shares };
    for (const [name, text] of Object.entries(files)) Deno.writeTextFileSync(`${directory}/${name}`, text);
    await runKernel(machine, directory, job);
    const status = `${directory}/status`;
    if (existsSync(status)) return Number(Deno.readTextFileSync(status));
    console.error(Deno.readTextFileSync(`${directory}/console`).split("\n").slice(-15).join("\n"));
    return undefined;
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

async function runKernel(machine: Machine, directory: string, job: Job): Promise<void> {
  const command = machine.kind === "qemu" ? qemuCommand(machine, directory, job) : umlCommand(machine, directory, job);
  // The kernel of User Mode Linux leaves our process group. Whoever ends that ends timeout(1), in the foreground, and with it the kernel.
  // Descriptor 3 is ours, for the machine's first serial line.
  const relay = ["sh", "-c", 'exec setpriv --pdeathsig KILL "$@" 3>&1 >"$0" 2>&1', `${directory}/console`];
  const child = new Deno.Command("timeout", {
    args: ["--foreground", "--signal=KILL", `${job.timeoutSeconds}`, ...relay, ...command],
    env: { TMPDIR: memoryDirectory(directory) },
    stdin: "null",
    stdout: "piped",
  }).spawn();
  await child.stdout.pipeTo(job.output ?? Deno.stdout.writable, { preventClose: true });
  await child.status;
}

/** What both kernels are told. */
function kernelArguments(directory: string, job: Job): readonly string[] {
  return [
    "rootfstype=ext4",
    "rw",
    "panic=-1",
    // Debian's kernels would take SELinux, and have no policy for it.
    "lsm=yama,apparmor",
    "quiet",
    "loglevel=3",
    "net.ifnames=0",
    "systemd.show_status=0",
    "systemd.wants=vm-job.service",
    `vm.job=${directory}`,
    ...job.kernelArguments ?? [],
  ];
}

function umlCommand({ kernel, disk }: Machine, directory: string, job: Job): readonly string[] {
  return [
    kernel,
    `mem=${MEMORY_MB}M`,
    `ncpus=${PROCESSORS}`,
    "seccomp=auto",
    "umid=vm",
    `uml_dir=${directory}`,
    `ubd0=${directory}/changes,${disk}`,
    "root=/dev/ubda",
    "con=null",
    "con0=null,fd:1",
    "ssl=null",
    "ssl0=null,fd:3",
    "noreboot",
    ...kernelArguments(directory, job),
  ];
}

function qemuCommand({ kernel, initrd, disk }: Machine, directory: string, job: Job): readonly string[] {
  const shared = [{ tag: JOB_TAG, path: directory }, ...taggedShares(job)];
  return [
    "qemu-system-x86_64",
    ...["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"],
    ...["-accel", "kvm", "-accel", "tcg,thread=multi", "-cpu", "max"],
    ...["-smp", `${PROCESSORS}`, "-m", `${MEMORY_MB}`],
    ...["-serial", "file:/dev/fd/3", "-serial", "stdio"],
    ...["-drive", `file=${disk},format=raw,if=virtio,snapshot=on,cache=unsafe,file.locking=off`],
    ...shared.flatMap(({ tag, path }) => [
      "-virtfs",
      `local,path=${path},mount_tag=${tag},security_model=none,multidevs=remap`,
    ]),
    ...["-kernel", kernel, "-initrd", initrd],
    ...["-append", ["console=ttyS1", "vm.shares=9p", ...kernelArguments(directory, job)].join(" ")],
  ];
}

/** The job's directories, with the names that qemu's machine knows them by. */
function taggedShares({ shares }: Job): readonly { readonly tag: string; readonly path: string }[] {
  return shares.map((path, index) => ({ tag: `share${index}`, path }));
}

/** Where the machine's memory, a file, goes: a container's /dev/shm may be too small, and then the machine would die of SIGBUS. */
function memoryDirectory(otherwise: string): string {
  const { stdout } = new Deno.Command("df", { args: ["--output=avail", "--block-size=1M", "/dev/shm"] }).outputSync();
  const free = Number(new TextDecoder().decode(stdout).trim().split("\n").at(-1));
  return free > MEMORY_MB ? "/dev/shm" : otherwise;
}
