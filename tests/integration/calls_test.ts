/** Several libc calls in one, on another thread. */

import { assertEquals, assertRejects } from "@std/assert";
import { Errno } from "../../lib/ffi/errno.ts";
import { type Argument, cString, Kernel } from "../../lib/ffi/kernel.ts";
import { callAll, runWaits, runWaitsAsync } from "../../lib/ffi/waits.ts";

const kernel = new Kernel();

for (const [name, run] of [["this thread", runWaits], ["another thread", runWaitsAsync]] as const) {
  Deno.test(`callAll() makes all calls in order, whatever their results are: on ${name}`, async () => {
    const directory = Deno.makeTempDirSync({ prefix: "runc-test-" });
    try {
      const make = (path: string) => ({ call: "mkdir", args: [cString(`${directory}/${path}`), 0o750] });
      const calls = [make("a"), make("missing/b"), make("a"), make("a/c"), { call: "getpid", args: [] }];
      const results = await run({ kernel }, callAll(calls));
      assertEquals(results, [0, -Errno.ENOENT, -Errno.EEXIST, 0, Deno.pid]);
      assertEquals(Deno.statSync(`${directory}/a/c`).mode! & 0o777, 0o750);
      const remove = (path: string) => ({ call: "rmdir", args: [cString(`${directory}/${path}`)] });
      assertEquals(await run({ kernel }, callAll(["a", "a/c", "a"].map(remove))), [-Errno.ENOTEMPTY, 0, 0]);
      assertEquals(await run({ kernel }, callAll([])), []);
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  });
}

Deno.test("callAllAsync() gives each call its three arguments, and refuses more", async () => {
  const [reader, writer] = [new Uint8Array(8), new TextEncoder().encode("hello")] as const;
  const pipe = new Uint8Array(new ArrayBuffer(8));
  const fds = new Int32Array(pipe.buffer);
  assertEquals(kernel.call("pipe", pipe), 0);
  const [from, to] = fds as unknown as [number, number];
  const calls = [
    { call: "write", args: [to, writer, 5] },
    { call: "read", args: [from, reader, 3] },
    { call: "close", args: [to] },
    { call: "close", args: [from] },
    { call: "close", args: [from] },
  ];
  assertEquals(await kernel.callAllAsync(calls), [5, 3, 0, 0, -Errno.EBADF]);
  assertEquals(new TextDecoder().decode(reader.subarray(0, 3)), "hel");
  const tooMany = [{ call: "mmap", args: [0, 0, 0, 0, 0, 0] }];
  await assertRejects(() => kernel.callAllAsync(tooMany), RangeError, "more than 3 arguments");
});

Deno.test("a kernel for a program that lasts gives the same results: errno, seven arguments, large numbers", () => {
  using kept = new DisposableStack();
  const kernels = [new Kernel(), new Kernel({ isLasting: true })];
  for (const each of kernels) kept.defer(() => each.close());
  const room = new Uint8Array(new ArrayBuffer(100));
  const format = cString("%ld %ld %ld %ld");
  const calls: readonly (readonly [string, ...Argument[]])[] = [
    ["getpid"],
    ["close", -1],
    ["faccessat", -100, cString("/none"), 0, 0],
    ["faccessat", -100, cString("/"), 0, 0],
    ["mkdir", null, 0],
    ["strlen", cString("hello")],
    ["labs", -3_000_000_000],
    ["labs", 2n ** 50n],
    ["labs", -(2n ** 50n)],
    ["strnlen", new Uint8Array(new ArrayBuffer(0)), 0],
  ];
  for (const [name, ...args] of calls) {
    const [one, other] = kernels.map((each) => each.call(name, ...args));
    assertEquals(other, one, name);
  }
  for (const each of kernels) {
    const length = each.call("snprintf", room, room.length, format, -1, 2n ** 63n - 1n, 0, -5_000_000_000);
    assertEquals(new TextDecoder().decode(room.subarray(0, length)), "-1 9223372036854775807 0 -5000000000");
    assertEquals([each.call("close", -1), each.call("getppid") > 0], [-Errno.EBADF, true]);
  }
});

Deno.test("calls of a lasting kernel go through while others are on another thread", async () => {
  const lasting = new Kernel({ isLasting: true });
  try {
    const slow = Array.from({ length: 8 }, () => lasting.callAsync("usleep", 1000));
    const all = lasting.callAllAsync([{ call: "getpid", args: [] }]);
    for (let count = 0; count < 20_000; count++) {
      assertEquals([lasting.call("close", -1), lasting.call("getpid")], [-Errno.EBADF, Deno.pid]);
    }
    assertEquals([await Promise.all(slow), await all], [slow.map(() => 0), [Deno.pid]]);
  } finally {
    lasting.close();
  }
});
