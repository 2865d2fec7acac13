/** Containers for tests of checkpoint and restore, and the CRIU that tests/criu/prepare.ts brings for them. */

import { assert, assertEquals } from "@std/assert";
import { existsSync } from "@std/fs";
import type { Fd } from "../../lib/ffi/fd.ts";
import { open } from "../../lib/ffi/files.ts";
import { contentOf } from "./foreground_harness.ts";
import {
  type Box,
  type Change,
  type ErrorRecord,
  inBoxAsync,
  kernel,
  type Result,
  type StartOptions,
  until,
} from "./harness.ts";

const preparation = new URL("../criu/prepare.ts", import.meta.url).pathname;
const directory = new URL("../../dist/criu", import.meta.url).pathname;
const binDirectory = `${directory}/bin`;

/** The program. */
export const criu = `${binDirectory}/criu`;
/** A PATH with it. */
export const criuPath = `${binDirectory}:/usr/sbin:/usr/bin:/sbin:/bin`;

/** Why there is no CRIU; undefined where there is. It is brought once. */
const lacking = ((): string | undefined => {
  if (existsSync(`${directory}/criu.conf`)) return undefined;
  const { success, stderr } = new Deno.Command(Deno.execPath(), { args: ["run", "-A", preparation] }).outputSync();
  return success ? undefined : new TextDecoder().decode(stderr).trim();
})();

/** Whether there is a CRIU. In CI a test without it fails. */
export const hasCriu: boolean = lacking === undefined || Boolean(Deno.env.get("CI"));

/** Whether CRIU and the kernel have a feature, by CRIU's name. */
export function hasFeature(name: string): boolean {
  if (lacking !== undefined) return false;
  return new Deno.Command(criu, { args: ["check", "--feature", name], stdout: "null", stderr: "null" }).outputSync()
    .success;
}

/** A `boxTest` that needs CRIU: left out where there is none, unless in CI. `needs`: a feature. */
export function criuTest(name: string, body: (box: CriuBox) => void | Promise<void>, needs?: string): void {
  const isThere = needs === undefined || hasFeature(needs);
  const why = isThere ? "" : ` (needs ${needs}, which this kernel does not have)`;
  Deno.test({
    name: hasCriu ? name + why : `${name} (no CRIU: ${lacking})`,
    ignore: !hasCriu || !isThere,
    fn: () => inBoxAsync("native", async (box) => await body(new CriuBox(box))),
  });
}

/**
 * Appends 1, 2, 3, … to /count, one a line. It waits by a read from a pipe, and starts no program for that: on cgroup v1
 * CRIU waits in vain for a process whose child is frozen between vfork(2) and execve(2).
 */
export const COUNTING =
  "sleep 100000 | { i=0; while :; do i=$((i+1)); echo $i >> /count; read -t 0.02 nothing; done; }";

/** Waits, in the same way, until /end exists, and exits with 7. */
const UNTIL_END = "mkfifo /tick; exec 8<>/tick; until test -e /end; do read -t 0.02 nothing <&8; done; exit 7";

/** The same, but each number goes over a TCP connection and comes back before it is written. */
export const TALKING = [
  "busybox nc -l -p 7 -e busybox cat &",
  "until busybox netstat -ltn | grep -q ':7 '; do sleep 0.02; done",
  `(${COUNTING.replace(" >> /count", "")}) | busybox nc 127.0.0.1 7 >> /count`,
].join("\n");

/** A box whose runtime finds CRIU. */
export class CriuBox {
  readonly box: Box;
  readonly images: string;

  constructor(box: Box) {
    this.box = box;
    this.images = `${box.directory}/images`;
  }

  get id(): string {
    return this.box.id;
  }

  /** The environment in which the runtime finds CRIU. */
  get env(): Readonly<Record<string, string>> {
    return { PATH: criuPath };
  }

  /** Runs the runtime with CRIU on its PATH. What it leaves running has /dev/null as its streams. */
  runc(args: readonly string[], options: StartOptions = {}): Result {
    using nothing = this.nothing();
    return this.box.runc(args, { stdout: nothing, ...options, env: { PATH: criuPath, ...options.env } });
  }

  /** /dev/null. */
  nothing(): Fd {
    return open(kernel, "/dev/null", 2);
  }

  /** As {@link runc}; it has to succeed without a word. */
  must(args: readonly string[], options: StartOptions = {}): void {
    const { code, stderr } = this.runc(args, options);
    assertEquals({ code, stderr }, { code: 0, stderr: "" }, `${args.join(" ")}\n${this.errors()}`);
  }

