/** Where a real caller of the runtime works during its tests: a directory of its own, an image of busybox, and the way back. */

import { assertEquals } from "@std/assert";
import { busybox, execute, kernel, program, type Result, Running, type StartOptions, until } from "../harness.ts";
import { cgroupsNamed, Watchman } from "../leftovers.ts";
import { kill } from "../../../lib/ffi/process.ts";

/** The runtime under test, as callers are told of it. */
export const runtime = program;

/** A directory for one caller, with all that it started in it; disposing of it ends and removes everything. */
export class Workshop implements Disposable {
  readonly directory = Deno.makeTempDirSync({ prefix: "runc-test-" });
  /** In the names of cgroups: no other test's. */
  readonly name = `runc-deno-test-${Deno.pid}-${this.directory.slice("/tmp/runc-test-".length)}`;
  readonly #watchman = new Watchman(this.name);
  readonly #daemons: Running[] = [];

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

  /** Runs a program that has to succeed; returns what it printed. */
  must(argv: readonly string[], options: StartOptions = {}): string {
    const { code, stdout, stderr } = execute(argv, options);
    assertEquals(code, 0, `${argv.join(" ")}: ${stderr}`);
    return stdout;
  }

  /** Starts a daemon, and waits until `isReady`. */
  daemon(argv: readonly string[], isReady: () => boolean, options: StartOptions = {}): void {
    const daemon = new Running(argv, options);
    this.#daemons.push(daemon);
    until(`${argv[0]} is ready`, () => {
      if (daemon.isOver) throw new Error(`${argv[0]} ended: ${daemon.wait().stderr}`);
      return isReady();
    });
  }

  /** Ends daemons, the latest first, then whatever is left. @throws where there was something left. */
  [Symbol.dispose](): void {
    for (const daemon of this.#daemons.toReversed()) {
      daemon.signal(15);
      daemon.wait();
      daemon[Symbol.dispose]();
    }
    this.#endStragglers();
    const left = [
      ...this.#removeCgroups(),
      ...this.#watchman.find().filter((one) => one.includes(this.name) || one.includes(this.directory)),
    ];
    this.#watchman.clear();
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

  /** Shims and monitors end by themselves some time after their containers, and nobody waits for them. */
  #endStragglers(): void {
    for (const pid of processesOf(this.directory)) kill(kernel, pid, 9);
    until("the end of the last monitor", () => processesOf(this.directory).length === 0);
  }
}

/** Processes whose command line has `text` in it, but for this one. */
function processesOf(text: string): number[] {
  return [...Deno.readDirSync("/proc")].flatMap(({ name }) => {
    if (!/^\d+$/.test(name) || Number(name) === Deno.pid) return [];
    try {
      const isOurs = Deno.readTextFileSync(`/proc/${name}/cmdline`).includes(text);
      return isOurs ? [Number(name)] : [];
    } catch {
      // It has ended.
      return [];
    }
  });
}

/** A caller with a command line like Docker's: what the suite works with. */
export interface Engine {
  /** Runs the caller's client to its end. */
  call(args: readonly string[], options?: StartOptions): Result;
  /** Name of the imported image. */
  readonly image: string;
  /** A directory that containers may be given. */
  readonly directory: string;
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
