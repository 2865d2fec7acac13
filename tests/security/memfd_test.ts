/** A host that forbids executable memory files still runs containers. */

import { assertEquals } from "@std/assert";
import { boxTest, type Change } from "../integration/harness.ts";

/** The setting belongs to the pid namespace, and can only be raised: it ends with the one that unshare makes. */
const forbidden = [
  "/usr/bin/unshare",
  "--pid",
  "--fork",
  "--mount-proc",
  "sh",
  "-c",
  'echo 2 > /proc/sys/vm/memfd_noexec && exec "$@"',
  "sh",
];

boxTest("vm.memfd_noexec=2: the image runs from a file that is gone afterwards", (box) => {
  const echo: Change = (config) => {
    config.process.args = ["echo", "ran"];
  };
  const { code, stdout } = box.run(echo, { prefix: forbidden });
  assertEquals({ code, stdout }, { code: 0, stdout: "ran\n" });
  assertEquals(box.containers(), []);
});
