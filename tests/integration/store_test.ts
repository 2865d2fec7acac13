/** The state directory's files. */

import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../lib/errors.ts";
import { runWaits, runWaitsAsync } from "../../lib/ffi/waits.ts";
import type { RuncState } from "../../lib/libcontainer/state/runc_state.ts";
import { StateDirectory } from "../../lib/libcontainer/state/store.ts";
import { kernel } from "./harness.ts";

Deno.test("a state that cannot be saved leaves the old one, and no other file", () => {
  const root = Deno.makeTempDirSync({ prefix: "runc-test-" });
  try {
    const directory = new StateDirectory(root, "box");
    directory.make(kernel, root);
    // A directory cannot be replaced by a file.
    Deno.mkdirSync(`${directory.path}/state.json/in`, { recursive: true });
    assertThrows(() => directory.save(kernel, { id: "box" } as unknown as RuncState), RuncError);
    assertEquals([...Deno.readDirSync(directory.path)].map(({ name }) => name), ["state.json"]);
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
});

Deno.test("waits for a held lock take no thread of the program, and end with the lock", async () => {
  const root = Deno.makeTempDirSync({ prefix: "runc-test-" });
  try {
    const directory = new StateDirectory(root, "box");
    directory.make(kernel, root);
    const held = runWaits({ kernel }, directory.lock(kernel))!;
    // Deno has 32 threads for calls that block.
    const waiting = Array.from({ length: 40 }, async () => {
      const lock = await runWaitsAsync({ kernel }, directory.lock(kernel));
      lock!.close();
    });
    assertEquals(await kernel.callAsync("getpid"), Deno.pid);
    held.close();
    await Promise.all(waiting);
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
});
