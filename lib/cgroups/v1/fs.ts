/**
 * The driver for cgroup v1, including the cgroup2 mount of a hybrid host. A container has one directory per hierarchy.
 *
 * @module
 */

import { dirname } from "../../std/path.ts";
import { RuncError } from "../../errors.ts";
import { TURN, type Waits } from "../../ffi/waits.ts";
import type { MemoryResources, Resources } from "../../specs/config.ts";
import { inheritCpuset } from "./cpuset.ts";
import { containerDeviceFilter, type SpecDeviceRule } from "../devices/rules.ts";
import { setDevicesV1 } from "../devices/v1.ts";
import { isPermission, isThere, refuseFrozen, refuseProcesses, undoMade } from "../driver.ts";
import {
  makeCgroup,
  readCgroupFile,
  readIfThere,
  removeCgroup,
  tryMakeCgroups,
  tryRemoveCgroups,
  writeProcess,
} from "../file.ts";
import { type FreezerState, freezerV1 } from "../freezer.ts";
import type { LimitWrite } from "../limits/limit.ts";
import { cpusetLimits, realtimeLimits } from "../limits/cpu.ts";
import { limitsV1 } from "../limits/limits.ts";
import { rememberFiles } from "../limits/remember_files.ts";
import { limitFiles, setLimits } from "../limits/set_limits.ts";
import type { CgroupManager, DriverOptions, SelfJoin } from "../manager.ts";
import type { MemoryFactsV1 } from "../limits/memory.ts";
import { oomKills } from "../stats/oom.ts";
import { v1Controllers } from "../path.ts";
import { killByFile, killEach, processesIn, type SendSignal } from "../processes.ts";

/** A directory and its controllers: `cpu` and `cpuacct` often share one. */
interface Group {
  readonly directory: string;
  readonly controllers: readonly string[];
}

/** Hierarchies without limits. runc continues without them. "" is cgroup2. */
const dispensable: readonly string[] = ["name=systemd", "misc", ""];

/** The driver for v1 and hybrid hosts. {@link CgroupManager} documents the methods. */
export class CgroupV1 implements CgroupManager {
  readonly #paths: Record<string, string>;
  readonly #options: DriverOptions;
  /** Directories that `create` made. */
  readonly #made: string[] = [];
  #refused: boolean;
  /** The limits of memory that {@link create} has set, until all are set. */
  #early?: { readonly memory: MemoryResources; readonly facts: MemoryFactsV1; readonly writes: readonly LimitWrite[] };

  /** `paths`: by controller. The driver takes over the object and changes it. */
  constructor(paths: Record<string, string>, options: DriverOptions) {
    this.#paths = paths;
    this.#options = options;
    this.#refused = options.refused;
  }

  get paths(): Readonly<Record<string, string>> {
    return this.#paths;
  }

  get refused(): boolean {
    return this.#refused;
  }

  get selfJoin(): SelfJoin {
    const v1 = this.#groups().filter(({ controllers }) => !controllers.includes(""));
    return {
      taskFiles: v1.map((group) => ({
        path: `${group.directory}/tasks`,
        tolerate: isDispensable(group) ? "all" : this.#toleratesPermission ? "permission" : undefined,
      })),
      cloneInto: this.#paths[""],
    };
  }

  selfJoinOfExec(): SelfJoin {
    return this.selfJoin;
  }

  *create(limits?: Resources, _firstPid?: number): Waits<void> {
    yield* this.makeGroups(limits, { isOurs: false });
  }

