import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { Errno } from "../../../../lib/ffi/errno.ts";
import type { Kernel } from "../../../../lib/ffi/kernel.ts";
import { checkId, StateDirectory } from "../../../../lib/libcontainer/state/store.ts";

Deno.test("ids are made of letters, digits and _+-.", () => {
  const allowed = ["a", "Z", "0", "_", "+", "-", "...", ".a", "a.", "-rf", "My_Box+1.2-3", "a".repeat(1024)];
  for (const id of allowed) checkId(id);
});

Deno.test("every other id is refused, also where it only looks like one", () => {
  const refused = [
    ".",
    "..",
    "/",
    "a/b",
    "../a",
    "a/..",
    " ",
    "a b",
    "a\n",
    "\na",
    "a\0",
    "a:b",
    "a@b",
    "é",
    "a\u0301",
    "１",
    "%2e",
  ];
  for (const id of refused) {
    const error = assertThrows(() => checkId(id), RuncError, "invalid container ID format", JSON.stringify(id));
    assertEquals(error.code, "id-invalid");
  }
  const error = assertThrows(() => checkId(""), RuncError, "container id cannot be empty");
  assertEquals(error.code, "id-invalid");
});

Deno.test("a state directory is below the root, and cannot be made for a wrong id", () => {
  const directory = new StateDirectory("/run/runc", "box");
  assertEquals([directory.path, directory.fifo, directory.notify], [
    "/run/runc/box",
    "/run/runc/box/exec.fifo",
    "/run/runc/box/notify",
  ]);
  assertThrows(() => new StateDirectory("/run/runc", ".."), RuncError);
});

Deno.test("a state directory that cannot get its mode is not left", () => {
  const calls: string[] = [];
  const call = (name: string) => {
    calls.push(name);
    return name === "chmod" ? -Errno.EPERM : 0;
  };
  const kernel = { call, retry: call } as unknown as Kernel;
  const error = assertThrows(() => new StateDirectory("/run/runc", "box").make(kernel, "/run/runc"), RuncError);
  assertEquals([error.errnoName, error.call], ["EPERM", "chmod(/run/runc/box, 0711)"]);
  assertEquals(calls, ["mkdir", "chmod", "rmdir"]);
});

Deno.test("a state directory that is removed before it has its mode is made again", () => {
  const calls: string[] = [];
  const call = (name: string) => {
    calls.push(name);
    return name === "chmod" && calls.length === 2 ? -Errno.ENOENT : 0;
  };
  const kernel = { call, retry: call } as unknown as Kernel;
  new StateDirectory("/run/runc", "box").make(kernel, "/run/runc");
  assertEquals(calls, ["mkdir", "chmod", "mkdir", "chmod"]);
});
