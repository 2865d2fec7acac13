/**
 * The driver for cgroup v2: a container has one directory for all controllers.
 *
 * @module
 */

import { dirname, resolve } from "../../std/path.ts";
import { RuncError } from "../../errors.ts";
import { openFlag } from "../../ffi/constants.ts";
import { open } from "../../ffi/files.ts";
import type { Waits } from "../../ffi/waits.ts";
import type { MemoryResources, Resources } from "../../specs/config.ts";
import { attachDeviceProgram, bpfCall } from "../devices/bpf.ts";
import { allowsAll, containerDeviceFilter, type DeviceFilter, type SpecDeviceRule } from "../devices/rules.ts";
import { deviceProgram } from "../devices/v2.ts";
import { isPermission, isThere, refuseFrozen, refuseProcesses, undoMade } from "../driver.ts";
import { isErrno, makeCgroup, readIfThere, removeCgroup, writeProcess, writeWaits } from "../file.ts";
import { type FreezerState, freezerV2 } from "../freezer.ts";
import { parseProcCgroup } from "../layout.ts";
import type { LimitWrite } from "../limits/limit.ts";
import { limitsV2 } from "../limits/limits.ts";
import { rememberFiles } from "../limits/remember_files.ts";
import { limitFiles, setLimits } from "../limits/set_limits.ts";
import { setUnified } from "../limits/unified.ts";
import type { CgroupManager, DriverOptions, SelfJoin } from "../manager.ts";
import { oomKills } from "../stats/oom.ts";
import { killByFile, killEach, processesIn, type SendSignal } from "../processes.ts";

/** The cgroup2 driver. {@link CgroupManager} documents the methods. */
export class CgroupV2 implements CgroupManager {
  #directory: string | undefined;
  readonly #options: DriverOptions;
  #refused: boolean;

  /** `paths`: the directory, under the key "". */
  constructor(paths: Readonly<Record<string, string>>, options: DriverOptions) {
    this.#directory = paths[""];
    this.#options = options;
    this.#refused = options.refused;
  }

  get paths(): Readonly<Record<string, string>> {
    const directory = this.#usable;
    return directory === undefined ? {} : { "": directory };
  }

  /** Changes the directory, when the actual one differs from the expected one. */
  protected moveTo(directory: string): void {
    this.#directory = directory;
  }

  get refused(): boolean {
    return this.#refused;
  }

