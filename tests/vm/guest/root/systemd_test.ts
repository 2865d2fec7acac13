/** Containers that systemd manages the cgroups of, against the real systemd. Runs in the virtual machine, as root. */

import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { type Box, boxTest, type Change, comparing, execute, until } from "../../../integration/harness.ts";
import { checkTrace, readChrome } from "../../../unit/trace_reader.ts";

const read = (path: string) => Deno.readTextFileSync(path).trim();
const cgroupOf = (pid: number) => read(`/proc/${pid}/cgroup`).replace("0::", "");

/** Properties of a unit, as systemd tells them. */
function show(unit: string, ...names: string[]): Record<string, string> {
  const { stdout } = execute(["/usr/bin/systemctl", "show", unit, ...names.map((name) => `--property=${name}`)]);
  return Object.fromEntries(stdout.trim().split("\n").map((line) => line.split(/=(.*)/).slice(0, 2)));
}

const isLoaded = (unit: string) => show(unit, "LoadState").LoadState === "loaded";

/** The unit of a box's container: no other test's. */
const unitOf = (box: Box) => `test-${box.name}.scope`;
const managed = (box: Box, slice = "", change: Change = () => {}): Change => (config) => {
  config.process.args = ["sleep", "1000"];
  config.linux.cgroupsPath = `${slice}:test:${box.name}`;
  change(config);
};

/** Starts a container and returns its pid. */
function start(box: Box, slice?: string, change?: Change): number {
  box.write(managed(box, slice, change));
  box.must(["--systemd-cgroup", "run", "--detach", box.id]);
  return box.state().pid;
}

comparing("the container is a scope, and its program is born there", (box) => {
  const pid = start(box);
  assertEquals(cgroupOf(pid), `/system.slice/${unitOf(box)}`);
  const names = ["Slice", "Description", "Delegate", "DefaultDependencies", "Transient", "ActiveState"];
  const accounting = ["MemoryAccounting", "CPUAccounting", "IOAccounting", "TasksAccounting"];
  assertEquals(show(unitOf(box), ...names, ...accounting), {
    Slice: "system.slice",
    Description: `libcontainer container ${box.name}`,
    Delegate: "yes",
    DefaultDependencies: "no",
    Transient: "yes",
    ActiveState: "active",
    ...Object.fromEntries(accounting.map((name) => [name, "yes"])),
  });
  box.remove();
  assert(!isLoaded(unitOf(box)));
});

boxTest("no cgroupsPath is a scope named by the id", (box) => {
  box.write((config) => {
    config.process.args = ["cat", "/proc/self/cgroup"];
    config.linux.cgroupsPath = undefined;
  });
  assertEquals(box.must(["--systemd-cgroup", "run", box.name]), `0::/system.slice/runc-${box.name}.scope\n`);
});

boxTest("a slice with dashes is levels", (box) => {
  const pid = start(box, "test-one-two.slice");
  assertEquals(cgroupOf(pid), `/test.slice/test-one.slice/test-one-two.slice/${unitOf(box)}`);
  box.remove();
});

boxTest("a container that ends by itself leaves no unit", (box) => {
  box.write(managed(box, "", (config) => config.process.args = ["true"]));
  box.must(["--systemd-cgroup", "run", box.id]);
  assert(!isLoaded(unitOf(box)));
});

/** A container with limits in the cgroup that the kernel says: it is started, entered and changed, and state.json has the path. */
function worksIn(box: Box, cgroup: string, change: Change): void {
  const pid = start(box, "", (config) => {
    config.linux.resources = { memory: { limit: 100 << 20 }, pids: { limit: 77 } };
    change(config);
  });
  const directory = `/sys/fs/cgroup${cgroup}`;
  assertEquals(cgroupOf(pid), cgroup);
  assertEquals([read(`${directory}/memory.max`), read(`${directory}/pids.max`)], [String(100 << 20), "77"]);
  assertEquals(JSON.parse(read(`${box.root}/${box.id}/state.json`)).cgroup_paths, { "": directory });
  assertEquals(box.must(["exec", box.id, "cat", "/proc/self/cgroup"]), `0::${cgroup}\n`);
  box.must(["update", "--pids-limit", "88", box.id]);
  assertEquals(read(`${directory}/pids.max`), "88");
  assertEquals(JSON.parse(box.must(["ps", "--format", "json", box.id])), [pid]);
  box.remove();
  assertThrows(() => Deno.statSync(directory), Deno.errors.NotFound);
}

