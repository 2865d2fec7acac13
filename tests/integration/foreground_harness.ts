/** Runs tests/fixtures/foreground_driver.ts as a child of the test, which plays its user. */

import { CloseRange } from "../../lib/ffi/constants.ts";
import type { Fd } from "../../lib/ffi/fd.ts";
import { pipe, writeAll } from "../../lib/ffi/files.ts";
import { alloc, Kernel } from "../../lib/ffi/kernel.ts";
import { poll, POLLIN } from "../../lib/ffi/poll.ts";
import { hasEnded, kill, shellStatus, spawn, waitChild } from "../../lib/ffi/process/process.ts";
import type { DriverOptions } from "../fixtures/foreground_driver.ts";

/** A bound for what takes milliseconds: nothing is measured by it. Less, where it is known to be reached. */
const PATIENCE_MS = Number(Deno.env.get("RUNC_TEST_PATIENCE") ?? 60_000);

export const kernel = new Kernel();

// Whoever runs the tests may have left descriptors open. What a test passes on it passes by name.
kernel.must("close_range(3, ~0, CLOSE_RANGE_CLOEXEC)", "close_range", 3, 0xffffffff, CloseRange.CLOSE_RANGE_CLOEXEC);

const driverPath = new URL("../fixtures/foreground_driver.ts", import.meta.url).pathname;

/** Waits until `condition` gives something. @throws where it never does. */
export function until<T>(what: string, condition: () => T | undefined | false): T {
  for (const deadline = performance.now() + PATIENCE_MS; performance.now() < deadline;) {
    const result = condition();
    if (result !== undefined && result !== false) return result;
    poll(kernel, [], 5);
  }
  throw new Error(`never happened: ${what}`);
}

/** As {@link until}, while the event loop goes on. */
export async function untilAsync<T>(what: string, condition: () => T | undefined | false): Promise<T> {
  for (const deadline = performance.now() + PATIENCE_MS; performance.now() < deadline;) {
    const result = condition();
    if (result !== undefined && result !== false) return result;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`never happened: ${what}`);
}

/** What is in a file; empty where there is none. */
export function contentOf(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return "";
  }
}

/** The path of the program that a process executes; empty where there is none. */
export function executableOf(pid: number): string {
  try {
    return Deno.readLinkSync(`/proc/${pid}/exe`);
  } catch {
    return "";
  }
}

