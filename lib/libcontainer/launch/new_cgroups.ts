/**
 * Carries out the acts of plans/parent/resources.ts: the cgroups and the resctrl group of a new container. Runs in:
 * parent.
 *
 * @module
 */

import type { CgroupManager } from "../../cgroups/manager.ts";
import { RdtGroup } from "../../cgroups/rdt/group.ts";
import { kill } from "../../ffi/process/process.ts";
import type { Waits } from "../../ffi/waits.ts";
import type { Performers } from "./run_acts.ts";
import type { Flag, VerbOf } from "../plans/parent/act.ts";
import type { Runtime } from "../runtime.ts";

/** A new container, as far as its cgroups depend on it. */
export interface NewCgroupsTarget {
  readonly id: string;
  readonly cgroup: CgroupManager;
  /** Who enters them first. */
  readonly entrant: () => number;
  readonly flags: Set<Flag>;
}

/** The verbs, and the resctrl group that they have made. */
export class NewCgroups {
  readonly #runtime: Runtime;
  readonly #target: NewCgroupsTarget;
  #rdtGroup?: RdtGroup;
  readonly performers: Performers;

  constructor(runtime: Runtime, target: NewCgroupsTarget) {
    const { cgroup, entrant, id } = target;
    this.#runtime = runtime;
    this.#target = target;
    this.performers = {
      makeCgroups: ({ limits }) => this.#make(limits),
      joinCgroups: () => cgroup.join(entrant()),
      setDevices: ({ rules }) => cgroup.setDevices(rules),
      setLimits: ({ limits }) => cgroup.set(limits!),
      killLeft: () => this.#killLeft(),
      removeCgroups: () => cgroup.destroy(),
      makeRdtGroup: ({ root, rdt }) => {
        this.#rdtGroup = new RdtGroup(root, id, rdt);
        this.#rdtGroup.make();
      },
      joinRdtGroup: () => this.#rdtGroup!.join(entrant()),
      limitRdtGroup: () => this.#rdtGroup!.limit(),
      undoRdtGroup: () => this.#rdtGroup!.undo(),
    };
  }

  get rdtGroup(): RdtGroup | undefined {
    return this.#rdtGroup;
  }

  *#make(limits: VerbOf<"makeCgroups">["limits"]): Waits<void> {
    const { cgroup, entrant, flags } = this.#target;
    yield* cgroup.create(limits, entrant());
    if (cgroup.refused) flags.add("cgroup refused");
  }

  *#killLeft(): Waits<void> {
    const { cgroup } = this.#target;
    if (!cgroup.exists()) return;
    yield* cgroup.kill((pid, signal) => void kill(this.#runtime.kernel, pid, signal));
  }
}