/** What systemd 252 does with them: newer ones escape more. */
const prefixes: readonly [prefix: string, directory: string][] = [
  ["_p", "__p"],
  [".p", "_.p"],
  ["cgroup.p", "_cgroup.p"],
  ["tasks", "tasks"],
];
for (const [prefix, directory] of prefixes) {
  comparing(`a scope whose name begins with ${prefix} is in the cgroup that systemd has made for it`, (box) => {
    worksIn(box, `/system.slice/${directory}-${box.name}.scope`, (config) => {
      config.linux.cgroupsPath = `:${prefix}:${box.name}`;
    });
    assert(!isLoaded(`${prefix}-${box.name}.scope`));
  });
}

boxTest("a slice whose name is a controller's is in the cgroup that systemd has made for it", (box) => {
  worksIn(box, `/_memory.slice/memory-a.slice/${unitOf(box)}`, (config) => {
    config.linux.cgroupsPath = `memory-a.slice:test:${box.name}`;
  });
});

comparing("the slice of an annotation counts more than that of cgroupsPath", (box) => {
  worksIn(box, `/other.slice/other-one.slice/${unitOf(box)}`, (config) => {
    config.linux.cgroupsPath = `system.slice:test:${box.name}`;
    config.annotations = { "org.systemd.property.Slice": "'other-one.slice'" };
  });
});

boxTest("pause, resume, ps, exec and kill as with any other cgroup, without being told of systemd", (box) => {
  start(box);
  assertEquals(box.must(["exec", box.id, "cat", "/proc/self/cgroup"]), `0::/system.slice/${unitOf(box)}\n`);
  box.must(["exec", "--detach", box.id, "sleep", "1000"]);
  assertEquals(JSON.parse(box.must(["ps", "--format", "json", box.id])).length, 2);
  box.must(["pause", box.id]);
  assertEquals(box.state().status, "paused");
  box.must(["resume", box.id]);
  box.must(["kill", box.id, "KILL"]);
  until("its end", () => box.state().status === "stopped");
  box.must(["delete", box.id]);
  assert(!isLoaded(unitOf(box)));
});

boxTest("annotations are properties of the unit", (box) => {
  start(box, "", (config) => {
    config.annotations = {
      "org.systemd.property.TimeoutStopUSec": "uint64 123456789",
      "org.systemd.property.CollectMode": "'inactive-or-failed'",
      "org.systemd.property.RuntimeMaxSec": "uint32 4000",
    };
  });
  assertEquals(show(unitOf(box), "TimeoutStopUSec", "CollectMode", "RuntimeMaxUSec"), {
    TimeoutStopUSec: "2min 3.456789s",
    CollectMode: "inactive-or-failed",
    RuntimeMaxUSec: "1h 6min 40s",
  });
  box.remove();
});

comparing("systemd and the container's filter allow the same devices", (box) => {
  box.write(managed(box, "", (config) => {
    config.process.args = ["sh", "-c", "mknod /dev/log c 1 11 && (: < /dev/log) 2>&-; : < /dev/null && echo null"];
    for (const set of ["bounding", "effective", "permitted"] as const) {
      config.process.capabilities![set]!.push("CAP_MKNOD");
    }
    config.linux.resources = { devices: [{ allow: false, access: "rwm" }] };
  }));
  assertEquals(box.must(["--systemd-cgroup", "run", box.id]), "null\n");
});

