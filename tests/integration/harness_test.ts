/** The tests' own proof: what a test leaves behind is found, told and removed. */

import { assertEquals, assertThrows } from "@std/assert";
import { memfd } from "../../lib/ffi/files.ts";
import { type Box, inBox, kernel, Running } from "./harness.ts";
import { cgroupsNamed, mountsOf } from "./leftovers.ts";

const leaks: readonly [what: string, leak: (box: Box) => void, told: string][] = [
  ["a container", (box) => void box.startSleeping(), "container box"],
  ["a process", () => {
    new Running(["/bin/sh", "-c", "sleep 1000 & exit"]).wait();
  }, "process "],
  [
    "a cgroup",
    (box) => Deno.mkdirSync(`/sys/fs/cgroup/pids${box.cgroup}`),
    "cgroup /sys/fs/cgroup/pids/runc-deno-test-",
  ],
  ["a mount", (box) => {
    new Deno.Command("mount", { args: ["-t", "tmpfs", "tmpfs", `${box.rootfs}/tmp`] }).outputSync();
  }, "mount "],
  ["a descriptor", () => void memfd(kernel, "left"), "descriptor "],
];
for (const [what, leak, told] of leaks) {
  Deno.test(`${what} that a test leaves is found, told and removed`, () => {
    let seen: Box | undefined;
    const leave = () =>
      inBox("native", (box) => {
        seen = box;
        leak(box);
      });
    assertThrows(leave, Error, told);
    const { directory, name } = seen!;
    assertEquals(cgroupsNamed(name), []);
    assertEquals(mountsOf(name).filter(({ line }) => line.includes(name)), []);
    assertThrows(() => Deno.statSync(directory), Deno.errors.NotFound);
  });
}

Deno.test("a failure of the test itself is what is told, and everything is removed all the same", () => {
  let seen: Box | undefined;
  const fail = () =>
    inBox("native", (box) => {
      seen = box;
      box.startSleeping();
      throw new Error("the test's own");
    });
  assertThrows(fail, Error, "the test's own");
  assertEquals(cgroupsNamed(seen!.name), []);
  assertThrows(() => Deno.statSync(seen!.directory), Deno.errors.NotFound);
});
