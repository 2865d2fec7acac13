/** The lock of a container that another command holds. */

import { assertEquals } from "@std/assert";
import { StateDirectory } from "../../../../lib/libcontainer/state/store.ts";
import { createOn, runtimeOn } from "../../host/containers.ts";
import { withHost } from "../../host/with_host.ts";

Deno.test("a wait for a held lock takes no thread of the program, and ends with the lock", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    const { runtime } = logged;
    createOn(host, logged).process[Symbol.dispose]();
    const held = logged.wait(new StateDirectory(runtime.root, "box").lock(runtime.kernel))!;
    const waits = new StateDirectory(runtime.root, "box").lock(runtime.kernel);
    for (let tries = 0; tries < 3; tries++) {
      const wait = waits.next([]).value!;
      // A call would wait on a thread of its own; such pauses share one.
      assertEquals("timeoutMs" in wait && wait.timeoutMs <= 10, true);
    }
    held.close();
    const { done, value } = waits.next([]);
    assertEquals(done, true);
    (value as typeof held).close();
  });
});
