/** checkpoint and restore from a Deno program, by mod.ts, with a real CRIU. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { existsSync } from "@std/fs";
import { Container, createRuntime, loadSpec, readConfig, RuncError, type Runtime } from "../../mod.ts";
import { type CriuBox, criuPath, criuTest } from "./criu_harness.ts";
import { untilAsync } from "./foreground_harness.ts";
import { kernel } from "./harness.ts";
import { cgroupsNamed } from "./leftovers.ts";

/** `onNotify`: called with the name of each moment that CRIU tells of. */
function runtimeOf({ box }: CriuBox, onNotify: (script: string) => void = () => {}): Runtime {
  return createRuntime({
    kernel,
    root: box.root,
    environment: { PATH: criuPath },
    log: (_level, text) => {
      const [, script] = /^notify: (.*)$/.exec(text) ?? [];
      if (script !== undefined) onNotify(script);
    },
  });
}

/** What a restore needs of a box. */
function restoring(box: CriuBox, runtime: Runtime) {
  const { bundle } = box.box;
  return { id: box.id, imagePath: box.images, spec: loadSpec(runtime, readConfig(bundle, runtime.log), bundle) };
}

criuTest("a container is saved and restored while the event loop goes on", async (box) => {
  box.startCounting();
  const moments: string[] = [];
  let turns = 0;
  const runtime = runtimeOf(box, (script) => moments.push(`${script} ${turns > 0}`));
  const timer = setInterval(() => turns++, 1);
  try {
    const saved = Container.load(runtime, box.id);
    const { created } = await saved.state();
    await saved.checkpoint({ imagePath: box.images });
    assertEquals(Container.ids(runtime), []);
    turns = 0;
    const { container, process } = await Container.restore(runtime, restoring(box, runtime));
    using _process = process;
    assert(moments.includes("post-restore true"), moments.join(", "));
    const state = await container.state();
    assertEquals([state.status, state.created, state.pid], ["running", created, process.pid]);
    const before = box.count;
    await untilAsync("it counts on", () => box.count > before);
    await container.kill(9);
    assertEquals((await container.awaitExit()).status, 137);
    assertEquals(await process.wait(), { signal: 9 });
    await container.delete();
  } finally {
    clearInterval(timer);
  }
});

criuTest("a checkpoint with leaveRunning leaves it running, and one that fails too", async (box) => {
  box.startCounting();
  const runtime = runtimeOf(box);
  const container = Container.load(runtime, box.id);
  await container.checkpoint({ imagePath: box.images, leaveRunning: true });
  assert(existsSync(`${box.images}/inventory.img`));
  assertEquals(await container.status(), "running");
  const bad = { imagePath: box.images, manageCgroupsMode: "wrong" };
  const usage = await assertRejects(() => container.checkpoint(bad), RuncError);
  assertEquals(usage.code, "usage");
  const lacking = Container.load({ ...runtime, environment: { PATH: "/nowhere" } }, box.id);
  const lack = await assertRejects(() => lacking.checkpoint({ imagePath: `${box.images}-2` }), RuncError);
  assertEquals([lack.code, lack.step, existsSync(`${box.images}-2`)], [
    "host-lacks",
    "find CRIU, which this user must be allowed to use",
    false,
  ]);
  assertEquals(await container.status(), "running");
  await container.delete({ force: true });
});

criuTest(
  "an AbortSignal ends a checkpoint, and the container goes on; it ends a restore, and nothing is left",
  async (box) => {
    box.startCounting();
    const reason = new Error("enough");
    const aborting = (at: string) => {
      const controller = new AbortController();
      const runtime = runtimeOf(box, (script) => script === at && controller.abort(reason));
      return { runtime, signal: controller.signal };
    };
    const saving = aborting("pre-dump");
    const container = Container.load(saving.runtime, box.id);
    const options = { imagePath: box.images, signal: saving.signal };
    assertEquals(await assertRejects(() => container.checkpoint(options)), reason);
    assertEquals(await container.status(), "running");
    await container.checkpoint({ imagePath: box.images });
    const { runtime, signal } = aborting("setup-namespaces");
    const failing = Container.restore(runtime, { ...restoring(box, runtime), signal });
    assertEquals(await assertRejects(() => failing), reason);
    assertEquals([Container.ids(runtime), cgroupsNamed(box.box.name)], [[], []]);
    const { container: restored, process } = await Container.restore(runtime, restoring(box, runtime));
    using _process = process;
    await restored.delete({ force: true });
  },
);