  /** Makes the directories that are missing. `isOurs`: those that are there may have our processes. */
  protected *makeGroups(limits: Resources | undefined, { isOurs }: { readonly isOurs: boolean }): Waits<void> {
    const groups = this.#groups();
    const results = yield* tryMakeCgroups(groups.map(({ directory }) => directory), this.#made);
    try {
      for (const [index, group] of groups.entries()) {
        const result = results[index]!;
        yield* this.#tolerant(group, () => createGroup(group, this.#made, { limits, isOurs, result }));
        if (limits !== undefined && group.controllers.includes("memory")) yield* this.#limitMemory(limits);
        yield TURN;
      }
    } catch (error) {
      yield* undoMade(this.#made);
      throw error;
    }
  }

  *join(pid: number): Waits<void> {
    for (const group of this.#groups()) yield* this.#tolerant(group, () => writeProcess(group.directory, pid));
  }

  *setDevices(rules: readonly SpecDeviceRule[]): Waits<void> {
    const filter = containerDeviceFilter(rules);
    const directory = this.#paths["devices"];
    // In a user namespace the kernel accepts no device rules. A missing directory means that it was refused, which
    // `refused` reports.
    if (this.#options.inUserNamespace || directory === undefined) return;
    try {
      yield* setDevicesV1(directory, filter);
    } catch (error) {
      if (!this.#options.rootless) throw error;
    }
  }

  /**
   * Sets the memory limit before anything is charged, when the kernel accepts every limit. Later it refuses a limit
   * below the quarter of a megabyte that each processor charges in advance (MEMCG_CHARGE_BATCH, mm/memcontrol.c), and
   * it uncharges freed memory with a delay.
   */
  *#limitMemory({ memory = {} }: Resources): Waits<void> {
    // Without the OOM killer, setting up the container would fail for lack of memory, without a report.
    const facts = this.#memoryFacts(memory);
    const writes = limitsV1({ memory: { ...memory, disableOOMKiller: undefined } }, facts);
    yield* this.#write(writes);
    this.#early = { memory, facts, writes };
  }

  *set(resources: Resources): Waits<void> {
    if (Object.keys(resources.unified ?? {}).length > 0) {
      throw new RuncError("config-invalid", "invalid configuration: cannot use unified on cgroup v1");
    }
    const early = this.#early?.memory === resources.memory ? this.#early : undefined;
    this.#early = undefined;
    yield* this.#write(this.#writes(resources, early?.facts).filter((write) => !early?.writes.some(isSame(write))));
  }

  remember(resources: Resources, _stored: Resources): () => Waits<void> {
    return rememberFiles(limitFiles(this.#writes(resources), (controller) => this.#paths[controller]));
  }

  *#write(writes: readonly LimitWrite[]): Waits<void> {
    yield* setLimits(writes, (controller) => this.#paths[controller], this.#options.tracer);
  }

  #writes(resources: Resources, facts?: MemoryFactsV1): readonly LimitWrite[] {
    return limitsV1(resources, facts ?? this.#memoryFacts(resources.memory ?? {}));
  }

  oomKills(): number {
    const directory = this.#paths["memory"];
    return directory === undefined ? 0 : oomKills(directory, "memory.oom_control");
  }

  processes(): number[] {
    return this.#main === undefined ? [] : processesIn(this.#main);
  }

  exists(): boolean {
    return this.#main !== undefined && isThere(this.#main);
  }

  *kill(send: SendSignal): Waits<boolean> {
    const directory = this.#main;
    if (directory === undefined || !isThere(directory)) return false;
    const unified = this.#paths[""];
    if (unified !== undefined && (yield* killByFile(unified))) {
      // The v1 freezer also holds killed processes.
      yield* this.#thawToKill();
    } else {
      yield* killEach(directory, { freeze: () => this.freeze(), thawToKill: () => this.#thawToKill() }, send);
    }
    return true;
  }

  *freezerState(): Waits<FreezerState> {
    const directory = this.#paths["freezer"];
    return directory === undefined ? "running" : yield* freezerV1.state(directory);
  }

  *freeze(): Waits<void> {
    const directory = this.#paths["freezer"];
    if (directory === undefined) {
      throw new RuncError("cgroup-failed", "cannot toggle freezer: cgroups not configured for container");
    }
    yield* freezerV1.freeze(directory);
  }

  thaw(): void {
    const directory = this.#paths["freezer"];
    if (directory !== undefined) freezerV1.thaw(directory);
  }

  thawToKill(): void {
    const directory = this.#paths["freezer"];
    if (directory !== undefined) freezerV1.thawToKill(directory);
  }

  *#thawToKill(): Waits<void> {
    const directory = this.#paths["freezer"];
    if (directory !== undefined) yield* freezerV1.thawToKillWaits(directory);
  }

  *destroy(): Waits<void> {
    const left: string[] = [];
    let cause: unknown;
    for (const directory of yield* tryRemoveCgroups(this.#groups().map(({ directory }) => directory))) {
      try {
        yield* removeCgroup(directory);
      } catch (error) {
        cause = error;
        left.push(directory);
      }
    }
    if (left.length > 0) throw new RuncError("cgroup-failed", `Failed to remove paths: ${left.join(" ")}`, { cause });
  }

  /**
   * The hierarchy that represents all of them: devices, as in runc, or another one if a rootless container has no
   * devices cgroup.
   */
  get #main(): string | undefined {
    return this.#paths["devices"] ?? Object.values(this.#paths)[0];
  }

  #memoryFacts({ limit = 0, swap = 0 }: MemoryResources): MemoryFactsV1 {
    const directory = this.#paths["memory"];
    // Without limits no file needs to be read. Without a directory the first write reports the error.
    if (directory === undefined || (limit === 0 && swap === 0)) return { currentLimit: 0n, swapAccounting: false };
    return {
      currentLimit: BigInt(readCgroupFile(directory, "memory.limit_in_bytes").trim()),
      swapAccounting: readIfThere(directory, "memory.memsw.limit_in_bytes") !== undefined,
    };
  }

  get #toleratesPermission(): boolean {
    return this.#options.rootless && !this.#options.explicitPath;
  }

  /** The directories in joining order, without duplicates. */
  #groups(): readonly Group[] {
    const byDirectory = new Map<string, string[]>();
    for (const controller of v1Controllers) {
      const directory = this.#paths[controller];
      if (directory === undefined) continue;
      const controllers = byDirectory.get(directory);
      if (controllers === undefined) byDirectory.set(directory, [controller]);
      else controllers.push(controller);
    }
    return Array.from(byDirectory, ([directory, controllers]) => ({ directory, controllers }));
  }

  /** Runs `action`. If its failure is tolerated, the container continues without that hierarchy. */
  *#tolerant(group: Group, action: () => Waits<void>): Waits<void> {
    try {
      yield* action();
    } catch (error) {
      const refused = this.#toleratesPermission && isPermission(error);
      if (!refused && !isDispensable(group)) throw error;
      if (refused) this.#refused = true;
      for (const controller of group.controllers) delete this.#paths[controller];
      // `destroy` removes only directories in `paths`, so this one must be removed now.
      yield* undoMade(this.#made.filter((directory) => directory === group.directory));
    }
  }
}

const isSame = (one: LimitWrite) => (other: LimitWrite) => one.file === other.file && one.value === other.value;

function isDispensable({ controllers }: Group): boolean {
  return controllers.every((controller) => dispensable.includes(controller));
}

/**
 * Checks only devices and freezer, as runc does: reading every hierarchy costs more than it finds. Sets here what a
 * process needs before it can enter: CPUs and memory nodes, and real-time budget for a process with real-time priority.
 */
function* createGroup(
  { directory, controllers }: Group,
  made: string[],
  { limits, isOurs, result }: {
    readonly limits: Resources | undefined;
    readonly isOurs: boolean;
    /** Of the attempt to make it. */
    readonly result: number;
  },
): Waits<void> {
  const fresh = result === 0 || (yield* makeCgroup(directory, made, result));
  if (!fresh && !isOurs && controllers.includes("devices")) refuseProcesses(directory);
  if (!fresh && !isOurs && controllers.includes("freezer")) yield* refuseFrozen(freezerV1, directory);
  if (controllers.includes("cpuset")) yield* giveCpus(directory, fresh, limits);
  if (controllers.includes("cpu")) {
    yield* setLimits(realtimeLimits(limits?.cpu ?? {}), () => directory);
  }
}

/** Gives the cgroup its CPUs and memory nodes: its own, or those of the cgroup above if it has none. */
function* giveCpus(directory: string, fresh: boolean, limits: Resources | undefined): Waits<void> {
  const own = cpusetLimits(limits?.cpu ?? {});
  // The cgroups above come first: a cgroup accepts only CPUs that they have.
  if (own.length > 0) yield* inheritCpuset(dirname(directory), false);
  yield* setLimits(own, () => directory);
  yield* inheritCpuset(directory, fresh && own.length === 0);
}