function isThere(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

/** One read(2). Empty at the end, and where a terminal was hung up. @throws where nothing comes. */
export function readSome(fd: Fd): Uint8Array<ArrayBuffer> {
  if (poll(kernel, [{ fd: fd.number, events: POLLIN }], PATIENCE_MS)[0] === 0) {
    throw new Error(`nothing on ${fd.label}`);
  }
  const bytes = alloc(64 * 1024);
  return bytes.subarray(0, Math.max(0, kernel.retry("read", fd.number, bytes, bytes.length)));
}

/** Reads to the end. */
export function readAll(fd: Fd): string {
  return readUntil(fd, () => false);
}

/** Reads until what has come makes `isEnough` true, or to the end. */
export function readUntil(fd: Fd, isEnough: (text: string) => boolean): string {
  const decoder = new TextDecoder();
  let text = "";
  while (!isEnough(text)) {
    const bytes = readSome(fd);
    if (bytes.length === 0) break;
    text += decoder.decode(bytes, { stream: true });
  }
  return text;
}

export function writeText(fd: Fd, text: string): void {
  writeAll(kernel, fd.number, new TextEncoder().encode(text));
}

/** The driver with its stdio; killed, if it still runs, at the end of the test. */
export class Driver implements Disposable {
  readonly directory = Deno.makeTempDirSync({ prefix: "foreground-" });
  readonly log = `${this.directory}/log`;
  readonly #fds: Fd[] = [];
  #pid = 0;
  #isMonitor = false;
  /** A program that executes the driver, with its arguments. */
  prefix: readonly string[] = [];
  /** Further descriptors: number there, file here. */
  fds: Readonly<Record<number, Fd>> = {};

  /** Starts it. `stdio`: 0, 1, 2 of the driver. */
  start(options: Omit<DriverOptions, "log">, stdio: readonly [Fd, Fd, Fd]): this {
    const flags = ["--no-lock", "--cached-only", "--no-check"];
    const text = JSON.stringify({ ...options, log: this.log });
    const argv = [...this.prefix, Deno.execPath(), "run", "-A", ...flags, driverPath, text];
    const given = Object.entries(this.fds).map(([to, fd]) => ({ from: fd.number, to: Number(to) }));
    this.#pid = spawn(kernel, {
      path: argv[0]!,
      argv,
      env: Object.entries(Deno.env.toObject()).map(([name, value]) => `${name}=${value}`),
      fds: [...stdio.map((fd, to) => ({ from: fd.number, to })), ...given],
    });
    return this;
  }

  /** Starts it with three pipes, whose other ends are returned. */
  startWithPipes(options: Omit<DriverOptions, "log">): { stdin: Fd; stdout: Fd; stderr: Fd } {
    const [stdin, stdout, stderr] = ["stdin", "stdout", "stderr"].map((name) => pipe(kernel, name));
    this.start(options, [stdin!.read, stdout!.write, stderr!.write]);
    for (const fd of [stdin!.read, stdout!.write, stderr!.write]) fd.close();
    this.#fds.push(stdin!.write, stdout!.read, stderr!.read);
    return { stdin: stdin!.write, stdout: stdout!.read, stderr: stderr!.read };
  }

  get pid(): number {
    return this.#pid;
  }

  /** Waits for a line in the driver's log that matches. */
  logged(pattern: RegExp): RegExpMatchArray {
    return until(`${pattern} in the log`, () => contentOf(this.log).match(pattern) ?? undefined);
  }

  /** Of the process that is looked after. */
  get processPid(): number {
    return Number(this.logged(/^pid (\d+)$/m)[1]);
  }

  /** Waits until the driver has become a monitor, and that one waits in ppoll(2) (x86_64, aarch64). */
  becomesMonitor(): void {
    until("the monitor", () => executableOf(this.#pid).startsWith("/memfd:runc-monitor"));
    until("it waits", () => /^(271|73) /.test(Deno.readTextFileSync(`/proc/${this.#pid}/syscall`)));
    this.#isMonitor = true;
  }

  /** Waits until the process has ended and been reaped. */
  processIsReaped(): void {
    const pid = this.processPid;
    until("the process is reaped", () => !isThere(`/proc/${pid}`));
  }

  /** Waits for a file that the container's process writes in {@link directory}. */
  said(name: string): string {
    return until(`file ${name}`, () => {
      const text = contentOf(`${this.directory}/${name}`);
      return text.endsWith("\n") && text.trim();
    });
  }

  /** Sends it once the driver is a monitor: before, one that another of Deno's threads has taken may end with that thread. */
  signal(signal: number): void {
    if (!this.#isMonitor) this.becomesMonitor();
    kill(kernel, this.#pid, signal);
  }

  get hasEnded(): boolean {
    return hasEnded(kernel, this.#pid);
  }

  /** Waits for its end. Returns its status as a shell reports it. */
  end(): number {
    until("the driver's end", () => this.hasEnded);
    const status = waitChild(kernel, this.#pid)!;
    this.#pid = 0;
    return shellStatus(status);
  }

  [Symbol.dispose](): void {
    if (this.#pid > 0) {
      // As long as its parent lives, the number is its own.
      const process = /^pid (\d+)$/m.exec(contentOf(this.log))?.[1];
      if (process !== undefined && isThere(`/proc/${process}`)) kill(kernel, Number(process), 9);
      kill(kernel, this.#pid, 9);
      waitChild(kernel, this.#pid);
    }
    for (const fd of this.#fds) fd.close();
    Deno.removeSync(this.directory, { recursive: true });
  }
}
