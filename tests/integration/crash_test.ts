/**
 * The runtime is killed before and after each act of a command: afterwards `delete --force` leaves nothing. As root;
 * with Debian's busybox-static.
 */

import { assert, assertEquals } from "@std/assert";
import { criuPath, criuTest } from "./criu_harness.ts";
import { type Box, boxTest, execute, until } from "./harness.ts";
import { Watchman } from "./leftovers.ts";

const here = new URL(".", import.meta.url).pathname;

/** More than any command has. */
const MOST_ACTS = 100;

/** Runs a command that is killed before its act `number`. Returns the acts that it has begun, and its status. */
function crash(box: Box, command: string, number: number): { acts: readonly string[]; code: number; stderr: string } {
  const { stdout, code, stderr } = execute([
    Deno.execPath(),
    "run",
    "--allow-all",
    "--no-check",
    `--config=${here}../../deno.json`,
    `${here}crash_program.ts`,
    ...[command, box.root, box.id, box.bundle, String(number)],
  ], { env: { PATH: criuPath } });
  return { acts: stdout.trimEnd().split("\n"), code, stderr };
}

/** What there is of the box's, but for its files. */
function left(box: Box, watchman: Watchman): readonly string[] {
  return [...box.containers().map((id) => `container ${id}`), ...watchman.find()];
}

/**
 * Kills a command before each of its acts, and after the last one. `prepare` makes what the command needs. Returns the
 * command's acts.
 */
function crashEverywhere(box: Box, command: string, prepare: () => void): readonly string[] {
  const watchman = new Watchman(box.name);
  for (let number = 0; number < MOST_ACTS; number++) {
    prepare();
    const { acts, code, stderr } = crash(box, command, number);
    const last = acts.at(-1)!;
    assertEquals([code, acts.length], [128 + 9, number + 1], `${command} was not killed before "${last}": ${stderr}`);
    const removed = box.runc(["delete", "--force", box.id]);
    const where = `${command} was killed before "${last}"; delete --force said: ${removed.stderr}`;
    assertEquals([removed.code, left(box, watchman)], [0, []], where);
    if (last === "(the end)") return acts;
  }
  throw new Error(`${command} has more than ${MOST_ACTS} acts`);
}

/** A container that sleeps. */
function writeSleeping(box: Box): void {
  box.write((config) => {
    config.process.args = ["sleep", "1000"];
    config.linux.resources = { ...config.linux.resources, pids: { limit: 50 } };
  });
}

const prepared: Readonly<Record<string, (box: Box) => void>> = {
  create: () => {},
  start: (box) => box.must(["create", box.id]),
  exec: (box) => box.must(["run", "--detach", box.id]),
  update: (box) => box.must(["run", "--detach", box.id]),
  delete: (box) => box.must(["run", "--detach", box.id]),
};

for (const [command, prepare] of Object.entries(prepared)) {
  boxTest(`${command} is killed before and after each act: delete --force leaves nothing`, (box) => {
    writeSleeping(box);
    const acts = crashEverywhere(box, command, () => prepare(box));
    assert(acts.length > 3, acts.join());
  });
}

criuTest("checkpoint is killed before and after each act: delete --force leaves nothing", (box) => {
  const acts = crashEverywhere(box.box, "checkpoint", () => box.start("exec sleep 1000"));
  assert(acts.includes("wait for CRIU: the processes are saved"), acts.join());
});

criuTest("restore is killed before and after each act: delete --force leaves nothing", (box) => {
  box.start("exec sleep 1000");
  box.must(["checkpoint", "--image-path", `${box.box.bundle}/images`, box.id]);
  const acts = crashEverywhere(box.box, "restore", () => {});
  assert(acts.includes("wait for CRIU: the processes run"), acts.join());
});

boxTest("what a killed create has noted is no state: list, state and other commands find no container", (box) => {
  writeSleeping(box);
  const { acts } = crash(box, "create", MOST_ACTS);
  box.remove();
  crash(box, "create", acts.indexOf("describe the container"));
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
