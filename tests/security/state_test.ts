/** The state directory: other users of the host learn nothing from it and change nothing in it. */

import { assertEquals } from "@std/assert";
import { comparing, execute } from "../integration/harness.ts";

comparing("another user of the host neither reads a container's state nor makes files in its directory", (box) => {
  box.startSleeping();
  const directory = `${box.root}/${box.id}`;
  const attacks = [
    `ls ${box.root}`,
    `cat ${directory}/state.json`,
    `ls ${directory}`,
    `touch ${directory}/notify.sock`,
    `mkdir ${box.root}/other`,
    `mv ${directory}/state.json ${directory}/old`,
  ];
  const attempt = (commands: readonly string[], ...as: string[]) =>
    commands.map((command) => [command, execute([...as, "/bin/sh", "-c", command]).code === 0]);
  const asNobody = ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
  assertEquals(attempt(attacks, ...asNobody), attacks.map((command) => [command, false]));
  // A root directory that somebody else has made may be open: what is in it is still closed.
  Deno.chmodSync(box.root, 0o755);
  assertEquals(attempt(attacks, ...asNobody), attacks.map((command, index) => [command, index === 0]));
  Deno.chmodSync(box.root, 0o700);
  // The commands themselves work.
  const done = [`touch ${directory}/x`, `rm ${directory}/x`];
  assertEquals(attempt([...attacks.slice(0, 3), ...done]).map(([, works]) => works), [true, true, true, true, true]);
  box.remove();
});
