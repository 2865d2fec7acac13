/**
 * systemd's manager on the bus: units started, changed and stopped, each with a deadline. Runs in: parent.
 *
 * @see org.freedesktop.systemd1(5)
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { BusValue } from "../../ffi/libraries/dbus_value.ts";
import { monotonicMs } from "../../ffi/clock.ts";
import type { Kernel } from "../../ffi/kernel.ts";
import { type Arguments, Bus, BusError } from "../../ffi/libraries/libsystemd.ts";
import { inSpan, type Tracer } from "../../trace/tracer.ts";
import { sleepMs } from "../file.ts";
import type { UnitProperty } from "./annotations.ts";
import { unitObject } from "./unit.ts";

/** runc's limit for a unit to be started or stopped; dbus-daemon's own for an answer is 25 s. */
const DEADLINE_MS = 30_000;

const manager = {
  destination: "org.freedesktop.systemd1",
  path: "/org/freedesktop/systemd1",
  interface: "org.freedesktop.systemd1.Manager",
} as const;
const busDriver = {
  destination: "org.freedesktop.DBus",
  path: "/org/freedesktop/DBus",
  interface: "org.freedesktop.DBus",
} as const;
const jobRemoved = { interface: manager.interface, member: "JobRemoved", signature: "uoss" } as const;

const SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket";
/** For root alone, and without a bus: hosts without dbus-daemon have it too. */
const PRIVATE_SOCKET = "unix:path=/run/systemd/private";

/** Whose systemd it is. */
export type SystemdInstance =
  | { readonly kind: "system" }
  /** `environment`: the caller's, which has the address of the user's bus. */
  | { readonly kind: "user"; readonly environment: Readonly<Record<string, string>> };

/** A connection to systemd, opened when it is first needed. */
export class Systemd implements Disposable {
  readonly #kernel: Kernel;
  readonly #instance: SystemdInstance;
  readonly #tracer: Tracer | undefined;
  #bus: Bus | undefined;
  #version: number | undefined;

  constructor(kernel: Kernel, instance: SystemdInstance, tracer?: Tracer) {
    this.#kernel = kernel;
    this.#instance = instance;
    this.#tracer = tracer;
  }

  /** Its version, such as 252; 0 where it does not say. `unit`: whose properties depend on it. @throws {RuncError} naming the unit. */
  versionFor(unit: string): number {
    return this.#version ??= Number(/\d+/.exec(this.#propertyFor(unit, "Version"))?.[0] ?? 0);
  }

  /** The cgroup that it runs units in, absolute; `/` where that is all. `unit`: one that is to be there. @throws {RuncError} naming the unit. */
  controlGroupFor(unit: string): string {
    return this.#propertyFor(unit, "ControlGroup") || "/";
  }

  /** The cgroup that it has put a unit into, absolute; empty where the unit is over. @throws {RuncError} `cgroup-failed`, naming the unit. */
  cgroupOf(unit: string): string {
    const kind = unit.endsWith(".slice") ? "Slice" : "Scope";
    try {
      return this.#get(unitObject(unit), `${manager.destination}.${kind}`, "ControlGroup", `the cgroup of ${unit}`);
    } catch (error) {
      throw within(error, `unable to ask systemd for the cgroup of unit "${unit}"`);
    }
  }

  /**
   * Makes a unit and waits until it has been started: its processes are in its cgroup then.
   *
   * One of that name that failed earlier is in the way; it is reset, and the start tried once more.
   *
   * @throws {RuncError} `cgroup-failed`, naming the unit.
   */
  startTransientUnit(unit: string, properties: readonly UnitProperty[]): void {
    const values = properties.map(([name, variant]) => [name, variant]);
    const start = () =>
      this.#job(unit, "StartTransientUnit", { signature: "ssa(sv)a(sa(sv))", values: [unit, "replace", values, []] });
    let result: string;
    try {
      result = this.#retryWhenReset(unit, start);
    } catch (error) {
      throw within(error, `unable to start unit "${unit}"`);
    }
    if (result === "done") return;
    this.resetFailed(unit);
    throw new RuncError("cgroup-failed", `error creating systemd unit \`${unit}\`: got \`${result}\``, {
      hint: `journalctl --unit ${unit} may say more`,
    });
  }