  get selfJoin(): SelfJoin {
    return { taskFiles: [], cloneInto: this.#usable };
  }

  selfJoinOfExec(initPid: number): SelfJoin {
    const directory = this.#usable;
    if (directory === undefined || takesProcesses(directory)) return this.selfJoin;
    return { taskFiles: [], cloneInto: cgroupOf(this.#options.unifiedMount, initPid) ?? directory };
  }

  *create(limits?: Resources, _firstPid?: number): Waits<void> {
    const wanted = limits === undefined ? [] : limitsV2(limits).map(({ controller }) => controller);
    const directory = this.#usable;
    if (directory === undefined) return this.#goWithout(wanted);
    const { unifiedMount, rootless, explicitPath } = this.#options;
    const made: string[] = [];
    try {
      yield* createUnified(unifiedMount, directory, { made, wanted });
    } catch (error) {
      yield* undoMade(made);
      if (!rootless || explicitPath || !isPermission(error)) throw error;
      this.#goWithout(wanted, error as RuncError);
    }
  }

  *join(pid: number, initPid?: number): Waits<void> {
    const directory = this.#usable;
    if (directory === undefined) return;
    try {
      yield* this.#joinOrFollow(directory, pid, initPid);
    } catch (error) {
      // An existing container keeps running without joining. A new container must be in the cgroup that its config
      // names.
      if (!this.#options.rootless || !this.#options.loaded) throw error;
      this.#refused = true;
    }
  }

  *setDevices(rules: readonly SpecDeviceRule[]): Waits<void> {
    const filter = containerDeviceFilter(rules);
    const directory = this.#usable;
    if (directory === undefined) return;
    try {
      yield* this.#attachFilter(directory, filter);
    } catch (error) {
      // Unprivileged users cannot call bpf(2); for them the device nodes' permissions decide. A filter that allows
      // everything is not needed.
      const { rootless, inUserNamespace } = this.#options;
      if (!rootless && !inUserNamespace && !allowsAll(filter)) throw error;
    }
  }

  *set(resources: Resources): Waits<void> {
    const { memory = {}, unified = {} } = resources;
    const directory = this.#usable;
    if (memory.checkBeforeUpdate && directory !== undefined) refuseBelowUsage(directory, memory);
    yield* setLimits(limitsV2(resources), () => directory, this.#options.tracer);
    if (directory !== undefined) yield* setUnified(directory, unified);
  }

  remember(resources: Resources, _stored: Resources): () => Waits<void> {
    const directory = this.#usable;
    if (directory === undefined) return rememberFiles([]);
    const unified = Object.keys(resources.unified ?? {}).filter((name) => !name.includes("/"));
    return rememberFiles([
      ...limitFiles(limitsV2(resources), () => directory),
      ...unified.map((name) => ({ directory, name })),
    ]);
  }

  oomKills(): number {
    return this.#usable === undefined ? 0 : oomKills(this.#usable, "memory.events");
  }

  processes(): number[] {
    return this.#usable === undefined ? [] : processesIn(this.#usable);
  }

  exists(): boolean {
    return this.#usable !== undefined && isThere(this.#usable);
  }

  *kill(send: SendSignal): Waits<boolean> {
    const directory = this.#usable;
    if (directory === undefined || !isThere(directory)) return false;
    // cgroup.kill also kills frozen processes. But an empty cgroup that stays frozen would still count as a paused
    // container.
    const thawToKill = () => freezerV2.thawToKillWaits(directory);
    if (yield* killByFile(directory)) yield* thawToKill();
    else yield* killEach(directory, { freeze: () => this.freeze(), thawToKill }, send);
    return true;
  }

  *freezerState(): Waits<FreezerState> {
    return this.#usable === undefined ? "running" : yield* freezerV2.state(this.#usable);
  }

  *freeze(): Waits<void> {
    if (this.#usable === undefined) {
      throw new RuncError("cgroup-failed", "cannot toggle freezer: cgroups not configured for container");
    }
    yield* freezerV2.freeze(this.#usable);
  }

  thaw(): void {
    if (this.#usable !== undefined) freezerV2.thaw(this.#usable);
  }

  thawToKill(): void {
    if (this.#usable !== undefined) freezerV2.thawToKill(this.#usable);
  }

  *destroy(): Waits<void> {
    if (this.#usable !== undefined) yield* removeCgroup(this.#usable);
  }

  get #usable(): string | undefined {
    return this.#refused ? undefined : this.#directory;
  }

  /** Continues without a cgroup if the container has no limits. @throws {RuncError} if `wanted` has controllers. */
  #goWithout(wanted: readonly LimitWrite["controller"][], cause?: RuncError): void {
    const there = available(this.#options.unifiedMount);
    if (limitable.some((controller) => wanted.includes(controller) && there.includes(controller))) {
      const message = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups";
      throw cause?.within(message) ?? new RuncError("cgroup-failed", message, {
        hint: "delegate a cgroup to the calling user, or leave out the limits in linux.resources",
      });
    }
    this.#refused = true;
  }

  *#joinOrFollow(directory: string, pid: number, initPid: number | undefined): Waits<void> {
    try {
      yield* writeProcess(directory, pid);
    } catch (error) {
      // EBUSY: the container's processes created cgroups below it. ENOENT: they left the cgroup, and it was removed.
      if (initPid === undefined || !isErrno(error, "EBUSY", "ENOENT")) throw error;
      const followed = cgroupOf(this.#options.unifiedMount, initPid);
      if (followed === undefined) throw error;
      yield* writeProcess(followed, pid);
    }
  }

  *#attachFilter(directory: string, filter: DeviceFilter): Waits<void> {
    const { kernel } = this.#options;
    using opened = open(kernel, directory, openFlag(kernel.arch).O_DIRECTORY);
    yield* attachDeviceProgram({
      bpf: bpfCall(kernel),
      close: (fd) => kernel.call("close", fd),
      directoryFd: opened.number,
      program: deviceProgram(filter),
    });
  }
}

/** A memory limit below the current usage would kill processes. A cgroup without the memory controller has no usage. */
export function refuseBelowUsage(directory: string, { limit = 0, swap = 0 }: MemoryResources): void {
  const text = readIfThere(directory, "memory.current");
  if (text === undefined) return;
  const usage = BigInt(text.trim());
  for (const [name, value] of [["memory+swap limit", swap], ["memory limit", limit]] as const) {
    if (value > 0 && BigInt(value) <= usage) {
      throw new RuncError("cgroup-failed", `rejecting ${name} ${value} <= usage ${usage}`);
    }
  }
}

/**
 * The controllers that decide whether a container without permission for cgroups is an error. runc checks the same
 * ones.
 */
const limitable: readonly LimitWrite["controller"][] = ["pids", "memory", "io", "cpu", "cpuset", "hugetlb"];
/** The controllers that a threaded cgroup does not have, plus cpu, which runc includes. */
const domainControllers: readonly LimitWrite["controller"][] = ["memory", "io", "cpu", "hugetlb"];

/** `made`: every new directory is appended to it. `wanted`: the controllers with limits. */
function* createUnified(
  mountPoint: string,
  directory: string,
  { made, wanted }: { made: string[]; wanted: readonly LimitWrite["controller"][] },
): Waits<void> {
  if (!(yield* makeCgroup(directory, made))) {
    refuseProcesses(directory);
    yield* refuseFrozen(freezerV2, directory);
  }
  yield* passControllersDown(mountPoint, dirname(directory));
  if (typeOf(directory) === "domain") return;
  if (domainControllers.some((controller) => wanted.includes(controller))) refuseThreaded(mountPoint, directory);
  yield* becomeThreaded(directory);
}

/** @throws {RuncError} naming the topmost cgroup on the path that is not a domain. */
function refuseThreaded(mountPoint: string, directory: string): void {
  for (const level of levels(mountPoint, directory)) {
    const type = typeOf(level);
    if (type === "domain") continue;
    const state = type === "domain invalid" ? "an invalid state" : `${type} mode`;
    throw new RuncError(
      "cgroup-failed",
      `cannot enter cgroupv2 ${JSON.stringify(level)} with domain controllers -- it is in ${state}`,
      { hint: "a threaded cgroup has no memory or io controller: set a linux.cgroupsPath outside of it" },
    );
  }
}

/** `domain`, `domain threaded`, `domain invalid` or `threaded`. The root has no cgroup.type file and is a domain. */
function typeOf(directory: string): string {
  return readIfThere(directory, "cgroup.type")?.trim() ?? "domain";
}

/** The controllers that child cgroups of `directory` can have. */
function available(directory: string): readonly string[] {
  return words(readIfThere(directory, "cgroup.controllers") ?? "");
}

/**
 * Enables every available controller for the children of `directory`, and on every level above, so that the container's
 * cgroup has them. They are nearly always enabled already; two reads show that.
 */
export function* passControllersDown(mountPoint: string, directory: string): Waits<void> {
  const wanted = available(mountPoint);
  const enabled = words(readIfThere(directory, "cgroup.subtree_control") ?? "");
  if (wanted.every((controller) => enabled.includes(controller))) return;
  const changes = wanted.map((controller) => `+${controller}`);
  for (const level of levels(mountPoint, directory)) {
    if (yield* tryToEnable(level, changes.join(" "))) continue;
    for (const change of changes) yield* tryToEnable(level, change);
  }
}

/**
 * Whether the kernel accepted `change`. Processes in the way, or a controller that is not delegated, are not errors
 * here: they only matter for a limit that needs the controller, and setting that limit then fails.
 */
function* tryToEnable(directory: string, change: string): Waits<boolean> {
  try {
    yield* writeWaits(directory, "cgroup.subtree_control", change);
    return true;
  } catch (error) {
    if (error instanceof RuncError) return false;
    throw error;
  }
}

/** The directories from `top` to `directory`, both included, parents first. */
function levels(top: string, directory: string): readonly string[] {
  if (directory === top || !directory.startsWith(`${top}/`)) return [top];
  return [...levels(top, dirname(directory)), directory];
}

/** In a threaded subtree, a new cgroup is invalid and accepts no process until it is threaded too. */
function* becomeThreaded(directory: string): Waits<void> {
  if (typeOf(directory) !== "domain invalid") return;
  yield* becomeThreaded(dirname(directory));
  yield* writeWaits(directory, "cgroup.type", "threaded");
}

/**
 * Whether `directory` accepts processes: it must exist and must not pass controllers on. The kernel makes an exception
 * for cgroups that can be the root of a threaded subtree; init is then in such a cgroup or in a better one.
 *
 * @see Documentation/admin-guide/cgroup-v2.rst, No Internal Process Constraint
 */
function takesProcesses(directory: string): boolean {
  return readIfThere(directory, "cgroup.subtree_control")?.trim() === "";
}

/** The directory of a process's cgroup in the cgroup2 hierarchy. */
function cgroupOf(mountPoint: string, pid: number): string | undefined {
  const text = readIfThere(`/proc/${pid}`, "cgroup") ?? "";
  const own = parseProcCgroup(text).find(({ controllers }) => controllers.length === 0);
  return own === undefined ? undefined : mountPoint + resolve("/", own.path);
}

function words(text: string): readonly string[] {
  return text.split(/\s+/).filter((word) => word !== "");
}
