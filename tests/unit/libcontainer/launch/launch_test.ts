/** What the parent signals and reaps: its own children, by their pidfds, and never a number out of a message. */

import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { Errno } from "../../../../lib/ffi/errno.ts";
import { Fd } from "../../../../lib/ffi/fd.ts";
import type { Kernel } from "../../../../lib/ffi/kernel.ts";
import { syscallNumber } from "../../../../lib/ffi/syscalls.ts";
import { runWaits } from "../../../../lib/ffi/waits.ts";
import { Launch } from "../../../../lib/libcontainer/launch/launch.ts";
import type { Stage } from "../../../../lib/libcontainer/launch/stage.ts";
import type { Runtime } from "../../../../lib/libcontainer/runtime.ts";
import { pids } from "../fake_host.ts";

/** waitid(2), include/uapi/linux/wait.h */
const P_PIDFD = 3, WNOWAIT = 0x01000000;
/** The pidfd of a process is its pid and this. */
const PIDFD = 1000;

/** A process: a child of the parent, or not. */
interface Process {
  readonly isOurs: boolean;
  hasEnded?: boolean;
}

/** libc, as far as children go: pidfds, signals and reaping. It notes both. */
class Processes {
  readonly arch = "x86_64";
  readonly notes: string[] = [];
  readonly open = new Set<number>();
  /** The errno of pidfd_open(2). */
  refuses = 0;
  /** Signals end nothing: the processes are frozen. */
  isFrozen = false;
  #ms = 0n;

  constructor(readonly processes: Map<number, Process>) {}

  readonly retry = (name: string, ...args: readonly unknown[]) => this.call(name, ...args);

  call(name: string, ...args: readonly unknown[]): number {
    const [first, second] = args as number[];
    if (name === "syscall") {
      return first === syscallNumber("pidfd_open", this.arch) ? this.#open(second!) : this.#signal(args);
    }
    if (name === "kill") return this.#kill(first!, `pid ${first}`);
    if (name === "waitid") return this.#wait(args);
    if (name === "close") return this.open.delete(first!) ? 0 : -Errno.EBADF;
    if (name === "poll") return 0;
    if (name !== "clock_gettime") return -Errno.ENOSYS;
    new DataView((args[1] as Uint8Array<ArrayBuffer>).buffer).setBigInt64(0, this.#ms++, true);
    return 0;
  }

  #open(pid: number): number {
    if (this.refuses > 0) return -this.refuses;
    if (!this.processes.has(pid)) return -Errno.ESRCH;
    this.open.add(PIDFD + pid);
    return PIDFD + pid;
  }

  #signal([, pidfd]: readonly unknown[]): number {
    return this.#kill(pidfd as number - PIDFD, `pidfd of ${pidfd as number - PIDFD}`);
  }

  #kill(pid: number, how: string): number {
    this.notes.push(`kill ${how}`);
    const process = this.processes.get(pid);
    if (process === undefined) return -Errno.ESRCH;
    if (!this.isFrozen) process.hasEnded = true;
    return 0;
  }

  #wait([type, id, info, options]: readonly unknown[]): number {
    const pid = type === P_PIDFD ? id as number - PIDFD : id as number;
    const process = this.processes.get(pid);
    if (process === undefined || !process.isOurs) return -Errno.ECHILD;
    if (!process.hasEnded) return 0;
    const view = new DataView((info as Uint8Array<ArrayBuffer>).buffer);
    view.setInt32(0, 17, true);
    view.setInt32(8, 2, true);
    view.setInt32(24, 9, true);
    if ((Number(options) & WNOWAIT) === 0) {
      this.notes.push(`reap ${pid}`);
      this.processes.delete(pid);
    }
    return 0;
  }
}

/** A launch whose stage runs, beside a process that is not ours. */
function launched(...others: readonly number[]) {
  const ours = [pids.stage, ...others].map((pid) => [pid, { isOurs: true }] as const);
  const kernel = new Processes(new Map<number, Process>([...ours, [pids.stranger, { isOurs: false }]]));
  const real = kernel as unknown as Kernel;
  const warnings: string[] = [];
  const log: Runtime["log"] = (level, text) => void (level === "warning" && warnings.push(text));
  const stage = { pid: pids.stage, sync: new Fd(real, 5, "sync") } as Stage;
  const launch = new Launch({ kernel: real, executor: "native", log } as Runtime, stage, {});
  return { launch, kernel, warnings, run: (work: ReturnType<Launch["abort"]>) => runWaits({ kernel: real }, work) };
}

Deno.test("a pid that is no child of ours is not adopted, and nothing is signalled", () => {
  for (const pid of [pids.stranger, 4242, 0, -1, 0xffffffff, 1.5]) {
    const { launch, kernel } = launched();
    for (const who of ["init", "helper"] as const) {
      const error = assertThrows(() => launch.adopt(who, pid), RuncError);
      assertEquals(error.code, "protocol");
    }
    assertEquals([kernel.notes, [...kernel.open], launch.initPid], [[], [], 0]);
  }
});

Deno.test("abort() ends stage, helper and init by their pidfds, and reaps them", () => {
  const { launch, kernel, run } = launched(pids.helper, pids.init);
  launch.adopt("helper", pids.helper);
  launch.adopt("init", pids.init);
  run(launch.abort());
  assertEquals([...kernel.processes.keys()], [pids.stranger]);
  assertEquals(
    kernel.notes,
    [pids.stage, pids.helper, pids.init].flatMap((pid) => [`kill pidfd of ${pid}`, `reap ${pid}`]),
  );
  // An act's undo and another's both end the processes. Their pids may be others' by now.
  for (const pid of [pids.stage, pids.helper, pids.init]) kernel.processes.set(pid, { isOurs: true });
  const before = kernel.notes.length;
  run(launch.abort());
  assertEquals(kernel.notes.slice(before), []);
  launch[Symbol.dispose]();
  assertEquals([...kernel.open], []);
});

Deno.test("a child is adopted, and ended, also if no descriptor is left for its pidfd", () => {
  for (const errno of [Errno.EMFILE, Errno.ENFILE, Errno.ENOMEM, Errno.EPERM, Errno.ENOSYS]) {
    const { launch, kernel, run } = launched(pids.init);
    kernel.refuses = errno;
    assertThrows(() => launch.adopt("init", pids.stranger), RuncError);
    launch.adopt("init", pids.init);
    run(launch.abort());
    assertEquals([...kernel.processes.keys()], [pids.stranger]);
    // A child that is not reaped keeps its pid.
    assertEquals(kernel.notes, [pids.stage, pids.init].flatMap((pid) => [`kill pid ${pid}`, `reap ${pid}`]));
  }
});

Deno.test("a killed process that does not end is left, with a warning, and is not waited for without a limit", () => {
  const { launch, kernel, warnings, run } = launched(pids.init);
  launch.adopt("init", pids.init);
  kernel.isFrozen = true;
  run(launch.abort());
  assertEquals(warnings.length, 2);
  assertEquals(kernel.notes, [`kill pidfd of ${pids.stage}`, `kill pidfd of ${pids.init}`]);
});

Deno.test("init that closes its socket and lives on is a protocol error: it is not waited for without a limit", () => {
  const { launch, kernel } = launched(pids.init);
  launch.adopt("init", pids.init);
  const error = () => runWaits({ kernel: kernel as unknown as Kernel }, launch.died());
  assertEquals([error().code, kernel.notes], ["protocol", []]);
  kernel.processes.get(pids.init)!.hasEnded = true;
  assertEquals(error().message, "container init was killed: was it out of memory? (memory limit too low?)");
});
