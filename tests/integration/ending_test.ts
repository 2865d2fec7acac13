/** Waiting for the end of a process, with a pidfd and where a sandbox refuses pidfd_open(2): that is a kernel that answers it with an errno. */

import { assert, assertEquals } from "@std/assert";
import { Child } from "../../lib/ffi/process/child.ts";
import { type Ending, endTimeout, OtherProcess, sawEnd, watchEnd } from "../../lib/ffi/ending.ts";
import { Errno, type ErrnoName } from "../../lib/ffi/errno.ts";
import type { Argument, Kernel } from "../../lib/ffi/kernel.ts";
import { poll } from "../../lib/ffi/poll.ts";
import { spawn } from "../../lib/ffi/process/process.ts";
import { syscallNumber } from "../../lib/ffi/syscalls.ts";
import { kernel, until } from "./harness.ts";

/** A kernel that answers pidfd_open(2) with an errno. */
function refusing(errno: ErrnoName): Kernel {
  const retry: Kernel["retry"] = (name, ...args: readonly Argument[]) =>
    name === "syscall" && args[0] === syscallNumber("pidfd_open", kernel.arch)
      ? -Errno[errno]
      : kernel.retry(name, ...args);
  return new Proxy(kernel, {
    get(_, name: keyof Kernel) {
      if (name === "retry") return retry;
      const value: unknown = kernel[name];
      return typeof value === "function" ? value.bind(kernel) : value;
    },
  });
}

const kernels: readonly (readonly [what: string, kernel: Kernel, hasPidfd: boolean])[] = [
  ["with pidfds", kernel, true],
  ["without (EPERM)", refusing("EPERM"), false],
  ["without (ENOSYS)", refusing("ENOSYS"), false],
];

for (const [what, which, hasPidfd] of kernels) {
  for (const kind of [Child, OtherProcess]) {
    Deno.test(`${kind.name}: the end of a process is seen, and not before; ${what}`, () => {
      const pid = spawn(kernel, { path: "/bin/sleep", argv: ["sleep", "1000"], env: [], fds: [] });
      assert(pid > 0);
      using reaped = Child.find(kernel, pid)!;
      using process: Ending & Disposable & { signal(signal: number): number } = kind.find(which, pid)!;
      const sees = (timeoutMs: number) =>
        sawEnd(process, poll(kernel, [watchEnd(process)], endTimeout(process, timeoutMs))[0]);
      assertEquals([process.pidfd !== undefined, process.hasEnded, sees(0)], [hasPidfd, false, false]);
      assertEquals(process.signal(9), 0);
      until("its end", () => sees(-1) || undefined);
      // It is a zombie, and then gone.
      assertEquals(process.hasEnded, true);
      assertEquals(reaped.reap(), { signal: 9 });
      assertEquals([process.hasEnded, sees(0), process.signal(9)], [true, true, -Errno.ESRCH]);
      assertEquals(kind.find(which, pid), undefined);
    });
  }
}

Deno.test("one looks again after a short time where there is nothing to poll", () => {
  const [some, none] = [{ pidfd: { number: 3 } as Ending["pidfd"], hasEnded: false }, { hasEnded: false }];
  assertEquals([-1, 5, 1000].map((limit) => endTimeout(some, limit)), [-1, 5, 1000]);
  assertEquals([-1, 5, 1000].map((limit) => endTimeout(none, limit)), [20, 5, 20]);
  assertEquals([watchEnd(some).fd, watchEnd(none).fd], [3, -1]);
});
