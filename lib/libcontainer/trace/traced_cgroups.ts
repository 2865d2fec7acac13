/**
 * Wraps a container's cgroups: each call is a span. Runs in: parent.
 *
 * @module
 */

import type { SpecDeviceRule } from "../../cgroups/devices/rules.ts";
import type { FreezerState } from "../../cgroups/freezer.ts";
import type { CgroupManager, SelfJoin } from "../../cgroups/manager.ts";
import type { SendSignal } from "../../cgroups/processes.ts";
import type { Resources } from "../../specs/config.ts";
import type { Tracer } from "../../trace/tracer.ts";

/** {@link CgroupManager} documents the methods. Quick read-only calls have no span. */
export class TracedCgroups implements CgroupManager {
  readonly #cgroups: CgroupManager;
  readonly #tracer: Tracer;

  constructor(cgroups: CgroupManager, tracer: Tracer) {
    this.#cgroups = cgroups;
    this.#tracer = tracer;
  }

  get paths(): Readonly<Record<string, string>> {
    return this.#cgroups.paths;
  }

  get refused(): boolean {
    return this.#cgroups.refused;
  }

  get selfJoin(): SelfJoin {
    return this.#cgroups.selfJoin;
  }

  selfJoinOfExec(initPid: number): SelfJoin {
    return this.#cgroups.selfJoinOfExec(initPid);
  }

  create(limits?: Resources, firstPid?: number): void {
    this.#span("make the cgroups", () => this.#cgroups.create(limits, firstPid));
  }

  join(pid: number, initPid?: number): void {
    this.#span(`put process ${pid} into the cgroups`, () => this.#cgroups.join(pid, initPid));
  }

  setDevices(rules: readonly SpecDeviceRule[]): void {
    this.#span("set the device rules", () => this.#cgroups.setDevices(rules));
  }

  set(limits: Resources): void {
    this.#span("set the limits", () => this.#cgroups.set(limits));
  }

  remember(limits: Resources, stored: Resources): () => void {
    const restore = this.#span("read the limits", () => this.#cgroups.remember(limits, stored));
    return () => this.#span("set the limits back", () => restore());
  }

  oomKills(): number {
    return this.#cgroups.oomKills();
  }

  processes(): number[] {
    return this.#cgroups.processes();
  }

  exists(): boolean {
    return this.#cgroups.exists();
  }

  kill(send: SendSignal): boolean {
    return this.#span("kill all processes of the cgroup", () => this.#cgroups.kill(send));
  }

  freezerState(): FreezerState {
    return this.#cgroups.freezerState();
  }

  freeze(): void {
    this.#span("freeze the cgroup", () => this.#cgroups.freeze());
  }

  thaw(): void {
    this.#span("thaw the cgroup", () => this.#cgroups.thaw());
  }

  thawToKill(): void {
    this.#cgroups.thawToKill();
  }

  destroy(): void {
    this.#span("remove the cgroups", () => this.#cgroups.destroy());
  }

  #span<Result>(name: string, action: () => Result): Result {
    return this.#tracer.span(name, action);
  }
}
