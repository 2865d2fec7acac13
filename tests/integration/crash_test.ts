/**
 * The runtime is killed before and after each act of a command: afterwards `delete --force` leaves nothing. As root;
 * with Debian's busybox-static.
 */

import { assert, assertEquals } from "@std/assert";
import {
  afterPowerLoss,
  crashEverywhere,
  type Doomed,
  doomedCommands,
  killBefore,
  writeSleeping,
} from "./crash_harness.ts";
import { contentOf } from "./foreground_harness.ts";
import { criuTest } from "./criu_harness.ts";
import { type Box, boxTest, until } from "./harness.ts";

for (const each of doomedCommands) {
  boxTest(`${each.name} is killed before and after each act: delete --force leaves nothing`, (box) => {
    writeSleeping(box);
    const acts = crashEverywhere(box, each);
    assert(acts.length > 2, acts.join());
  });
}

/** What a power loss can find half done. */
const unfinished = doomedCommands.filter(({ name }) => ["create", "start", "update", "pause", "delete"].includes(name));

for (const cgroups of ["gone", "left"] as const) {
  for (const each of unfinished) {
    boxTest(
      `${each.name} ends with all processes, and the state is lost: the id is created again; cgroups ${cgroups}`,
      (box) => {
        writeSleeping(box);
        const acts = crashEverywhere(box, { ...each, isSampled: true }, afterPowerLoss(cgroups));
        assert(acts.length > 2, acts.join());
      },
    );
  }
}

/** The images of a checkpoint. */
const images = (box: Box) => `${box.bundle}/images`;
const saving = (...options: readonly string[]): Doomed => ({
  name: ["checkpoint", ...options].join(" "),
  words: (box) => ["checkpoint", "--image-path", images(box), ...options, box.id],
});
const restoring = (...options: readonly string[]): Doomed => ({
  name: ["restore", ...options].join(" "),
  words: (box) => ["restore", ...options, "--image-path", images(box), box.id],
});

for (
  const each of [
    saving(),
    { ...saving("--leave-running"), isSampled: true },
    saving("--pre-dump"),
  ]
) {
  criuTest(`${each.name} is killed before and after each act: delete --force leaves nothing`, (box) => {
    const acts = crashEverywhere(box.box, { ...each, prepare: () => box.start("exec sleep 1000") });
    assert(acts.some((act) => act.startsWith("wait for CRIU: ")), acts.join());
  }, each.name.includes("pre-dump") ? "mem_dirty_track" : undefined);
}

for (const each of [restoring(), { ...restoring("--detach"), isSampled: true }]) {
  criuTest(`${each.name} is killed before and after each act: delete --force leaves nothing`, (box) => {
    box.start("exec sleep 1000");
    box.must(["checkpoint", "--image-path", images(box.box), box.id]);
    const acts = crashEverywhere(box.box, each);
    assert(acts.includes("wait for CRIU: the processes run"), acts.join());
  });
}

boxTest("hooks run is killed while the hook runs: the container runs on", (box) => {
  const gate = `${box.directory}/gate`;
  new Deno.Command("mkfifo", { args: [gate] }).outputSync();
  box.startSleeping((config) => {
    const script = `[ ! -e ${gate}.open ] || { echo >${gate}.runs; cat ${gate}; }`;
    config.hooks = { poststart: [{ path: "/bin/sh", args: ["sh", "-c", script] }] };
  });
  Deno.writeTextFileSync(`${gate}.open`, "");
  using running = box.start(["hooks", "run", box.id, "poststart"]);
  until("the hook runs", () => contentOf(`${gate}.runs`) !== "");
  running.signal(9);
  assertEquals([running.wait().code, box.state().status], [128 + 9, "running"]);
  // The hook is a program of the host, which nobody but its maker may kill.
  Deno.writeTextFileSync(gate, "");
  box.remove();
});

boxTest("what a killed create has noted is no state: list, state and other commands find no container", (box) => {
  writeSleeping(box);
  const [create] = doomedCommands;
  const { acts } = killBefore(box, create!, 1000);
  box.remove();
  killBefore(box, create!, acts.indexOf("describe the container"));
  const note = JSON.parse(Deno.readTextFileSync(`${box.root}/${box.id}/creating.json`));
  assert(Object.values(note.cgroupPaths as object).every((path) => path.endsWith(box.cgroup)));
  assertEquals(box.refused(["state", box.id]).code, "container-missing");
  const list = box.runc(["list", "--quiet"]);
  assertEquals(list.stdout, "");
  box.runc(["delete", "--force", box.id]);
});

boxTest("a note does not make delete --force kill another's processes", (box) => {
  writeSleeping(box);
  box.must(["run", "--detach", box.id]);
  const { pid } = box.state();
  const stat = Deno.readTextFileSync(`/proc/${pid}/stat`).split(" ");
  // The pid is right, its start time is not; the paths are no cgroups.
  const note = (cgroupPaths: object, startTime: number) => JSON.stringify({ stage: { pid, startTime }, cgroupPaths });
  for (
    const text of [
      note({}, Number(stat[21]) + 1),
      note({ pids: "/" }, Number(stat[21])),
      note({ pids: `${box.directory}/state` }, Number(stat[21])),
      note({ pids: "/sys/fs/cgroup/pids/../.." }, Number(stat[21])),
      "{",
    ]
  ) {
    Deno.mkdirSync(`${box.root}/other`);
    Deno.writeTextFileSync(`${box.root}/other/creating.json`, text);
    const { code, stderr } = box.runc(["delete", "--force", "other"]);
    assertEquals([code, box.containers(), box.state().status], [0, [box.id], "running"], `${text}: ${stderr}`);
  }
  box.remove();
  until("its end", () => box.containers().length === 0);
});
