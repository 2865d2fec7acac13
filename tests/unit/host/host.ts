/**
 * A host in memory: files, processes, a clock. {@link withHost} puts it in the place of libc and of Deno's file
 * functions, so that what runs in the parent can be tested without permissions.
 *
 * Other processes go on when the one under test waits. If nothing can go on, the test fails instead of waiting forever.
 *
 * @module
 */

import type { Errno } from "../../../lib/ffi/errno.ts";
import { type CgroupVersion, makeCgroups, thawed } from "./cgroups.ts";
import { directory, file, FileSystem, type Inode, Refusal, symlink } from "./file_system.ts";
import { Memory } from "./memory.ts";
import { PlainFile, Server, type Socket } from "./open_files.ts";
import { Process, type Script } from "./processes.ts";
import { makeProc } from "./proc.ts";
import type { Network } from "./network.ts";

/** What the host starts with. */
export interface HostOptions {
  readonly cgroups?: CgroupVersion;
  /** Effective user of the process under test; 0 is root. */
  readonly uid?: number;
}

/** A program: what it does once it is executed. `process.argv` and descriptors are set. */
export type Program = (process: Process, host: FakeHost) => Script;

/** Our pid, and the numbers of those started later. */
const OWN_PID = 1000;

export class FakeHost {
  readonly memory = new Memory();
  readonly fs = new FileSystem();
  readonly processes = new Map<number, Process>();
  /** The process under test. */
  readonly self: Process;
  readonly uid: number;
  readonly cgroups: CgroupVersion;
  /** CLOCK_MONOTONIC, in milliseconds. */
  nowMs = 1000;
  /** Programs by absolute path. */
  readonly programs = new Map<string, Program>();
  /** What the image of a plan does. */
  stage?: Program;
  /** What a process does that the executor in JavaScript forks; it is given its image. */
  forked?: (image: Uint8Array) => Program;
  /** The working directory of the process under test; absent: `/`. */
  directory?: Inode;
  /** Sockets that programs of the host listen at, by path. */
  readonly servers = new Map<string, Server>();
  /** Sockets that the process under test has bound, by path. */
  readonly bound = new Map<string, Socket>();
  /** Network devices by network namespace. */
  readonly networks = new Map<number, Network>();
  /** What the kernel refuses: a function's name, or the name, a space and its path or number. */
  readonly refusals = new Map<string, number>();
  /** Every call to libc that succeeded or not, by name: `kill 1002 9`. */
  readonly calls: string[] = [];
  /** The calls so far that {@link fails} could have failed, by name. */
  readonly fallible: string[] = [];
  /** Decides which of them fails, with which errno. `index`: of {@link fallible}. */
  fails?: (name: string, index: number) => typeof Errno[keyof typeof Errno] | undefined;
  /** prctl(PR_GET_SECCOMP): a filter is in force. */
  isFiltered = false;
  /** The file owner of the thread. @see setfsuid(2) */
  owner = { uid: 0, gid: 0 };
  umask = 0o022;
  /** Whoever holds the lock of a directory. */
  readonly locks = new Map<number, object>();
  readonly #alarms: number[] = [];
  readonly #before = new Map<string, () => void>();
  #nextPid = OWN_PID + 1;
  constructor({ cgroups = "v1", uid = 0 }: HostOptions = {}) {
    this.uid = uid;
    this.owner = { uid, gid: uid };
    this.cgroups = cgroups;
    this.self = new Process(OWN_PID, undefined, "runc", 500);
    this.processes.set(OWN_PID, this.self);
    this.self.files.set("uid_map", "         0          0 4294967295\n");
    this.self.files.set("gid_map", "         0          0 4294967295\n");
    for (const fd of [0, 1, 2]) this.self.open(new PlainFile(file(), `stream ${fd}`), { cloexec: false, least: fd });
    this.fs.put("/dev/null", file("", () => {}));
    for (const path of ["/run", "/tmp", "/dev/shm"]) this.fs.put(path, directory());
    makeProc(this);
    makeCgroups(this, cgroups);
  }

  /** The kernel refuses a call from now on. `what`: see {@link refusals}. */
  refuse(what: string, errno: typeof Errno[keyof typeof Errno]): void {
    this.refusals.set(what, errno);
  }

  /** A call of libc, or of Deno's functions on files, begins. @throws {Refusal} if the test wants it to fail. */
  begin(name: string): void {
    this.fallible.push(name);
    const errno = this.fails?.(name, this.fallible.length - 1);
    if (errno !== undefined) throw new Refusal(errno);
  }

  /** Something happens right before a call, once. `what`: see {@link refusals}. */
  before(what: string, action: () => void): void {
    this.#before.set(what, action);
  }

  /** @throws {Refusal} if the test wants this call to fail. */
  check(...names: readonly string[]): void {
    for (const name of names) {
      const action = this.#before.get(name);
      this.#before.delete(name);
      action?.();
      const errno = this.refusals.get(name);
      if (errno !== undefined) throw new Refusal(errno);
    }
  }

  /** A new process, child of ours. */
  start(name: string, program?: Program, parent: Process = this.self): Process {
    const pid = this.#nextPid++;
    const process = new Process(pid, parent, name.slice(0, 15), 600 + pid);
    this.processes.set(pid, process);
    if (program !== undefined) process.script = program(process, this);
    return process;
  }

  /** The process with this number, unless it is reaped. */
  process(pid: number): Process | undefined {
    return this.processes.get(pid);
  }

  /** Sends a signal. A frozen process does not die on cgroup v1. @throws {Refusal} ESRCH */
  signal(process: Process | undefined, signal: number): void {
    if (process === undefined || !this.processes.has(process.pid)) throw new Refusal(3);
    if (signal === 0 || process.hasEnded) return;
    process.signals.push(signal);
    if (signal !== 9 && signal !== 15) return;
    if (!thawed(this, process)) process.pending = signal;
    else process.end({ signal });
  }

  /** Something happens at this time at the earliest. */
  alarm(atMs: number): void {
    this.#alarms.push(atMs);
  }

  /** For scripts: waits for a time. */
  sleep(milliseconds: number): () => boolean {
    const until = this.nowMs + milliseconds;
    this.alarm(until);
    return () => this.nowMs >= until;
  }

  /** Lets other processes go on. Whether one did. `limitMs`: how far the clock may go ahead for that. */
  goOn(limitMs = Infinity): boolean {
    let hasRun = false;
    for (const process of [...this.processes.values()]) if (process.run()) hasRun = true;
    if (hasRun) return true;
    const next = Math.min(...this.#alarms);
    if (this.#alarms.length === 0 || next > limitMs) return false;
    this.#alarms.splice(this.#alarms.indexOf(next), 1);
    this.nowMs = Math.max(this.nowMs, next);
    return true;
  }

  /** A program listens at `path`. */
  listen(path: string, server: Server = new Server()): Server {
    this.servers.set(path, server);
    return server;
  }

  /** The processes of the container or of hooks that still exist, and our zombies. */
  get others(): readonly Process[] {
    return [...this.processes.values()].filter((process) => process !== this.self && process.pid > 1);
  }

  /** What a command must not leave: our descriptors beside the streams, by what they were opened as. */
  get openFiles(): readonly string[] {
    return [...this.self.descriptors].filter(([number]) => number > 2).map(([number, { file }]) =>
      `${number}: ${file.label}`
    );
  }
}

export { directory, file, Server, symlink };
