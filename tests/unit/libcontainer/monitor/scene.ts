/**
 * A monitor in a world that a test makes up.
 *
 * @module
 */

import {
  type MonitorRequest,
  type MonitorStdio,
  planMonitor,
} from "../../../../lib/libcontainer/plans/monitor/plan.ts";
import { lockstep } from "../../plan/lockstep.ts";
import { assertEquals } from "@std/assert";
import { FakeKernel, File, type Happening, type Made, SIGNALS } from "./fake_kernel.ts";

/** The process that the monitor watches. */
export const PID = 1234;
/** Numbers of what the plan names. */
export const fds = {
  sync: -1,
  "caught signals": 9,
  signals: SIGNALS,
  stdin: 10,
  stdout: 11,
  stderr: 12,
  "stdin pipe": 13,
  "stdout pipe": 14,
  "stderr pipe": 15,
  master: 16,
  slave: 17,
  "host terminal": 18,
  notify: 19,
  "state directory": 20,
};
/** A name of {@link fds}. */
export type FdName = Exclude<keyof typeof fds, "sync">;

/** Streams that are passed on. */
export const pipes: MonitorStdio = {
  kind: "pipes",
  manners: { stdin: "nonblocking", stdout: "pipe", stderr: "blocking" },
};
/** A terminal of the caller. */
export const terminal: MonitorStdio = {
  kind: "terminal",
  manners: { stdin: "socket", stdout: "nonblocking" },
  attributes: new TextEncoder().encode("termios"),
};

/** A service manager. */
export const notify = { address: new TextEncoder().encode("\x01\0/m\0"), name: "/m", mainPid: 42 };

/** A monitor in its world. */
export class Scene {
  readonly kernel: FakeKernel;
  readonly request: MonitorRequest;
  readonly #happenings: Happening[] = [];

  constructor(request: Partial<MonitorRequest> = {}, beforeWait?: (scene: Scene) => void) {
    const open = request.stdio === terminal
      ? ["stdin", "stdout", "master", "slave", "host terminal"]
      : ["stdin", "stdout", "stderr", "stdin pipe", "stdout pipe", "stderr pipe"];
    const files = new Map([...open, "notify", "caught signals"].map((name) => [fds[name as FdName], new File()]));
    files.get(fds["caught signals"])!.ends();
    this.kernel = new FakeKernel({ files, happenings: this.#happenings, beforeWait: () => beforeWait?.(this) });
    this.request = {
      arch: "x86_64",
      pid: PID,
      stdio: pipes,
      removal: { kind: "none" },
      id: "box",
      again: { path: "/runc", args: ["runc", "--root", "/r"], ownArguments: 3 },
      debug: false,
      ...request,
    };
  }

  file(name: FdName): File {
    return this.kernel.files.get(fds[name]) ?? new File();
  }

  /** The next thing that happens while nothing else does. */
  then(happening: Happening): this {
    this.#happenings.push(happening);
    return this;
  }

  /** The process ends, and its ends of the pipes close. */
  ends(status: number): this {
    return this.then(() => {
      this.kernel.ends(PID, status);
      this.closesOutput();
    });
  }

  closesOutput(): void {
    this.file("stdout pipe").ends();
    this.file("stderr pipe").ends();
  }

  /** Runs it to its end. Returns the exit status; undefined for a child that has executed something. */
  run(): number | undefined {
    const { arch } = this.request;
    const options = { arch, fds, from: "stage", answer: this.kernel.answer, fold: false } as const;
    const { end } = lockstep(planMonitor(this.request), options);
    if (end === "exec") return undefined;
    const last = this.kernel.made.at(-1)!;
    assertEquals([end, last[0]], ["exit", "exit_group"]);
    return Number(last[1]);
  }

  made(...names: readonly string[]): readonly Made[] {
    return this.kernel.made.filter(([name]) => names.includes(name));
  }
}
