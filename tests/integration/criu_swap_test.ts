/** Checkpoints of Debian's runc that we restore, and the other way round. */

import { assertEquals } from "@std/assert";
import type { Box, Change } from "./harness.ts";
import { type CriuBox, criuTest } from "./criu_harness.ts";

/** What runc 1.1.5 knows. */
const known: Change = (config) => {
  config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "time");
};

/** The same container, by Debian's runc. */
function byDebian(box: CriuBox): CriuBox {
  const debian = Object.create(box.box, { runtime: { value: "debian" } }) as Box;
  return Object.create(box, { box: { value: debian } }) as CriuBox;
}

criuTest("a container of runc's is saved by us, from its state.json, and restored by us", (box) => {
  byDebian(box).startCounting(known);
  box.checkpoint();
  box.restore();
  box.countsOn();
  box.box.remove();
});

criuTest("a container of ours is saved by runc, and the checkpoint restored by us", (box) => {
  box.startCounting(known);
  byDebian(box).checkpoint();
  assertEquals(box.box.containers(), []);
  box.restore();
  box.countsOn();
  box.box.remove();
});

criuTest("our checkpoint is restored by runc, and saved again by us", (box) => {
  box.startCounting(known);
  box.checkpoint();
  byDebian(box).restore();
  box.countsOn();
  box.checkpoint();
  box.restore();
  box.countsOn();
  box.box.remove();
});
