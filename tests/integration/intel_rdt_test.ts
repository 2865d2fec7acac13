/** linux.intelRdt, on a directory that looks like a resctrl: few machines have a real one. */

import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { RdtGroup, setSchemata } from "../../lib/cgroups/rdt/group.ts";
import { readRdtStats } from "../../lib/cgroups/rdt/stats.ts";
import { addToRdtGroup, removeRdtGroup, resctrlFeatures } from "../../lib/cgroups/rdt/resctrl.ts";
import { RuncError } from "../../lib/errors.ts";
import type { IntelRdt } from "../../lib/specs/config.ts";
import { boxTest, kernel } from "./harness.ts";

/** A tree of the files that the kernel would make; `classes`: groups that somebody made before. */
function withResctrl(classes: readonly string[], body: (root: string) => void): void {
  const root = Deno.makeTempDirSync({ prefix: "resctrl-" });
  try {
    Deno.mkdirSync(`${root}/info/L3`, { recursive: true });
    Deno.writeTextFileSync(`${root}/info/last_cmd_status`, "ok\n");
    fill(root);
    for (const name of classes) {
      Deno.mkdirSync(`${root}/${name}/mon_groups`, { recursive: true });
      fill(`${root}/${name}`);
    }
    body(root);
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
}

/** What the kernel puts into a new group. */
function fill(group: string): void {
  for (const name of ["tasks", "schemata"]) Deno.writeTextFileSync(`${group}/${name}`, "");
}

function empty(group: string): void {
  for (const name of ["tasks", "schemata"]) Deno.removeSync(`${group}/${name}`);
}

const read = (path: string) => Deno.readTextFileSync(path);

function isThere(path: string): boolean {
  try {
    return Deno.lstatSync(path) !== undefined;
  } catch {
    return false;
  }
}

Deno.test("intelRdt: schemata are one write, l3CacheSchema before memBwSchema before the others", () => {
  const cases: readonly [config: IntelRdt, expected: string][] = [
    [{}, ""],
    [{ memBwSchema: "MB:0=20;1=70" }, "MB:0=20;1=70\n"],
    [{ memBwSchema: "MB:0=20", l3CacheSchema: "L3:0=f" }, "L3:0=f\nMB:0=20\n"],
    [{ schemata: ["L2:0=3", "", "L3:1=f"], l3CacheSchema: "L3:0=f" }, "L3:0=f\nL2:0=3\nL3:1=f\n"],
  ];
  for (const [config, expected] of cases) {
    withResctrl(["box"], (root) => {
      new RdtGroup(root, "box", config).limit();
      assertEquals(read(`${root}/box/schemata`), expected, JSON.stringify(config));
    });
  }
});

Deno.test("intelRdt: the container's own group is made, joined and removed again", () => {
  withResctrl([], (root) => {
    const group = new RdtGroup(root, "box", { l3CacheSchema: "L3:0=f" });
    assertEquals([group.path, group.monitoringPath], [`${root}/box`, undefined]);
    group.make();
    fill(group.path);
    group.join(42);
    assertEquals(read(`${root}/box/tasks`), "42");
    addToRdtGroup(group.path, 43);
    assertEquals(read(`${root}/box/tasks`), "43");
    empty(group.path);
    removeRdtGroup({ path: group.path, shared: false });
    assertEquals(isThere(group.path), false);
    removeRdtGroup({ path: group.path, shared: false });
  });
});

Deno.test("intelRdt: a class of others stays, with everything but our monitoring group", () => {
  withResctrl(["gold"], (root) => {
    const group = new RdtGroup(root, "box", { closID: "gold", enableMonitoring: true });
    group.make();
    fill(group.monitoringPath!);
    group.join(42);
    assertEquals([read(`${root}/gold/tasks`), read(`${root}/gold/mon_groups/box/tasks`)], ["42", "42"]);
    empty(group.monitoringPath!);
    removeRdtGroup({ path: group.path, monitoringPath: group.monitoringPath, shared: true });
    assertEquals([isThere(`${root}/gold`), isThere(`${root}/gold/mon_groups/box`)], [true, false]);
  });
});

Deno.test("intelRdt: after a failure only what was made goes", () => {
  withResctrl(["gold"], (root) => {
    const ours = new RdtGroup(root, "box", { closID: "new", l3CacheSchema: "L3:0=f" });
    const theirs = new RdtGroup(root, "box", { closID: "gold", enableMonitoring: true });
    for (const group of [ours, theirs]) {
      group.make();
      group.undo();
    }
    assertEquals(["new", "gold", "gold/mon_groups/box"].map((path) => isThere(`${root}/${path}`)), [
      false,
      true,
      false,
    ]);
  });
});

Deno.test("intelRdt: a class whose monitoring group cannot be made is not left", () => {
  withResctrl(["gold"], (root) => {
    // Nothing makes the directory mon_groups in a new class here.
    const ours = new RdtGroup(root, "box", { l3CacheSchema: "L3:0=f", enableMonitoring: true });
    assertEquals(assertThrows(() => ours.make(), RuncError).errnoName, "ENOENT");
    assertEquals(isThere(`${root}/box`), false);
    Deno.removeSync(`${root}/gold/mon_groups`);
    const theirs = new RdtGroup(root, "box", { closID: "gold", enableMonitoring: true });
    assertThrows(() => theirs.make(), RuncError);
    assertEquals(isThere(`${root}/gold`), true);
  });
});

Deno.test("intelRdt: a class without a schema has to be there, / is the root group", () => {
  withResctrl([], (root) => {
    const missing = new RdtGroup(root, "box", { closID: "gold" });
    assertMatch(
      assertThrows(() => missing.make(), RuncError).message,
      /^clos dir not accessible \(must be pre-created/,
    );
    assertEquals(isThere(`${root}/gold`), false);
    const whole = new RdtGroup(root, "box", { closID: "/" });
    whole.make();
    whole.join(42);
    assertEquals([whole.path, read(`${root}/tasks`)], [root, "42"]);
  });
});

Deno.test("intelRdt: an error has the kernel's own words", () => {
  withResctrl([], (root) => {
    Deno.writeTextFileSync(`${root}/info/last_cmd_status`, "mask f00 has non-consecutive 1-bits\n");
    // Nothing made the files in it.
    const group = new RdtGroup(root, "box", { l3CacheSchema: "L3:0=f00" });
    group.make();
    const { message, field } = assertThrows(() => group.limit(), RuncError);
    assertMatch(message, /^intelrdt: write "L3:0=f00\\n" to .*, last_cmd_status: mask f00 has non-consecutive 1-bits$/);
    assertEquals(field, "/linux/intelRdt");
  });
});

Deno.test("intelRdt: an update writes the schemata of the group that the state names", () => {
  withResctrl(["gold"], (root) => {
    setSchemata({ root, path: `${root}/gold` }, { closID: "gold", l3CacheSchema: "L3:0=3", schemata: ["MB:0=10"] });
    assertEquals(read(`${root}/gold/schemata`), "L3:0=3\nMB:0=10\n");
    setSchemata({ root, path: `${root}/gold` }, { closID: "gold" });
    assertEquals(read(`${root}/gold/schemata`), "L3:0=3\nMB:0=10\n");
    const { message } = assertThrows(
      () => setSchemata({ root, path: `${root}/gone` }, { memBwSchema: "MB:0=1" }),
      RuncError,
    );
    assertMatch(
      message,
      /^intelrdt: write "MB:0=1\\n" to .*\/gone\/schemata: no such file or directory, last_cmd_status: ok$/,
    );
  });
});

Deno.test("intelRdt: statistics are those of what the hardware has", () => {
  withResctrl(["gold"], (root) => {
    const write = (files: Readonly<Record<string, string>>) => {
      for (const [path, text] of Object.entries(files)) {
        Deno.mkdirSync(`${root}/${path.slice(0, path.lastIndexOf("/"))}`, { recursive: true });
        Deno.writeTextFileSync(`${root}/${path}`, text);
      }
    };
    write({
      "./schemata": "    MB:0=100;1=100\n    L3:0=7ff;1=7ff\n",
      "gold/schemata": "    MB:0=20;1=70\n    L3:0=7f0;1=1f\n",
      "info/L3/cbm_mask": "7ff\n",
      "info/L3/min_cbm_bits": "1\n",
      "info/L3/num_closids": "16\n",
    });
    const l3Cache = { mask: "7ff", minBits: 1n, classes: 16n, rootSchema: "L3:0=7ff;1=7ff", schema: "L3:0=7f0;1=1f" };
    const schemata = ["MB:0=20;1=70", "    L3:0=7f0;1=1f"];
    assertEquals(readRdtStats({ root, path: `${root}/gold` }), { schemata, l3Cache });
    write({
      "info/MB/bandwidth_gran": "10\n",
      "info/MB/delay_linear": "1\n",
      "info/MB/min_bandwidth": "10\n",
      "info/MB/num_closids": "8\n",
      "info/L3_MON/mon_features": "llc_occupancy\nmbm_total_bytes\nmbm_new_event\n",
      "gold/mon_data/mon_L3_00/llc_occupancy": "1000\n",
      "gold/mon_data/mon_L3_00/mbm_total_bytes": "2000\n",
      "gold/mon_data/mon_L3_01/llc_occupancy": "3000\n",
      "gold/mon_data/mon_L3_01/mbm_total_bytes": "4000\n",
    });
    const memoryBandwidth = {
      granularity: 10n,
      isLinear: 1n,
      minimum: 10n,
      classes: 8n,
      rootSchema: "MB:0=100;1=100",
      schema: "MB:0=20;1=70",
    };
    assertEquals(readRdtStats({ root, path: `${root}/gold` }), {
      schemata,
      l3Cache,
      memoryBandwidth,
      transfers: [{ total: 2000n, local: 0n }, { total: 4000n, local: 0n }],
      cacheUsage: [1000n, 3000n],
    });
    // With a monitoring group of its own the container's share of the class is told.
    write({
      "gold/mon_groups/box/mon_data/mon_L3_00/llc_occupancy": "5\n",
      "gold/mon_groups/box/mon_data/mon_L3_00/mbm_total_bytes": "6\n",
    });
    const own = readRdtStats({ root, path: `${root}/gold`, monitoringPath: `${root}/gold/mon_groups/box` });
    assertEquals([own.transfers, own.cacheUsage], [[{ total: 6n, local: 0n }], [5n]]);
  });
});

Deno.test("intelRdt: what the hardware can do is what info/ has", () => {
  withResctrl([], (root) => {
    assertEquals(resctrlFeatures(kernel, root), { cat: true, mba: false });
  });
});

if (!Deno.readTextFileSync("/proc/filesystems").includes("resctrl")) {
  boxTest("intelRdt: refused where the machine has none", (box) => {
    const { msg, field } = box.runRefused((config) => config.linux.intelRdt = { l3CacheSchema: "L3:0=f" });
    assertEquals(msg, "runc run failed: intelRdt is specified in config, but Intel RDT is not enabled");
    assertEquals(field, "/linux/intelRdt");
  });
}
