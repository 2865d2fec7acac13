/** Whom the runtime takes for its child, and so may signal: those that the kernel says are. */

import { assert, assertEquals } from "@std/assert";
import { Child } from "../../lib/ffi/process/child.ts";
import { spawn } from "../../lib/ffi/process/process.ts";
import { kernel, Running, until } from "./harness.ts";

const start = (...argv: string[]): number => {
  const pid = spawn(kernel, { path: argv[0]!, argv, env: [], fds: [] });
  assert(pid > 0);
  return pid;
};

Deno.test("only a child that nobody has reaped is found", () => {
  using other = new Running(["/bin/sh", "-c", "sleep 1000 & echo $!; wait"]);
  const grandchild = Number(until("its pid", () => other.stdout.trim() || undefined));
  const thread = [...Deno.readDirSync("/proc/self/task")].map(({ name }) => Number(name)).find((id) =>
    id !== Deno.pid
  )!;
  for (const pid of [-1, 0, 1, Deno.pid, thread, grandchild, 2 ** 22, 2 ** 32 - 1, 2 ** 31, 0.5, NaN]) {
    assertEquals(Child.find(kernel, pid), undefined, String(pid));
  }
  using child = Child.find(kernel, other.pid)!;
  assertEquals(child.pid, other.pid);
  // The grandchild ends with it.
  kernel.call("kill", grandchild, 9);
});

Deno.test("a child is signalled, told from one that lives, and reaped once", () => {
  for (const [script, status] of [["exit 5", { code: 5 }], ["kill -9 $$", { signal: 9 }]] as const) {
    const pid = start("/bin/sh", "-c", script);
    using child = Child.find(kernel, pid)!;
    until("its end", () => child.hasEnded || undefined);
    assertEquals([child.status, child.status], [status, status]);
    assertEquals([child.reap(), child.reap(), child.hasEnded, child.signal(9)], [status, status, true, -3]);
    assertEquals(child.status, status);
    assertEquals(Child.find(kernel, pid), undefined);
  }
  const pid = start("/bin/sleep", "1000");
  using child = Child.find(kernel, pid)!;
  assertEquals([child.hasEnded, child.status, child.signal(15)], [false, undefined, 0]);
  assertEquals(child.reap(), { signal: 15 });
});
