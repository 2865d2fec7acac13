/**
 * Runs programs and stops every process of a container before and after each of its system calls, from its first moment on. What does
 * not belong to a pid namespace of its own, as the runtime and its stage, is followed but not stopped.
 *
 * @see ptrace(2)
 */

import { spawn } from "../../lib/ffi/process/process.ts";
import { open } from "../../lib/ffi/files.ts";
import { alloc } from "../../lib/ffi/kernel.ts";
import { kernel } from "./foreground_harness.ts";

const PTRACE_CONT = 7, PTRACE_SYSCALL = 24, PTRACE_SEIZE = 0x4206, PTRACE_LISTEN = 0x4208;
const PTRACE_EVENT_STOP = 128;
/** SYSGOOD, FORK, VFORK, CLONE, EXEC, and EXITKILL: whoever we trace ends with us. */
const OPTIONS = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x100000;
const SIGKILL = 9, SIGTRAP = 5, SIGCONT = 18, SIGSTOP = 19, SIGTTOU = 22;
/** waitid(2): threads of others are waited for, too. */
const WALL = 0x40000000, WUNTRACED = 2;

const pidNamespace = (pid: number | "self"): string => {
  try {
    return Deno.readLinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    // It ends just now.
    return "";
  }
};

/** What is done with a process that stands still. */
export type Look = (pid: number, inside: readonly number[]) => void;

/** Programs and all that they start. */
export class Tracer implements Disposable {
  readonly #own = pidNamespace("self");
  readonly #look: Look;
  /** Whom we trace, and the pid namespace of each; empty for those of our own. */
  readonly #traced = new Map<number, string>();
  readonly #status = alloc(4);
  /** How often a process of a container was looked at. */
  stops = 0;
  /** Processes that were looked at, by pid. */
  readonly seen = new Set<number>();
  #failure: unknown;

  constructor(look: Look) {
    this.#look = look;
  }

  /** Runs a program to its end; returns its exit status. Whatever it leaves running goes on at the next call. */
  run(argv: readonly string[], cwd: string): number {
    using nothing = open(kernel, "/dev/null", 2);
    const fds = [0, 1, 2].map((to) => ({ to, from: nothing.number }));
    const env = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"];
    const stopped = ["/bin/sh", "-c", 'kill -STOP $$; exec "$@"', "sh", ...argv];
    const root = spawn(kernel, { path: "/bin/sh", argv: stopped, env, fds, cwd });
    if (root < 0) throw new Error(`cannot execute /bin/sh: errno ${-root}`);
    kernel.must("waitpid", "waitpid", root, this.#status, WUNTRACED);
    kernel.must("ptrace(PTRACE_SEIZE)", "ptrace", PTRACE_SEIZE, root, 0, OPTIONS);
    this.#traced.set(root, "");
    kernel.must("kill", "kill", root, SIGCONT);
    return this.#follow((pid) => pid === root);
  }

  /** Follows what the programs have left running, until no process of a container is left. */
  finish(): void {
    const isOver = () => ![...this.#traced.values()].some((namespace) => namespace !== "");
    if (!isOver()) this.#follow(isOver);
  }

  /** Follows all until one has ended with which it is over. */
  #follow(isLast: (pid: number) => boolean): number {
    for (;;) {
      const pid = kernel.retry("waitpid", -1, this.#status, WALL);
      if (pid < 0) throw new Error(`waitpid: errno ${-pid}`);
      const status = new DataView(this.#status.buffer).getUint32(0, true);
      if ((status & 0xff) === 0x7f) {
        this.#stopped(pid, status);
        continue;
      }
      this.#traced.delete(pid);
      if (isLast(pid)) {
        if (this.#failure !== undefined) throw this.#failure;
        return (status & 0x7f) === 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f);
      }
    }
  }

  #stopped(pid: number, status: number): void {
    const signal = (status >> 8) & 0xff;
    const event = status >> 16;
    // The namespace is the one it is born in.
    let namespace = this.#traced.get(pid);
    if (namespace === undefined) {
      namespace = pidNamespace(pid);
      if (namespace === this.#own) namespace = "";
      this.#traced.set(pid, namespace);
    }
    if (event === PTRACE_EVENT_STOP && signal >= SIGSTOP && signal <= SIGTTOU) {
      kernel.call("ptrace", PTRACE_LISTEN, pid, 0, 0);
      return;
    }
    if (namespace !== "") this.#lookAt(pid, namespace);
    const isOurs = event !== 0 || (signal & 0x7f) === SIGTRAP;
    // ESRCH: killed meanwhile, and its end comes next.
    kernel.call("ptrace", namespace === "" ? PTRACE_CONT : PTRACE_SYSCALL, pid, 0, isOurs ? 0 : signal);
  }

  #lookAt(pid: number, namespace: string): void {
    if (this.#failure !== undefined) return;
    this.stops++;
    this.seen.add(pid);
    try {
      this.#look(pid, [...this.#traced].filter(([, other]) => other === namespace).map(([other]) => other));
    } catch (error) {
      this.#failure = error;
    }
  }

  /** Ends whoever is left. */
  [Symbol.dispose](): void {
    for (const pid of this.#traced.keys()) kernel.call("kill", pid, SIGKILL);
    this.#failure = undefined;
    while (this.#traced.size > 0) this.#follow(() => this.#traced.size === 0);
  }
}
