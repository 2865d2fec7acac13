/** Many containers, one after the other and at once: every one works, and nothing is left of any. */

import { assertEquals } from "@std/assert";
import { contentOf } from "./foreground_harness.ts";
import { type Box, boxTest, until } from "./harness.ts";

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

const AT_ONCE = 500, LANES = 8;

boxTest(`${AT_ONCE} containers are alive at once, created in ${LANES} lanes`, (box) => {
  const ids = Array.from({ length: AT_ONCE }, (_, index) => `box-${String(index).padStart(3, "0")}`);
  const bundles = new Map(ids.map((id, index) => [id, makeBundle(box, index)]));
  const inLanes = (each: (id: string) => readonly string[]) => {
    for (let first = 0; first < ids.length; first += LANES) {
      const running = ids.slice(first, first + LANES).map((id) => box.start(each(id)));
      const results = running.map((one) => one.wait());
      running.forEach((one) => one[Symbol.dispose]());
      assertEquals(results, results.map(() => usual), `from container ${first} on`);
    }
  };
  const listed = () => (JSON.parse(box.must(["list", "--format", "json"])) ?? []) as { id: string; status: string }[];
  inLanes((id) => ["create", "--bundle", bundles.get(id)!, id]);
  assertEquals(listed().map(({ id, status }) => [id, status]), ids.map((id) => [id, "created"]));
  // Only one of them: it ends, and all others go on waiting.
  box.must(["start", ids[250]!]);
  until("its end", () => box.state(ids[250]).status === "stopped");
  assertEquals(listed().filter(({ status }) => status !== "created").map(({ id }) => id), [ids[250]]);
  inLanes((id) => ["delete", "--force", id]);
  assertEquals(listed(), []);
});

boxTest("what is done with one container neither waits for others nor looks at them", (box) => {
  const bundles = [0, 1].map((index) => makeBundle(box, index));
  const fifo = (name: string) => {
    const path = `${box.directory}/${name}`;
    new Deno.Command("mkfifo", { args: [path] }).outputSync();
    return path;
  };
  // One whose create does not come to an end: its hook waits for somebody to write.
  const gate = fifo("gate");
  const config = `${bundles[0]}/config.json`;
  const changed = JSON.parse(Deno.readTextFileSync(config));
  changed.hooks = {
    createRuntime: [{ path: "/bin/sh", args: ["sh", "-c", `echo > ${box.directory}/waits; timeout 100 cat ${gate}`] }],
  };
  Deno.writeTextFileSync(config, JSON.stringify(changed));
  using waiting = box.start(["create", "--bundle", bundles[0]!, "waiting"]);
  until("its hook runs", () => contentOf(`${box.directory}/waits`) !== "");
  // One whose state nobody can read to the end.
  Deno.mkdirSync(`${box.root}/endless`);
  Deno.renameSync(fifo("endless"), `${box.root}/endless/state.json`);

  box.must(["create", "--bundle", bundles[1]!, "box"]);
  box.must(["exec", "box", "true"]);
  box.must(["pause", "box"]);
  box.must(["resume", "box"]);
  box.must(["update", "--pids-limit", "100", "box"]);
  box.must(["start", "box"]);
  until("its end", () => box.state().status === "stopped");
  box.must(["delete", "box"]);
  Deno.removeSync(`${box.root}/endless`, { recursive: true });
  Deno.writeTextFileSync(gate, "");
  assertEquals(waiting.wait(), usual);
  box.remove("waiting");
});