  /** Runs what has to fail; returns the error's record, and the warnings before it. */
  refused(args: readonly string[], options: StartOptions = {}): ErrorRecord & { readonly warnings: readonly string[] } {
    const log = `${this.box.directory}/log-of-refused`;
    const { code } = this.runc(["--log", log, "--log-format", "json", ...args], options);
    assert(code !== 0, `${args.join(" ")} was not refused`);
    const records: ErrorRecord[] = contentOf(log).trimEnd().split("\n").map((line) => JSON.parse(line));
    Deno.removeSync(log);
    const errors = records.filter(({ level }) => level === "error");
    assertEquals(errors.length, 1, JSON.stringify(records));
    const warnings = records.filter(({ level }) => level === "warning").map(({ msg }) => msg);
    return { ...errors[0]!, exitCode: code, warnings };
  }

  /** Lines of CRIU's logs that tell of errors: for messages. */
  errors(): string {
    const logs = ["dump.log", "restore.log"].map((name) => contentOf(`${this.images}/${name}`));
    return logs.flatMap((log) => log.split("\n")).filter((line) => line.includes("Error")).join("\n");
  }

  /** Writes a config whose root file system is writable, and whose program is a script. */
  write(script: string, change: Change = () => {}): void {
    this.box.write((config) => {
      config.root.readonly = false;
      config.process.args = ["sh", "-c", script];
      change(config);
    });
  }

  /** Starts a program in the background. `output`: its streams, instead of /dev/null. */
  start(script: string, change?: Change, output?: Fd): void {
    this.write(script, change);
    using nothing = this.nothing();
    const streams = { stdout: output ?? nothing, stderr: output ?? nothing };
    assertEquals(this.box.runc(["run", "--detach", this.id], streams).code, 0);
  }

  /** Starts a program that counts, and waits until it does. */
  startCounting(change?: Change, output?: Fd): void {
    this.start(COUNTING, change, output);
    this.countsOn();
  }

  /** Starts a program that exits with 7 when /end exists, and waits until it has started its last program. */
  startUntilEnd(): void {
    this.start(UNTIL_END);
    until("the fifo", () => existsSync(`${this.box.rootfs}/tick`));
  }

  /**
   * PATH with a `criu` to which something happens at a system call of that name. The tracer is no child of the
   * runtime's, CRIU itself is. strace(1), "--inject", "--daemonize"
   */
  withAccident(what: string): { readonly PATH: string; readonly trace: string } {
    const directory = `${this.box.directory}/bin`;
    const trace = `${this.box.directory}/trace`;
    Deno.mkdirSync(directory, { recursive: true });
    const lines = ["#!/bin/sh", `exec /usr/bin/strace --daemonize --output=${trace} ${what} ${criu} "$@"`];
    Deno.writeTextFileSync(`${directory}/criu`, `${lines.join("\n")}\n`, { mode: 0o755 });
    return { PATH: `${directory}:/usr/sbin:/usr/bin:/sbin:/bin`, trace };
  }

  checkpoint(...options: readonly string[]): void {
    this.must(["checkpoint", "--image-path", this.images, ...options, this.id]);
  }

  /** Restores in the background, without any stream of ours. */
  restore(...options: readonly string[]): void {
    using nothing = this.nothing();
    const args = ["restore", "--detach", "--image-path", this.images, ...options, this.id];
    const { code } = this.runc(args, { stdout: nothing, stderr: nothing });
    assertEquals(code, 0, this.errors());
  }

  /** The last number. Every number before it has been written once: the program has lost nothing and begun nothing anew. */
  get count(): number {
    const lines = contentOf(`${this.box.rootfs}/count`).split("\n").slice(0, -1);
    assertEquals(lines, lines.map((_, index) => String(index + 1)));
    return lines.length;
  }

  /** Waits until the program has counted on. */
  countsOn(): void {
    const before = this.count;
    until("the program to count on", () => this.count > before + 1);
  }

  get status(): string {
    return this.box.state().status;
  }
}

/** The process of CRIU that the runtime has started: its other child is the tracer. */
export function criuOf(pid: number): number {
  const children = contentOf(`/proc/${pid}/task/${pid}/children`).trim().split(" ");
  const [found, ...more] = children.filter((child) => !contentOf(`/proc/${child}/cmdline`).includes("strace"));
  assertEquals(more, []);
  return Number(found);
}
