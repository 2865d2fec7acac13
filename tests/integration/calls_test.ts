/** Several libc calls in one, on another thread. */

import { assertEquals, assertRejects } from "@std/assert";
import { Errno } from "../../lib/ffi/errno.ts";
import { cString, Kernel } from "../../lib/ffi/kernel.ts";
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
