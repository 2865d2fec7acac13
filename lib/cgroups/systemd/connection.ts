/**
 * A client for systemd's manager on the bus: starts, changes and stops units, each with a deadline. Runs in: parent.
 *
 * @see org.freedesktop.systemd1(5)
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { BusValue } from "../../ffi/libraries/dbus_value.ts";
import { monotonicMs } from "../../ffi/clock.ts";
import type { Kernel } from "../../ffi/kernel.ts";
import { type Arguments, Bus, BusError } from "../../ffi/libraries/libsystemd.ts";
import { pause, type Waits } from "../../ffi/waits.ts";
import { inSpanWaits, type Tracer } from "../../trace/tracer.ts";
import type { UnitProperty } from "./annotations.ts";
import { unitObject } from "./unit.ts";

/** runc's timeout for starting or stopping a unit. dbus-daemon's own timeout for a reply is 25 s. */
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
/** systemd's private socket. Only root can use it; it works without dbus-daemon. */
const PRIVATE_SOCKET = "unix:path=/run/systemd/private";

/** The systemd to talk to. */
export type SystemdInstance =
  | { readonly kind: "system" }
  /** `environment`: the caller's environment, which has the address of the user's bus. */
  | { readonly kind: "user"; readonly environment: Readonly<Record<string, string>> };

