import { assertEquals, assertThrows } from "@std/assert";
import { isErrno, makeCgroup, removeIfUnused, writeProcess, writeWaits } from "../../../lib/cgroups/file.ts";
import { RuncError } from "../../../lib/errors.ts";
import { Errno } from "../../../lib/ffi/errno.ts";
import type { Wait, Waits } from "../../../lib/ffi/waits.ts";

/** `write("cgroup.procs")`, `pause 30` */
function textOf(wait: Wait): string {
  if ("turn" in wait) return "turn";
  if ("lock" in wait) return "lock";
  if ("calls" in wait) return wait.calls.map(({ call }) => call).join(" ");
  if (!("call" in wait)) return `pause ${wait.timeoutMs}`;
  const texts = wait.args.filter((argument) => argument instanceof Uint8Array)
    .map((bytes) => new TextDecoder().decode(bytes).replace(/\0$/, ""));
  return [wait.call, ...texts].join(" ");
}

/** Runs `waits`. Each call gets the next of the results for its name, then 0. Appends what it waits for to `waited`. */
function run<Result>(
  waits: Waits<Result>,
  results: Readonly<Record<string, readonly number[]>>,
  waited: string[] = [],
): Result {
  const left = new Map(Object.entries(results).map(([call, each]) => [call, [...each]]));
  let step = waits.next();
  while (!step.done) {
    waited.push(textOf(step.value));
    step = waits.next("call" in step.value ? left.get(step.value.call)?.shift() ?? 0 : []);
  }
  return step.value;
}

Deno.test("writeWaits() repeats what a signal ended, and closes the file in any case", () => {
  const waited: string[] = [];
  run(writeWaits("/g", "pids.max", "5"), { open: [-Errno.EINTR, 7], write: [-Errno.EINTR, 1] }, waited);
  assertEquals(waited, ["open /g/pids.max", "open /g/pids.max", "write 5", "write 5", "close"]);
  const refused: string[] = [];
  const write = () => run(writeWaits("/g", "pids.max", "x"), { open: [7], write: [-Errno.EINVAL] }, refused);
  const { message, errnoName } = assertThrows(write, RuncError);
  assertEquals([message, errnoName], ['write "x" to /g/pids.max: invalid argument', "EINVAL"]);
  assertEquals(refused.at(-1), "close");
  const missing: string[] = [];
  const error = assertThrows(() => run(writeWaits("/g", "a", "1"), { open: [-Errno.ENOENT] }, missing), RuncError);
  assertEquals([isErrno(error, "ENOENT"), missing], [true, ["open /g/a"]]);
});

Deno.test("writeProcess() tries five times while the kernel answers EINVAL", () => {
  const waited: string[] = [];
  run(writeProcess("/g", 9), { write: [-Errno.EINVAL, -Errno.EINVAL, 1] }, waited);
  const once = ["open /g/cgroup.procs", "write 9", "close"];
  assertEquals(waited, [...once, "pause 30", ...once, "pause 30", ...once]);
  const tries: string[] = [];
  assertThrows(() => run(writeProcess("/g", 9), { write: Array(9).fill(-Errno.EINVAL) }, tries), RuncError);
  assertEquals(tries.filter((text) => text.startsWith("write")).length, 5);
  const others: string[] = [];
  assertThrows(() => run(writeProcess("/g", 9), { write: [-Errno.EBUSY] }, others), RuncError);
  assertEquals(others, once);
});

Deno.test("makeCgroup() makes ancestors only where they are missing, and names what is new", () => {
  const cases: readonly [mkdir: readonly number[], isNew: boolean, made: readonly string[]][] = [
    [[0], true, ["/a/b/c"]],
    [[-Errno.EEXIST], false, []],
    [[-Errno.ENOENT, -Errno.ENOENT, 0, 0, 0], true, ["/a", "/a/b", "/a/b/c"]],
    // Another container made the parent meanwhile.
    [[-Errno.ENOENT, -Errno.EEXIST, 0], true, ["/a/b/c"]],
  ];
  for (const [mkdir, isNew, expected] of cases) {
    const made: string[] = [];
    assertEquals([run(makeCgroup("/a/b/c", made), { mkdir }), made], [isNew, expected]);
  }
  const refuse = () => run(makeCgroup("/a", []), { mkdir: [-Errno.EACCES] });
  const { message, hint } = assertThrows(refuse, RuncError);
  assertEquals(message, "mkdir /a: permission denied");
  assertEquals(hint, "without root, use a delegated cgroup or leave out linux.cgroupsPath");
});

Deno.test("removeIfUnused() leaves a cgroup that is in use", () => {
  const waited: string[] = [];
  run(removeIfUnused("/g"), { rmdir: [-Errno.EBUSY] }, waited);
  assertEquals(waited, ["rmdir /g"]);
});
