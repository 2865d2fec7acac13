/**
 * Boots a virtual machine for one command: unified cgroup v2, systemd as PID 1, in about five seconds.
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
}

const MEMORY_MB = 2048;

/**
 * Runs the job, relaying what it prints. What it changes on the machine's disk is forgotten.
 *
 * @returns the command's exit status; undefined, after the console's last lines, where the machine did not get that far.
 */
export async function boot(machine: Machine, job: Job): Promise<number | undefined> {
  const directory = Deno.makeTempDirSync({ prefix: "vm-job-" });
  try {
    Deno.chmodSync(directory, 0o755);
    Deno.copyFileSync(new URL("agent.sh", import.meta.url), `${directory}/agent`);
    const { command, user, before = "" } = job;
    const files = { command, user, before, shares: job.shares.map((share) => `${share}\n`).join("") };
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

async function runKernel({ kernel, disk }: Machine, directory: string, job: Job): Promise<void> {
  const { timeoutSeconds, kernelArguments = [] } = job;
  const args = [
    `mem=${MEMORY_MB}M`,
    "ncpus=2",
    "seccomp=auto",
    "umid=vm",
    `uml_dir=${directory}`,
    `ubd0=${directory}/changes,${disk}`,
    "root=/dev/ubda",
    "rootfstype=ext4",
    "rw",
    "con=null",
    "con0=null,fd:1",
    "ssl=null",
    // The first serial line is our pipe.
    "ssl0=null,fd:3",
    "noreboot",
    "panic=-1",
    // Debian's kernel would take SELinux, and has no policy for it.
    "lsm=yama,apparmor",
    "quiet",
    "loglevel=3",
    "net.ifnames=0",
    "systemd.show_status=0",
    "systemd.wants=vm-job.service",
    `vm.job=${directory}`,
    ...kernelArguments,
  ];
  // timeout(1) makes a process group, and ends all of it: the kernel's processes are processes here.
  const child = new Deno.Command("timeout", {
    args: [
      "--signal=KILL",
      `${timeoutSeconds}`,
      "sh",
      "-c",
      'exec "$@" 3>&1 >"$0" 2>&1',
      `${directory}/console`,
      kernel,
    ]
      .concat(args),
    env: { TMPDIR: memoryDirectory(directory) },
    stdin: "null",
    stdout: "piped",
  }).spawn();
  await child.stdout.pipeTo(Deno.stdout.writable, { preventClose: true });
  await child.status;
}

/** Where the machine's memory, a file, goes: a container's /dev/shm may be too small, and then the machine would die of SIGBUS. */
function memoryDirectory(otherwise: string): string {
  const { stdout } = new Deno.Command("df", { args: ["--output=avail", "--block-size=1M", "/dev/shm"] }).outputSync();
  const free = Number(new TextDecoder().decode(stdout).trim().split("\n").at(-1));
  return free > MEMORY_MB ? "/dev/shm" : otherwise;
}
