/** The client of sd-bus against a bus of its own: dbus-daemon without any service. */

import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { RuncError } from "../../lib/errors.ts";
import { Kernel } from "../../lib/ffi/kernel.ts";
import { Bus, BusError } from "../../lib/ffi/libraries/libsystemd.ts";
import { runWaits, runWaitsAsync, type Waits } from "../../lib/ffi/waits.ts";

const kernel = new Kernel();
const driver = {
  destination: "org.freedesktop.DBus",
  path: "/org/freedesktop/DBus",
  interface: "org.freedesktop.DBus",
} as const;
const ownerChanged = { interface: driver.interface, member: "NameOwnerChanged", signature: "sss" } as const;
const inTime = { timeoutMs: 10_000 };

const isThere = ["/usr/bin/dbus-daemon", "/bin/dbus-daemon"].some((path) => {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
});

/** How waits are run. */
type Run = <Result>(waits: Waits<Result>) => Promise<Result>;

const runs: Readonly<Record<string, Run>> = {
  // deno-lint-ignore require-await
  "blocks": async (waits) => runWaits({ kernel }, waits),
  "does not block": (waits) => runWaitsAsync({ kernel }, waits),
};

/** Runs `body` with a bus's address and a function that ends the bus. */
async function withDaemon(body: (address: string, end: () => Promise<unknown>) => Promise<void>): Promise<void> {
  const directory = Deno.makeTempDirSync();
  const address = `unix:path=${directory}/bus`;
  const daemon = new Deno.Command("dbus-daemon", {
    args: ["--session", "--nofork", `--address=${address}`, "--print-address"],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const end = () => {
    try {
      daemon.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    return daemon.status;
  };
  try {
    // It prints its address when it listens.
    const reader = daemon.stdout.getReader();
    await reader.read();
    await reader.cancel();
    await body(address, end);
  } finally {
    await end();
    Deno.removeSync(directory, { recursive: true });
  }
}

for (const [how, run] of Object.entries(runs)) {
  const name = `org.runc.Test${how.replaceAll(" ", "_")}`;

  Deno.test({
    name: `D-Bus, in a way that ${how}: replies, errors, signals and deadlines`,
    ignore: !isThere,
    fn: () =>
      withDaemon(async (address) => {
        using bus = await run(Bus.open(kernel, { address }));
        const ask = (member: string, values: readonly string[], answer = "") => {
          const args = { signature: "s".repeat(values.length), values };
          return run(bus.call(driver, member, args, { ...inTime, answer }));
        };
        await ask("AddMatch", ["type='signal',member='NameOwnerChanged'"]);
        await run(bus.call(driver, "RequestName", { signature: "su", values: [name, 0n] }, inTime));
        // The signal comes before this reply, and is kept for the wait.
        const [owner] = await ask("GetNameOwner", [name], "s");
        const ofName = (values: readonly unknown[]) => values[0] === name ? values : undefined;
        assertEquals(await run(bus.waitForSignal(ownerChanged, ofName, inTime.timeoutMs)), [name, "", owner]);
        assertEquals(await run(bus.waitForSignal(ownerChanged, ofName, 20)), undefined);
        const refused = await assertRejects(() => ask("GetNameOwner", ["org.runc.Nobody"], "s"), BusError);
        assertEquals(refused.busName, "org.freedesktop.DBus.Error.NameHasNoOwner");
        assert(refused.message.includes("org.runc.Nobody"));
        // Nobody answers for our own name.
        const own = { destination: name, path: "/a", interface: "org.runc.Test" };
        const late = await assertRejects(() => run(bus.call(own, "Ask", undefined, { timeoutMs: 20 })), BusError);
        assertEquals(late.errnoName, "ETIMEDOUT");
        // Longer than the socket's buffer.
        const long = "a.".repeat(500_000);
        assertEquals(await ask("NameHasOwner", [long], "b"), [false]);
      }),
  });

  Deno.test({
    name: `D-Bus, in a way that ${how}: no bus, and one that ends`,
    ignore: !isThere,
    fn: () =>
      withDaemon(async (address, end) => {
        const missing = await assertRejects(
          () => run(Bus.open(kernel, { address: `${address}-missing` })),
          RuncError,
        );
        assertEquals([missing.code, missing.errnoName], ["cgroup-failed", "ENOENT"]);
        using bus = await run(Bus.open(kernel, { address }));
        await run(bus.call(driver, "GetId", undefined, { ...inTime, answer: "s" }));
        await end();
        const ended = await assertRejects(() => run(bus.waitForSignal(ownerChanged, () => true, inTime.timeoutMs)));
        assertInstanceOf(ended, BusError);
        assertEquals(ended.errnoName, "ECONNRESET");
      }),
  });
}