/** A connection to systemd, opened on first use. */
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

  /**
   * systemd's version, such as 252; 0 if it does not report one. `unit`: the unit that the version matters for, for
   * errors. @throws {RuncError} naming the unit.
   */
  *versionFor(unit: string): Waits<number> {
    return this.#version ??= Number(/\d+/.exec(yield* this.#propertyFor(unit, "Version"))?.[0] ?? 0);
  }

  /**
   * The cgroup in which this systemd runs its units, absolute. The system's systemd uses `/`. `unit`: the unit to be
   * created, for errors. @throws {RuncError} naming the unit.
   */
  *controlGroupFor(unit: string): Waits<string> {
    return (yield* this.#propertyFor(unit, "ControlGroup")) || "/";
  }

  /**
   * The cgroup of a unit, absolute. Empty if the unit has ended. @throws {RuncError} `cgroup-failed`, naming the unit.
   */
  *cgroupOf(unit: string): Waits<string> {
    const kind = unit.endsWith(".slice") ? "Slice" : "Scope";
    try {
      return yield* this.#get(
        unitObject(unit),
        `${manager.destination}.${kind}`,
        "ControlGroup",
        `the cgroup of ${unit}`,
      );
    } catch (error) {
      throw within(error, `unable to ask systemd for the cgroup of unit "${unit}"`);
    }
  }

  /**
   * Starts a transient unit and waits until it has started. Its processes are then in its cgroup.
   *
   * A failed unit of the same name blocks the start. It is reset, and the start is tried once more.
   *
   * @throws {RuncError} `cgroup-failed`, naming the unit.
   */
  *startTransientUnit(unit: string, properties: readonly UnitProperty[]): Waits<void> {
    const values = properties.map(([name, variant]) => [name, variant]);
    const start = () =>
      this.#job(unit, "StartTransientUnit", { signature: "ssa(sv)a(sa(sv))", values: [unit, "replace", values, []] });
    let result: string;
    try {
      result = yield* this.#retryWhenReset(unit, start);
    } catch (error) {
      throw within(error, `unable to start unit "${unit}"`);
    }
    if (result === "done") return;
    yield* this.resetFailed(unit);
    throw new RuncError("cgroup-failed", `error creating systemd unit \`${unit}\`: got \`${result}\``, {
      hint: `see the unit's log: journalctl --unit ${unit}`,
    });
  }

  *#retryWhenReset(unit: string, start: () => Waits<string>): Waits<string> {
    try {
      return yield* start();
    } catch (error) {
      if (!isAnswer(error, "org.freedesktop.systemd1.UnitExists")) throw error;
      yield* this.resetFailed(unit);
      return yield* start();
    }
  }

  /**
   * Stops a unit, which kills its remaining processes, and waits for that. A missing unit is not an error.
   *
   * @throws {RuncError} `cgroup-failed`, naming the unit.
   */
  *stopUnit(unit: string): Waits<void> {
    try {
      yield* this.#job(unit, "StopUnit", { signature: "ss", values: [unit, "replace"] });
    } catch (error) {
      if (!isAnswer(error, "org.freedesktop.systemd1.NoSuchUnit")) throw within(error, `unable to stop unit "${unit}"`);
    }
    yield* this.resetFailed(unit);
  }

  /** Resets the failed state of a unit. A unit that has not failed is the usual case and not an error. */
  *resetFailed(unit: string): Waits<void> {
    try {
      yield* this.#call("ResetFailedUnit", { signature: "s", values: [unit] });
    } catch (error) {
      if (!(error instanceof BusError)) throw error;
    }
  }

  /**
   * Sets properties of a unit until it ends, and returns when they are in effect.
   *
   * @throws {RuncError} `cgroup-failed`, naming the unit.
   */
  *setProperties(unit: string, properties: readonly UnitProperty[]): Waits<void> {
    if (properties.length === 0) return;
    const values = [unit, true, properties.map(([name, variant]) => [name, variant])];
    try {
      yield* this.#call("SetUnitProperties", { signature: "sba(sv)", values });
      // systemd replies before it writes to the cgroup. It does write before it reads the next message (manager_loop in
      // src/core/manager.c), so a second call waits for the write.
      yield* this.#property("Version");
    } catch (error) {
      throw within(error, `unable to set unit properties of "${unit}"`);
    }
  }

  /**
   * Moves a process into a unit's cgroup, or into one `below` it, on behalf of a caller without permission. @throws
   * {RuncError} `cgroup-failed`, naming the unit.
   */
  *attachProcess(unit: string, pid: number, below = "/"): Waits<void> {
    try {
      yield* this.#call("AttachProcessesToUnit", { signature: "ssau", values: [unit, below, [pid]] });
    } catch (error) {
      throw within(error, `unable to attach process ${pid} to unit "${unit}"`);
    }
  }

  [Symbol.dispose](): void {
    this.#bus?.[Symbol.dispose]();
    this.#bus = undefined;
  }

  /** Calls a method that returns a job, and waits for the job's result: `done`, `failed`, `timeout`, ... */
  *#job(unit: string, member: string, args: Arguments): Waits<string> {
    const deadline = monotonicMs(this.#kernel) + DEADLINE_MS;
    const [job] = yield* this.#call(member, args, "o");
    // Signals that arrive while a call waits for its reply are queued, so this job's signal cannot be missed.
    const isOurs = ([, path, , result]: readonly BusValue[]) => path === job ? String(result) : undefined;
    const bus = yield* this.#connection();
    const wait = () => bus.waitForSignal(jobRemoved, isOurs, deadline - monotonicMs(this.#kernel));
    const result = yield* this.#told(`wait for systemd to finish ${member} of ${unit}`, wait);
    if (result !== undefined) return result;
    throw new RuncError("cgroup-failed", `systemd did not finish ${member} of ${unit} within ${DEADLINE_MS / 1000} s`);
  }

  *#propertyFor(unit: string, name: string): Waits<string> {
    try {
      return yield* this.#property(name);
    } catch (error) {
      throw within(error, `unable to ask systemd for its ${name}, for unit "${unit}"`);
    }
  }

  #property(name: string): Waits<string> {
    return this.#get(manager.path, manager.interface, name, `its ${name}`);
  }

  /** A property of an object. `what`: its description in messages. */
  *#get(path: string, of: string, name: string, what: string): Waits<string> {
    const to = { destination: manager.destination, path, interface: "org.freedesktop.DBus.Properties" };
    const args = { signature: "ss", values: [of, name] };
    const bus = yield* this.#connection();
    const get = () => bus.call(to, "Get", args, { timeoutMs: DEADLINE_MS, answer: "v" });
    return String((yield* this.#told(`ask systemd for ${what}`, get))[0]);
  }

  *#call(member: string, args: Arguments, answer = ""): Waits<readonly BusValue[]> {
    const bus = yield* this.#connection();
    const call = () => bus.call(manager, member, args, { timeoutMs: DEADLINE_MS, answer });
    return yield* this.#told(`call systemd's ${member}`, call);
  }

  #told<Result>(name: string, action: () => Waits<Result>): Waits<Result> {
    return inSpanWaits(this.#tracer, name, action, { kind: "client" });
  }

  *#connection(): Waits<Bus> {
    if (this.#bus !== undefined) return this.#bus;
    const { bus, isDirect } = yield* this.#told("connect to systemd", () => this.#connect());
    if (!isDirect) {
      const { interface: name, member } = jobRemoved;
      const rule = `type='signal',sender='${manager.destination}',interface='${name}',member='${member}'`;
      yield* bus.call(busDriver, "AddMatch", { signature: "s", values: [rule] }, { timeoutMs: DEADLINE_MS });
    }
    return this.#bus = bus;
  }

  *#connect(): Waits<{ readonly bus: Bus; readonly isDirect: boolean }> {
    if (this.#instance.kind === "user") {
      return { bus: yield* this.#open({ address: userBusAddress(this.#instance.environment) }), isDirect: false };
    }
    try {
      return { bus: yield* this.#open({ address: SYSTEM_BUS }), isDirect: false };
    } catch (error) {
      if (!(error instanceof RuncError) || error.code === "host-lacks") throw error;
      return { bus: yield* this.#open({ address: PRIVATE_SOCKET, isDirect: true }), isDirect: true };
    }
  }

  /** EAGAIN: the socket's backlog is full. Tried 7 times, after 100 ms, 200 ms, ... as runc does. */
  *#open(options: { readonly address: string; readonly isDirect?: boolean }): Waits<Bus> {
    for (let delayMs = 100;; delayMs *= 2) {
      try {
        return yield* Bus.open(this.#kernel, options);
      } catch (error) {
        if (!(error instanceof RuncError) || error.errnoName !== "EAGAIN" || delayMs > 6400) throw error;
        yield* pause(delayMs);
      }
    }
  }
}

/**
 * The address of the user's systemd.
 *
 * @throws {RuncError} `host-lacks` if the environment does not have it.
 */
export function userBusAddress(environment: Readonly<Record<string, string>>): string {
  const { DBUS_SESSION_BUS_ADDRESS: address, XDG_RUNTIME_DIR: directory } = environment;
  if (address) return address;
  // All other characters must be escaped in an address.
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
