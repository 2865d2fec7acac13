/** Swapping the runtime under running containers: what Debian's runc has made we carry on, and the other way round. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { existsSync } from "@std/fs";
import { contentOf } from "./foreground_harness.ts";
import { type Box, boxTest, type Change, inBox, type Runtime, until, withUserNamespace } from "./harness.ts";
import { cgroupsNamed } from "./leftovers.ts";

/** The same bundle and state directory, by the other runtime. */
function other(box: Box): Box {
  const twin = Object.create(box, { runtime: { value: box.runtime === "debian" ? "native" : "debian" } });
  return twin as Box;
}

const sleeping: Change = (config) => {
  config.process.args = ["sleep", "1000"];
  config.annotations = { "org.test": "kept" };
  // What runc 1.1.5 knows.
  config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "time");
};

/** Whether a process is there and has not ended. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\t[ZX]/m.test(Deno.readTextFileSync(`/proc/${pid}/status`));
  } catch {
    return false;
  }
}

/** Things to do to a container that one runtime has made (`maker`), by the other (`heir`). */
const cases: readonly [name: string, body: (maker: Box, heir: Box) => void][] = [
  ["a running container is listed, with the same state", (maker, heir) => {
    maker.must(["run", "--detach", maker.id]);
    const { ociVersion: _theirs, ...made } = maker.state();
    const { ociVersion: _ours, ...seen } = heir.state();
    assertEquals(seen, made);
    assertEquals(heir.must(["list", "--quiet"]), `${maker.id}\n`);
    assertEquals(JSON.parse(heir.must(["ps", "--format", "json", maker.id])), [made.pid]);
  }],
  ["a created container is started", (maker, heir) => {
    maker.must(["create", maker.id]);
    assertEquals(heir.state().status, "created");
    heir.must(["start", maker.id]);
    assertEquals([maker.state().status, heir.state().status], ["running", "running"]);
  }],
  ["exec enters its namespaces and cgroups", (maker, heir) => {
    maker.must(["run", "--detach", maker.id]);
    const script = "for type in pid mnt net ipc uts; do readlink /proc/self/ns/$type; done; cat /proc/self/cgroup";
    const places = (box: Box) => box.must(["exec", maker.id, "sh", "-c", script]);
    assertEquals(places(heir), places(maker));
  }],
  ["paused by one, resumed by the other", (maker, heir) => {
    maker.must(["run", "--detach", maker.id]);
    heir.must(["pause", maker.id]);
    assertEquals([maker.state().status, heir.state().status], ["paused", "paused"]);
    maker.must(["resume", maker.id]);
    maker.must(["pause", maker.id]);
    heir.must(["resume", maker.id]);
    assertEquals([maker.state().status, heir.state().status], ["running", "running"]);
  }],
  ["killed, seen as stopped, deleted", (maker, heir) => {
    maker.must(["run", "--detach", maker.id]);
    heir.must(["kill", maker.id, "KILL"]);
    until("its end", () => heir.state().status === "stopped" && maker.state().status === "stopped");
    assertEquals(heir.state().pid, 0);
    heir.must(["delete", maker.id]);
    assertEquals(maker.must(["list", "--quiet"]), "");
  }],
  ["deleted by force while it runs", (maker, heir) => {
    maker.must(["run", "--detach", maker.id]);
    heir.must(["delete", "--force", maker.id]);
    assertEquals(maker.containers(), []);
  }],
  ["a created container is deleted", (maker, heir) => {
    maker.must(["create", maker.id]);
    heir.must(["delete", maker.id]);
    assertEquals(maker.containers(), []);
  }],
  ["its statistics and processes are the same to both", (maker, heir) => {
    maker.must(["run", "--detach", maker.id]);
    // Nothing is counted while nobody runs, but what was before the kernel may count only now.
    maker.must(["pause", maker.id]);
    const stats = (box: Box) => {
      const { cpu: { throttling: _, ...cpu }, ...rest } = JSON.parse(box.must(["events", "--stats", box.id])).data;
      return { cpu, ...rest };
    };
    const [made, seen] = until("numbers that stay", () => {
      const [before, seen, after] = [stats(maker), stats(heir), stats(maker)];
      return JSON.stringify(before) === JSON.stringify(after) && [before, seen];
    });
    assertEquals(seen, made);
    // The fourth column, the share of a processor since the start, becomes less and less.
    const table = (box: Box) => box.must(["ps", box.id]).replaceAll(/^((?:\S+ +){2}\S+) +\S+/gm, "$1");
    assertEquals(table(heir), table(maker));
  }],
  ["its limits are changed by one and then by the other", (maker, heir) => {
    maker.must(["run", "--detach", maker.id]);
    const limit = (box: Box) => JSON.parse(box.must(["events", "--stats", box.id])).data.memory.usage.limit;
    heir.must(["update", "--memory", "64m", maker.id]);
    assertEquals(limit(maker), 64 << 20);
    maker.must(["update", "--memory", "96m", maker.id]);
    assertEquals(limit(heir), 96 << 20);
    heir.must(["update", "--cpu-share", "300", maker.id]);
    assertEquals(limit(maker), 96 << 20);
  }],
  ["its poststop hooks are run by whoever deletes it", (maker, heir) => {
    const seen = `${maker.directory}/seen`;
    maker.write((config) => {
      sleeping(config);
      config.hooks = { poststop: [{ path: "/bin/sh", args: ["sh", "-c", `cat >${seen}`], timeout: 60 }] };
    });
    maker.must(["create", maker.id]);
    heir.must(["delete", "--force", maker.id]);
    const { id, status, annotations } = JSON.parse(Deno.readTextFileSync(seen));
    assertEquals([id, status, annotations], [maker.id, "stopped", { "org.test": "kept" }]);
  }],
  ["a user namespace is entered by exec, as the user that is asked for", (maker, heir) => {
    maker.write((config) => {
      sleeping(config);
      withUserNamespace({ size: 1000 })(config);
      // Its groups of terminals and its files are not mapped.
      config.mounts = config.mounts.filter(({ type }) => type !== "devpts");
    });
    Deno.chmodSync(maker.directory, 0o755);
    maker.must(["run", "--detach", maker.id]);
    const script = "id -u; cat /proc/self/uid_map; readlink /proc/self/ns/user";
    const seen = (box: Box) => box.must(["exec", "--user", "7", maker.id, "sh", "-c", script]);
    assertEquals(seen(heir), seen(maker));
    assertEquals(heir.state().status, "running");
  }],
  ["with the host's pid namespace all its processes end with it", (maker, heir) => {
    maker.write((config) => {
      sleeping(config);
      config.process.args = ["sh", "-c", "sleep 1000 & exec sleep 1000"];
      config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "pid");
    });
    maker.must(["run", "--detach", maker.id]);
    const pids = (box: Box): number[] => JSON.parse(box.must(["ps", "--format", "json", box.id])) ?? [];
    until("both run", () => pids(heir).length === 2);
    const all = pids(heir);
    // Debian's `kill` ends the first one alone, its `delete` all; it may warn of cgroups that are in use a moment longer.
    assertEquals(heir.runc(["delete", "--force", maker.id]).code, 0);
    until("their end", () => all.every((pid) => !isRunning(pid)));
  }],
  ["an id that is taken is refused", (maker, heir) => {
    maker.must(["run", "--detach", maker.id]);
    assert(heir.refused(["create", maker.id]).msg.includes("container with given ID already exists"));
  }],
];

