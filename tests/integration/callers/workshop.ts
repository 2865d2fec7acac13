/** Where a real caller of the runtime works during its tests: a directory of its own, an image of busybox, and the way back. */

import { assertEquals } from "@std/assert";
import { existsSync } from "@std/fs";
import { dirname } from "@std/path";
import {
  busybox,
  execute,
  isSnapshot,
  kernel,
  program,
  type Result,
  Running,
  type StartOptions,
  until,
} from "../harness.ts";
import { cgroupsNamed, mounts, Watchman } from "../leftovers.ts";
import { kill } from "../../../lib/ffi/process/process.ts";
import { launcher } from "../../../tools/build.ts";

/** The runtime under test, as callers are told of it. */
export const runtime = program;
/** What the runtime is compared with. */
export const debianRuntime = "/usr/sbin/runc";

/** A user who is not root: no account of this machine has the number. */
const USER = { name: "tester", id: 4000 } as const;
/** The ids that containers without root, and with user namespaces, have. */
export const subordinate = { first: 300_000, count: 65_536 } as const;

/** The files that tell who there is. */
const accounts: Readonly<Record<string, string>> = {
  passwd: `root:x:0:0:root:/root:/bin/sh\n${USER.name}:x:${USER.id}:${USER.id}::/:/bin/sh\n`,
  group: `root:x:0:\n${USER.name}:x:${USER.id}:\n`,
  subuid: `${USER.name}:${subordinate.first}:${subordinate.count}\n`,
  subgid: `${USER.name}:${subordinate.first}:${subordinate.count}\n`,
};

/** Started as process 1; its first line of output is its pid on the host. */
const init = (accountsDirectory: string): string =>
  [
    "read -r pid rest </proc/self/stat",
    "mount -t proc proc /proc",
    // Callers keep state there, whatever directories they are given.
    "for place in /run /var/lib; do mount -t tmpfs -o mode=755 none $place; done",
    "cp -a /etc /run/etc",
    `cp ${accountsDirectory}/* /run/etc/`,
    "mount --bind /run/etc /etc",
    "ip link set lo up",
    'echo "$pid"',
    // As long as the shell waits it reaps orphans, too.
    "sleep infinity & wait",
  ].join("\n");

/**
 * A machine of its own for one caller: process, mount and network namespaces, with accounts of its own and a directory in
 * which it keeps everything. Disposing of it ends and removes all that was started and made in it; so does the death of the test.
 */
export class Workshop implements Disposable {
  readonly directory = Deno.makeTempDirSync({ prefix: "runc-test-" });
  /** In the names of cgroups: no other test's. */
  readonly name = `runc-deno-test-${Deno.pid}-${this.directory.slice("/tmp/runc-test-".length)}`;
  readonly #watchman = new Watchman(this.name);
  readonly #machine: Running;
  readonly #init: number;
  readonly #daemons: Running[] = [];

