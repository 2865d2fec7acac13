/** Many containers, one after the other and at once: every one works, and nothing is left of any. */

import { assertEquals } from "@std/assert";
import { type Box, boxTest } from "./harness.ts";

const usual = { code: 0, stdout: "", stderr: "" };

boxTest("500 containers one after the other all succeed and leave nothing", (box) => {
  for (let round = 0; round < 500; round++) assertEquals(box.runc(["run", box.id]), usual, `round ${round}`);
});

/** A bundle of the box's rootfs with a cgroup of its own. Returns its directory. */
function makeBundle(box: Box, index: number): string {
  box.write((config) => {
    config.linux.cgroupsPath = `${box.cgroup}-${index}`;
    config.root.path = box.rootfs;
  });
  const directory = `${box.directory}/bundle-${index}`;
  Deno.mkdirSync(directory);
  Deno.renameSync(`${box.bundle}/config.json`, `${directory}/config.json`);
  return directory;
}

boxTest("50 times 8 containers at once all succeed and leave nothing", (box) => {
  const bundles = Array.from({ length: 8 }, (_, index) => makeBundle(box, index));
  for (let round = 0; round < 50; round++) {
    const running = bundles.map((bundle, index) => box.start(["run", "--bundle", bundle, `box-${index}`]));
    const results = running.map((one) => one.wait());
    running.forEach((one) => one[Symbol.dispose]());
    assertEquals(results, bundles.map(() => usual), `round ${round}`);
  }
});