boxTest(
  "a failed unit of the same name is reset; a living one is refused by its name, or as a cgroup in use",
  (box) => {
    const unit = unitOf(box);
    const failing = ["--unit", unit, "--scope", "--property=RuntimeMaxSec=1", "sleep", "1000"];
    execute(["/usr/bin/systemd-run", ...failing]);
    until("its failure", () => show(unit, "ActiveState").ActiveState === "failed");
    start(box);
    box.write(managed(box, "other.slice"));
    const { msg, code } = box.refused(["--systemd-cgroup", "run", "--detach", "other"]);
    assertMatch(msg, new RegExp(`unable to start unit "${unit}".*already (loaded|exists)`));
    assertEquals(code, "cgroup-failed");
    box.write(managed(box));
    const { msg: inUse } = box.refused(["--systemd-cgroup", "run", "--detach", "other"]);
    assertMatch(inUse, /container's cgroup is not empty: 1 process\(es\) found$/);
    assertEquals(box.state().status, "running");
    box.remove();
  },
);

boxTest("a slice, a path or an annotation that cannot be is refused, and leaves nothing", (box) => {
  const refused = (change: Change) => {
    box.write(managed(box, "", change));
    const { msg, field } = box.refused(["--systemd-cgroup", "run", box.id]);
    return [msg.replace(/^runc run failed: /, ""), field];
  };
  assertEquals(refused((config) => config.linux.cgroupsPath = "a--b.slice:test:x"), [
    "invalid slice name: a--b.slice",
    "/linux/cgroupsPath",
  ]);
  assertMatch(refused((config) => config.linux.cgroupsPath = "/a/b")[0]!, /format "slice:prefix:name"/);
  const properties: readonly [name: string, value: string, message: RegExp][] = [
    ["TimeoutStopSec", "int32 -7", /-7 s is out of range: must be 0 to 2\^64 - 1 microseconds$/],
    ["TasksMax", "uint64 18446744073709551616", /does not fit D-Bus type uint64$/],
    ["Slice", "'a--b.slice'", /^invalid slice name: a--b.slice$/],
    ["Documentation", "objectpath 'a'", /can't parse "'a'" as type o$/],
  ];
  for (const [name, value, message] of properties) {
    box.write(managed(box, "", (config) => config.annotations = { [`org.systemd.property.${name}`]: value }));
    const { msg, field, code } = box.refused(["--systemd-cgroup", "run", box.id]);
    assertMatch(msg.replace(/^runc run failed: /, ""), message);
    assertEquals([code, field], ["config-invalid", `/annotations/org.systemd.property.${name}`]);
  }
  assertMatch(
    refused((config) => config.annotations = { "org.systemd.property.NoSuchThing": "true" })[0]!,
    new RegExp(`unable to start unit "${unitOf(box)}".*NoSuchThing`),
  );
});

boxTest("--trace tells of every call of the bus", (box) => {
  box.write(managed(box));
  const told = (...args: string[]): readonly string[] => {
    const file = `${box.directory}/trace.json`;
    box.must(["--systemd-cgroup", "--trace", file, ...args]);
    const trace = readChrome(Deno.readTextFileSync(file));
    checkTrace(trace);
    return trace.spans.map(({ name }) => name).filter((name) => name.includes("systemd"));
  };
  const unit = unitOf(box);
  const started = told("run", "--detach", box.id);
  assertEquals(started.slice(0, 3), [
    "connect to systemd",
    "call systemd's StartTransientUnit",
    `wait for systemd to finish StartTransientUnit of ${unit}`,
  ]);
  assert(started.includes("call systemd's SetUnitProperties"));
  // The unit may have gone with its last process: then there is no end to wait for.
  const removed = told("delete", "--force", box.id).filter((name) => !name.startsWith("wait"));
  assertEquals(removed, ["connect to systemd", "call systemd's StopUnit", "call systemd's ResetFailedUnit"]);
});

boxTest("limits are systemd's and the kernel's, and update changes both", (box) => {
  const pid = start(box, "", (config) => {
    config.linux.resources = {
      memory: { limit: 64 << 20, reservation: 32 << 20 },
      cpu: { quota: 33_333, period: 100_000, shares: 2048 },
      pids: { limit: 20 },
    };
  });
  const files = ["memory.max", "memory.low", "cpu.max", "cpu.weight", "pids.max"];
  const limits = () => files.map((name) => read(`/sys/fs/cgroup${cgroupOf(pid)}/${name}`));
  const names = ["MemoryMax", "MemoryLow", "CPUQuotaPerSecUSec", "CPUWeight", "TasksMax"];
  assertEquals(limits(), ["67108864", "33554432", "34000 100000", "174", "20"]);
  assertEquals(Object.values(show(unitOf(box), ...names)).sort(), ["174", "20", "33554432", "340ms", "67108864"]);
  box.must(["update", "--memory", "128m", "--cpu-quota", "50000", "--pids-limit", "30", box.id]);
  const changed = ["134217728", "33554432", "50000 100000", "174", "30"];
  assertEquals(limits(), changed);
  // systemd sets its own limits again: they have to be the same.
  assertEquals(execute(["/usr/bin/systemctl", "daemon-reload"]).code, 0);
  assertEquals(limits(), changed);
  box.remove();
});

boxTest("a container that may write to its cgroup owns it", (box) => {
  const pid = start(box, "", (config) => {
    const options = ["nosuid", "rw"];
    config.linux.namespaces.push({ type: "cgroup" });
    config.mounts = config.mounts.filter(({ destination }) => destination !== "/sys/fs/cgroup");
    config.mounts.push({ destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options });
    config.process.user = { uid: 1000, gid: 1000 };
  });
  const directory = `/sys/fs/cgroup${cgroupOf(pid)}`;
  const owners = ["", "/cgroup.procs", "/cgroup.subtree_control", "/memory.max"].map((name) =>
    Deno.statSync(directory + name).uid
  );
  assertEquals(owners, [1000, 1000, 1000, 0]);
  box.must(["exec", "--user", "1000:1000", box.id, "mkdir", "/sys/fs/cgroup/below"]);
  box.remove();
  assert(!isLoaded(unitOf(box)));
});