for (const runtime of ["debian", "native"] satisfies Runtime[]) {
  for (const [name, body] of cases) {
    Deno.test(`made by ${runtime}: ${name}`, () => {
      inBox(runtime, (maker) => {
        maker.write(sleeping);
        const heir = other(maker);
        body(maker, heir);
        if (maker.containers().length > 0) heir.must(["delete", "--force", maker.id]);
      });
    });
  }
}

// --- what reads state.json besides runc ------------------------------------------------------------------------------------

/** The keys of an object, those of objects in it behind a dot; empty values do not count. */
function keysOf(value: unknown, prefix = ""): string[] {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return [prefix];
  const keys = Object.entries(value).flatMap(([key, inner]) => keysOf(inner, prefix === "" ? key : `${prefix}.${key}`));
  return keys.length === 0 && prefix !== "" ? [prefix] : keys;
}

/** Where monitors such as cAdvisor, and hooks such as NVIDIA's, look. */
const readByOthers = [
  "id",
  "init_process_pid",
  "init_process_start",
  "created",
  "cgroup_paths",
  "namespace_paths.NEWNET",
  "namespace_paths.NEWNS",
  "namespace_paths.NEWPID",
  "config.rootfs",
  "config.cgroups.path",
  "config.namespaces",
  "config.labels",
  "config.mounts",
];

