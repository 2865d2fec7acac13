/** The state directory's files. */

import { assertEquals, assertStrictEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { RuncError } from "../../lib/errors.ts";
import { runWaits, runWaitsAsync } from "../../lib/ffi/waits.ts";
import type { RuncState } from "../../lib/libcontainer/state/runc_state.ts";
import { StateDirectory } from "../../lib/libcontainer/state/store.ts";
import { kernel, until } from "./harness.ts";

const fixture = new URL("../fixtures/runc_1_1_5_state.json", import.meta.url).pathname;

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

Deno.test("a directory that was removed before it was locked, and made by another creation, is the other's", () => {
  const root = Deno.makeTempDirSync({ prefix: "runc-test-" });
  try {
    const directory = new StateDirectory(root, "box"), other = new StateDirectory(root, "box");
    const making = directory.makeLocked(kernel, root);
    // It waits for the lock, which a `delete` has, of an empty directory.
    making.next();
    Deno.removeSync(directory.path);
    runWaits({ kernel }, other.makeLocked(kernel, root)).close();
    Deno.writeTextFileSync(`${other.path}/state.json`, "{}");
    const goOn = () => {
      // Each wait is for a lock that is free.
      while (making.next(0).done !== true) { /* the next one */ }
    };
    const error = assertThrows(goOn, RuncError);
    assertEquals([error.code, [...Deno.readDirSync(other.path)].length], ["container-exists", 1]);
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
});

Deno.test("a state is parsed once for as long as its file is the same", () => {
  const root = Deno.makeTempDirSync({ prefix: "runc-test-" });
  try {
    const text = JSON.stringify(JSON.parse(Deno.readTextFileSync(fixture)));
    const directory = new StateDirectory(root, "box");
    directory.make(kernel, root);
    const path = `${directory.path}/state.json`;
    Deno.writeTextFileSync(path, text);
    const first = directory.load(kernel);
    assertStrictEquals(directory.load(kernel), first);
    directory.save(kernel, first);
    assertStrictEquals(directory.load(kernel), first);
    // As another program does: by renaming.
    Deno.writeTextFileSync(`${path}.new`, text.replace('"id":"', '"id":"x'));
    Deno.renameSync(`${path}.new`, path);
    const second = directory.load(kernel);
    assertEquals(second.id, `x${first.id}`);
    // And in its place, a moment later: the clock of files counts in steps.
    until("another time", () => {
      Deno.writeTextFileSync(path, text);
      return directory.load(kernel).id === first.id;
    });
    Deno.removeSync(path);
    assertThrows(() => directory.load(kernel), RuncError, "does not exist");
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
});

Deno.test("a state with a number that JavaScript cannot hold is saved with all its digits", () => {
  const root = Deno.makeTempDirSync({ prefix: "runc-test-" });
  try {
    const directory = new StateDirectory(root, "box");
    directory.make(kernel, root);
    const state = { ...JSON.parse(Deno.readTextFileSync(fixture)), other: 18446744073709551615n } as RuncState;
    directory.save(kernel, state);
    assertStringIncludes(Deno.readTextFileSync(`${directory.path}/state.json`), '"other":18446744073709551615');
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
});