  constructor() {
    Deno.chmodSync(this.directory, 0o755);
    Deno.mkdirSync(`${this.directory}/accounts`);
    for (const [name, text] of Object.entries(accounts)) this.write(`accounts/${name}`, text);
    this.#machine = new Running([
      "/usr/bin/setpriv",
      "--pdeathsig=KILL",
      "/usr/bin/unshare",
      ..."--mount --propagation=private --net --pid --fork --kill-child".split(" "),
      "/bin/sh",
      "-ec",
      init(`${this.directory}/accounts`),
    ]);
    until("the machine is up", () => {
      if (this.#machine.isOver) throw new Error(this.#machine.stderr);
      return this.#machine.stdout.includes("\n");
    });
    this.#init = Number(this.#machine.stdout);
  }

  /** A command line that does `argv` on the machine. */
  #there(argv: readonly string[]): readonly string[] {
    return ["/usr/bin/nsenter", `--target=${this.#init}`, "--mount", "--net", "--pid", ...argv];
  }

  /** Runs a program on the machine to its end. */
  execute(argv: readonly string[], options: StartOptions = {}): Result {
    return execute(this.#there(argv), options);
  }

  /** {@link execute} as a user who is not root. */
  executeAsUser(argv: readonly string[], options: StartOptions = {}): Result {
    const user = ["/usr/bin/setpriv", `--reuid=${USER.id}`, `--regid=${USER.id}`, "--init-groups"];
    return this.execute([...user, ...argv], options);
  }

  /** A directory of the user who is not root. */
  userDirectory(name: string): string {
    Deno.mkdirSync(`${this.directory}/${name}`);
    Deno.chownSync(`${this.directory}/${name}`, USER.id, USER.id);
    return `${this.directory}/${name}`;
  }

  /** The runtime, where the checkout may be out of the user's reach. */
  copiedRuntime(): string {
    const to = `${this.directory}/program`, deno = `${to}/deno`;
    Deno.mkdirSync(to);
    for (const { name } of Deno.readDirSync(dirname(program))) {
      if (name === "runc" || name.endsWith(".js")) Deno.copyFileSync(`${dirname(program)}/${name}`, `${to}/${name}`);
    }
    // A program that was frozen needs nothing else; a launcher has to find Deno.
    if (isSnapshot(program)) return `${to}/runc`;
    Deno.copyFileSync(Deno.execPath(), deno);
    Deno.chmodSync(deno, 0o755);
    Deno.writeTextFileSync(`${to}/runc`, launcher(deno, to), { mode: 0o755 });
    return `${to}/runc`;
  }

  /** Writes a file into the directory; returns its path. */
  write(name: string, text: string): string {
    Deno.writeTextFileSync(`${this.directory}/${name}`, text);
    return `${this.directory}/${name}`;
  }

  /** A root file system as a tar archive: busybox under all its names. */
  rootfs(): string {
    const root = `${this.directory}/rootfs`;
    for (const name of ["bin", "etc", "tmp", "work"]) Deno.mkdirSync(`${root}/${name}`, { recursive: true });
    Deno.copyFileSync(busybox, `${root}/bin/busybox`);
    const applets = execute([busybox, "--list"]).stdout.trimEnd().split("\n").filter((name) => name !== "busybox");
    for (const name of applets) Deno.symlinkSync("busybox", `${root}/bin/${name}`);
    Deno.writeTextFileSync(`${root}/etc/passwd`, "root:x:0:0::/root:/bin/sh\nsomeone:x:1000:1000::/:/bin/sh\n");
    Deno.writeTextFileSync(`${root}/etc/group`, "root:x:0:\nsomeone:x:1000:\n");
    Deno.writeTextFileSync(`${root}/work/script`, "no program\n");
    this.must(["/usr/bin/tar", "--create", "--file", `${root}.tar`, "--directory", root, "."]);
    return `${root}.tar`;
  }

  /** Runs a program on the machine that has to succeed; returns what it printed. */
  must(argv: readonly string[], options: StartOptions = {}): string {
    const { code, stdout, stderr } = this.execute(argv, options);
    assertEquals(code, 0, `${argv.join(" ")}: ${stderr}`);
    return stdout;
  }

  /** Starts a daemon on the machine, and waits until `isReady`. */
  daemon(argv: readonly string[], isReady: () => boolean, options: StartOptions = {}): Running {
    const daemon = new Running(this.#there(argv), options);
    this.#daemons.push(daemon);
    until(`${argv[0]} is ready`, () => {
      if (daemon.isOver) throw new Error(`${argv[0]} ended: ${daemon.wait().stderr}`);
      return isReady();
    });
    return daemon;
  }

  /** Ends everything. @throws where a container was left. */
  [Symbol.dispose](): void {
    // With process 1 all others of its namespace end.
    kill(kernel, this.#init, 9);
    this.#machine.wait();
    for (const daemon of [...this.#daemons, this.#machine]) daemon[Symbol.dispose]();
    const left = [
      ...this.#removeCgroups(),
      ...this.#watchman.find().filter((one) => one.includes(this.name) || one.includes(this.directory)),
    ];
    this.#watchman.clear();
    removeLookalikes(this.name);
    Deno.removeSync(this.directory, { recursive: true });
    assertEquals(left, [], "left behind");
  }

  /** Callers leave the cgroup that they make for all containers, and their monitors'; returns those of containers. */
  #removeCgroups(): string[] {
    return cgroupsNamed(this.name).flatMap((parent) => {
      const children = [...Deno.readDirSync(parent)].filter(({ isDirectory }) => isDirectory).map(({ name }) => name);
      for (const child of children) Deno.removeSync(`${parent}/${child}`);
      Deno.removeSync(parent);
      return children.filter((child) => child !== "conmon").map((child) => `cgroup ${parent}/${child}`);
    });
  }
}

/** Podman makes directories for hierarchies that are not mounted, too: they are in the tmpfs that the others are mounted on. */
function removeLookalikes(name: string): void {
  const top = "/sys/fs/cgroup", all = mounts();
  if (!all.some(({ place, type }) => place === top && type === "tmpfs")) return;
  for (const entry of Deno.readDirSync(top)) {
    const path = `${top}/${entry.name}`;
    if (!entry.isDirectory || all.some(({ place }) => place === path)) continue;
    if (existsSync(`${path}/${name}`)) Deno.removeSync(`${path}/${name}`, { recursive: true });
    if ([...Deno.readDirSync(path)].length === 0) Deno.removeSync(path);
  }
}

/** A program, and the Debian package that has it. */
export interface Needed {
  readonly program: string;
  readonly package: string;
}

/** What is missing of `needed`; in CI nothing may be. */
export function missing(needed: readonly Needed[]): string {
  if (Deno.env.has("CI")) return "";
  const lacking = needed.filter(({ program }) => execute(["/bin/sh", "-c", `command -v ${program}`]).code !== 0);
  return lacking.length === 0 ? "" : ` (skipped: needs Debian's ${lacking.map((one) => one.package).join(", ")})`;
}