boxTest("state.json has what others read, under the names that Debian's runc gives it", (box) => {
  const stateOf = (maker: Box) => {
    maker.must(["create", box.id]);
    const state = JSON.parse(Deno.readTextFileSync(`${box.root}/${box.id}/state.json`));
    maker.must(["delete", "--force", box.id]);
    return state;
  };
  box.write(sleeping);
  const ours = stateOf(box), theirs = stateOf(other(box));
  const has = (state: unknown, path: string) => keysOf(state).some((key) => key === path || key.startsWith(`${path}.`));
  assertEquals(readByOthers.filter((path) => !has(ours, path)), []);
  assertEquals(readByOthers.filter((path) => !has(theirs, path)), []);
  assertEquals(ours.cgroup_paths, theirs.cgroup_paths);
  assertEquals(ours.config.labels.toSorted(), theirs.config.labels.toSorted());
  assertEquals(
    Object.keys(ours.namespace_paths).sort().filter((key) => key !== "NEWTIME"),
    Object.keys(theirs.namespace_paths).sort(),
  );
});

// --- a creation that is killed, and commands that meet ----------------------------------------------------------------------

const hasProcesses = (box: Box) => cgroupsNamed(box.name).some((path) => contentOf(`${path}/cgroup.procs`) !== "");

/** When `create` is killed: what can be seen by then. */
const moments: readonly [moment: string, isReached: (box: Box) => boolean][] = [
  ["at once", () => true],
  ["once its state directory is there", (box) => box.containers().length > 0],
  ["once a cgroup is there", (box) => cgroupsNamed(box.name).length > 0],
  ["once a process is in a cgroup", hasProcesses],
  ["once its state is saved", (box) => existsSync(`${box.root}/${box.id}/state.json`)],
];
for (const [moment, isReached] of moments) {
  boxTest(`a create that is killed ${moment} is cleaned up by delete --force`, (box) => {
    using create = box.start(["create", box.id]);
    until("that moment", () => isReached(box));
    create.signal(9);
    create.wait();
    isCleanedUp(box);
  });
}

for (const name of ["prestart", "createRuntime", "createContainer"] as const) {
  boxTest(`a create that is killed while its ${name} hook runs is cleaned up by delete --force`, (box) => {
    const [runs, goesOn] = [`${box.directory}/runs`, `${box.directory}/goes-on`];
    const script = `echo > ${runs}; until test -e ${goesOn}; do sleep 0.01; done`;
    box.write((config) => config.hooks = { [name]: [{ path: "/bin/sh", args: ["sh", "-c", script] }] });
    using create = box.start(["create", box.id]);
    until("the hook", () => existsSync(runs));
    create.signal(9);
    assertEquals(create.wait().code, 137);
    // A hook ends when it wants to; one in the container is in its cgroup, with the process that waits for it.
    Deno.writeTextFileSync(goesOn, "");
    until("the end of what was started", () => !hasProcesses(box));
    box.write();
    isCleanedUp(box);
  });
}

/** After `delete --force` the id and the cgroup are free again: `run` uses them, and removes them at its end. */
function isCleanedUp(box: Box): void {
  const { code, stderr } = box.runc(["delete", "--force", box.id]);
  assertEquals(code, 0, stderr);
  // A warning tells of the cgroups that the killed command has left, if there were any.
  assertMatch(stderr, /^$|removed its directory, and these cgroups: .*its poststop hooks were not run/);
  assertEquals(box.containers(), []);
  box.must(["run", box.id]);
}

boxTest("delete --force while start is on its way leaves nothing", (box) => {
  box.write(sleeping);
  for (let round = 0; round < 5; round++) {
    box.must(["create", box.id]);
    using start = box.start(["start", box.id]);
    using remove = box.start(["delete", "--force", box.id]);
    assertEquals(remove.wait().code, 0);
    start.wait();
    assertEquals(box.containers(), []);
  }
});

boxTest("kill while create is on its way either comes too early, or ends the container", (box) => {
  box.write(sleeping);
  for (let round = 0; round < 5; round++) {
    using create = box.start(["create", box.id]);
    using kill = box.start(["kill", box.id, "KILL"]);
    const { code, stderr } = kill.wait();
    assert(code === 0 || /container does not exist|container not running/.test(stderr), stderr);
    create.wait();
    box.must(["delete", "--force", box.id]);
  }
});