  #retryWhenReset(unit: string, start: () => string): string {
    try {
      return start();
    } catch (error) {
      if (!isAnswer(error, "org.freedesktop.systemd1.UnitExists")) throw error;
      this.resetFailed(unit);
      return start();
    }
  }

  /**
   * Stops a unit, which kills what is left in it, and waits for that. One that is gone already is fine.
   *
   * @throws {RuncError} `cgroup-failed`, naming the unit.
   */
  stopUnit(unit: string): void {
    try {
      this.#job(unit, "StopUnit", { signature: "ss", values: [unit, "replace"] });
    } catch (error) {
      if (!isAnswer(error, "org.freedesktop.systemd1.NoSuchUnit")) throw within(error, `unable to stop unit "${unit}"`);
    }
    this.resetFailed(unit);
  }

  /** Lets systemd forget that the unit failed. Most have not, and that is fine. */
  resetFailed(unit: string): void {
    try {
      this.#call("ResetFailedUnit", { signature: "s", values: [unit] });
    } catch (error) {
      if (!(error instanceof BusError)) throw error;
    }
  }

  /**
   * Changes properties of a unit until it ends, and returns when they hold.
   *
   * @throws {RuncError} `cgroup-failed`, naming the unit.
   */
  setProperties(unit: string, properties: readonly UnitProperty[]): void {
    if (properties.length === 0) return;
    const values = [unit, true, properties.map(([name, variant]) => [name, variant])];
    try {
      this.#call("SetUnitProperties", { signature: "sba(sv)", values });
      // It answers before it writes to the cgroup; that comes before the next message is read (manager_loop in src/core/manager.c).
      this.#property("Version");
    } catch (error) {
      throw within(error, `unable to set unit properties of "${unit}"`);
    }
  }

  /** Moves a process into a unit's cgroup or one `below` it, where its caller may not. @throws {RuncError} `cgroup-failed`, naming the unit. */
  attachProcess(unit: string, pid: number, below = "/"): void {
    try {
      this.#call("AttachProcessesToUnit", { signature: "ssau", values: [unit, below, [pid]] });
    } catch (error) {
      throw within(error, `unable to attach process ${pid} to unit "${unit}"`);
    }
  }

  [Symbol.dispose](): void {
    this.#bus?.[Symbol.dispose]();
    this.#bus = undefined;
  }

  /** Calls a method that answers with a job, and waits for that job's result: `done`, `failed`, `timeout`, ... */
  #job(unit: string, member: string, args: Arguments): string {
    const deadline = monotonicMs(this.#kernel) + DEADLINE_MS;
    const [job] = this.#call(member, args, "o");
    // Signals that came while the answer was awaited are kept in order, so this job's cannot have been missed.
    const isOurs = ([, path, , result]: readonly BusValue[]) => path === job ? String(result) : undefined;
    const wait = () => this.#connection.waitForSignal(jobRemoved, isOurs, deadline - monotonicMs(this.#kernel));
    const result = this.#told(`wait for systemd to finish ${member} of ${unit}`, wait);
    if (result !== undefined) return result;
    throw new RuncError("cgroup-failed", `systemd did not finish ${member} of ${unit} within ${DEADLINE_MS / 1000} s`);
  }

  #propertyFor(unit: string, name: string): string {
    try {
      return this.#property(name);
    } catch (error) {
      throw within(error, `unable to ask systemd for its ${name}, for unit "${unit}"`);
    }
  }

  #property(name: string): string {
    return this.#get(manager.path, manager.interface, name, `its ${name}`);
  }

  /** A property of an object; `what` it is to people. */
  #get(path: string, of: string, name: string, what: string): string {
    const to = { destination: manager.destination, path, interface: "org.freedesktop.DBus.Properties" };
    const args = { signature: "ss", values: [of, name] };
    const get = () => this.#connection.call(to, "Get", args, { timeoutMs: DEADLINE_MS, answer: "v" });
    return String(this.#told(`ask systemd for ${what}`, get)[0]);
  }

  #call(member: string, args: Arguments, answer = ""): readonly BusValue[] {
    const call = () => this.#connection.call(manager, member, args, { timeoutMs: DEADLINE_MS, answer });
    return this.#told(`call systemd's ${member}`, call);
  }

  #told<Result>(name: string, action: () => Result): Result {
    return inSpan(this.#tracer, name, action, { kind: "client" });
  }

  get #connection(): Bus {
    if (this.#bus !== undefined) return this.#bus;
    const { bus, isDirect } = this.#told("connect to systemd", () => this.#connect());
    if (!isDirect) {
      const { interface: name, member } = jobRemoved;
      const rule = `type='signal',sender='${manager.destination}',interface='${name}',member='${member}'`;
      bus.call(busDriver, "AddMatch", { signature: "s", values: [rule] }, { timeoutMs: DEADLINE_MS });
    }
    return this.#bus = bus;
  }

  #connect(): { readonly bus: Bus; readonly isDirect: boolean } {
    if (this.#instance.kind === "user") {
      return { bus: this.#open({ address: userBusAddress(this.#instance.environment) }), isDirect: false };
    }
    try {
      return { bus: this.#open({ address: SYSTEM_BUS }), isDirect: false };
    } catch (error) {
      if (!(error instanceof RuncError) || error.code === "host-lacks") throw error;
      return { bus: this.#open({ address: PRIVATE_SOCKET, isDirect: true }), isDirect: true };
    }
  }

  /** EAGAIN: more connections are waiting than the socket takes. Tried 7 times, after 100 ms, 200 ms, ... as runc does. */
  #open(options: { readonly address: string; readonly isDirect?: boolean }): Bus {
    for (let delayMs = 100;; delayMs *= 2) {
      try {
        return new Bus(this.#kernel, options);
      } catch (error) {
        if (!(error instanceof RuncError) || error.errnoName !== "EAGAIN" || delayMs > 6400) throw error;
        sleepMs(delayMs);
      }
    }
  }
}

/**
 * Where the user's systemd listens.
 *
 * @throws {RuncError} `host-lacks` where the environment does not say.
 */
export function userBusAddress(environment: Readonly<Record<string, string>>): string {
  const { DBUS_SESSION_BUS_ADDRESS: address, XDG_RUNTIME_DIR: directory } = environment;
  if (address) return address;
  // Everything but these is escaped in an address.
  const escaped = (path: string) =>
    Array.from(new TextEncoder().encode(path), (byte) => {
      const letter = String.fromCharCode(byte);
      return /[-0-9A-Za-z_/.\\*]/.test(letter) ? letter : `%${byte.toString(16).padStart(2, "0")}`;
    }).join("");
  if (directory) return `unix:path=${escaped(directory)}/bus`;
  throw new RuncError("host-lacks", "could not detect DBUS_SESSION_BUS_ADDRESS from the environment", {
    hint: "log in to a session of that user, or install dbus-user-session; or leave out --systemd-cgroup",
  });
}

function isAnswer(error: unknown, name: string): boolean {
  return error instanceof BusError && error.busName === name;
}

function within(error: unknown, what: string): unknown {
  return error instanceof RuncError ? error.within(what) : error;
}
