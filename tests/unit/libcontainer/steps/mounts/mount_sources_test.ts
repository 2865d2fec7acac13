import { assert, assertEquals } from "@std/assert";
import { helperSteps, meetHelperSteps } from "../../../../../lib/libcontainer/steps/mounts/mount_sources.ts";
import { type BindMount, parseMounts } from "../../../../../lib/libcontainer/config/mounts.ts";
import { helpedMounts, needsHelp } from "../../../../../lib/libcontainer/steps/mounts/helped_mounts.ts";
import { hasHelper, planCreate } from "../../../../../lib/libcontainer/plans/create.ts";
import type { Mount } from "../../../../../lib/specs/config.ts";
import { allOps, callLines, callsNamed, labels, origins } from "../../../plan_reader.ts";
import { config, type Draft, facts, request } from "../../fixed.ts";

const ids = [{ containerID: 0, hostID: 1000, size: 1 }];
const others = [{ containerID: 0, hostID: 2000, size: 1 }, { containerID: 1, hostID: 3000, size: 5 }];
const bind = (more: Partial<Mount> = {}): Mount => ({ destination: "/in", source: "/out", options: ["bind"], ...more });

const asked = (mounts: readonly Mount[], user = false) =>
  config((draft) => {
    draft.mounts = mounts as Draft<Mount>[];
    if (user) draft.linux.namespaces.push({ type: "user", path: "" });
  });
const parse = (mounts: readonly Mount[] | undefined) => parseMounts(mounts, request);
const helped = (mounts: readonly Mount[], user = false) => helpedMounts(parse(mounts), asked(mounts, user), facts);

Deno.test("needsHelp(): mounts with other ids, and in a user namespace all of root's", () => {
  const cases: readonly [mount: Mount, user: boolean, euid: number, needs: boolean][] = [
    [bind(), false, 0, false],
    [bind(), true, 0, true],
    [bind(), true, 1000, false],
    [bind({ uidMappings: ids, gidMappings: ids }), false, 0, true],
    [bind({ options: ["bind", "idmap"] }), true, 0, true],
    [bind({ options: ["rbind", "ridmap"] }), false, 0, true],
  ];
  for (const [mount, user, euid, needs] of cases) {
    assertEquals(
      needsHelp(parse([mount])[0] as BindMount, asked([mount], user), euid),
      needs,
      JSON.stringify({ mount, user, euid }),
    );
  }
});

Deno.test("the options of a mount decide what the helper copies", () => {
  const cases: readonly [mount: Mount, path: string, recursive: boolean, below: boolean | undefined][] = [
    [bind(), "/out", false, undefined],
    [bind({ source: "data", options: ["rbind"] }), "/bundle/data", true, undefined],
    [bind({ uidMappings: ids, gidMappings: ids }), "/out", false, false],
    [bind({ options: ["rbind", "idmap"] }), "/out", true, false],
    [bind({ options: ["rbind", "ridmap"], uidMappings: ids, gidMappings: ids }), "/out", true, true],
  ];
  for (const [mount, path, recursive, below] of cases) {
    const [one] = helped([mount], true);
    assertEquals([one!.path, one!.recursive, one!.ids?.recursive, one!.from], [path, recursive, below, "/mounts/0"]);
  }
});

Deno.test("the helper does one step a mount, in the config's order, and one for each different mapping", () => {
  const mounts = [
    bind({ source: "/a", uidMappings: ids, gidMappings: ids }),
    { destination: "/t", type: "tmpfs" },
    bind({ source: "/b", uidMappings: others, gidMappings: ids }),
    bind({ source: "/c", uidMappings: ids, gidMappings: ids }),
    bind({ source: "/d" }),
  ];
  const steps = helperSteps(helped(mounts, true), "x86_64");
  assertEquals(origins(steps), [
    ["start a helper that opens sources of mounts on the host", "/mounts"],
    ["join the container's mount namespace", ""],
    ["make a user namespace for the ids of /mounts/0", "/mounts/0/uidMappings"],
    ["make a user namespace for the ids of /mounts/2", "/mounts/2/uidMappings"],
    ["open /a", "/mounts/0"],
    ["open /b", "/mounts/2"],
    ["open /c", "/mounts/3"],
    ["open /d", "/mounts/4"],
    ["let the helper go", ""],
  ]);
  // All but the fork itself is the helper's alone: the stage, which has its pid, passes by.
  for (const { ops, label } of steps.slice(1)) {
    assertEquals(ops.length, 1, label);
    const [only] = ops;
    assert(only!.op === "if" && only!.is === "==" && only!.right === 0, label);
  }
  assertEquals(callsNamed(steps, "mount_setattr").length, 3);
  const written = callLines(steps).filter((line) => line.startsWith("write($file"));
  assertEquals(written, [
    'write($file, "0 1000 1\\n", 9)',
    'write($file, "0 1000 1\\n", 9)',
    'write($file, "0 2000 1\\n1 3000 5\\n", 18)',
    'write($file, "0 1000 1\\n", 9)',
  ]);
});

Deno.test("init shows its user namespace only where a mount takes its ids from there", () => {
  const shown = (mount: Mount) =>
    callLines(meetHelperSteps(helped([mount], true), "x86_64")).filter((line) => line.startsWith("openat("))
      .map((line) => line.split('"')[1]);
  assertEquals(shown(bind()), ["self/ns/mnt"]);
  assertEquals(shown(bind({ uidMappings: ids, gidMappings: ids })), ["self/ns/mnt"]);
  assertEquals(shown(bind({ options: ["bind", "idmap"] })), ["self/ns/mnt", "self/ns/user"]);
});

Deno.test("the helper is forked before a user namespace is joined or made, and let go after the last mount", () => {
  const spec = asked([bind(), { destination: "/t", type: "tmpfs" }], true);
  const plan = planCreate(spec, facts, request);
  const stage = labels(plan.stage);
  assert(stage.indexOf("let the helper go") < stage.indexOf("create user namespace and map its ids"));
  const init = labels(plan.init);
  const order = [
    "show the helper the container's namespaces",
    "bind /out on /in",
    "mount tmpfs on /t",
    "let go of the helper",
    "open /dev",
  ];
  assertEquals(init.filter((label) => order.includes(label)), order);
  assertEquals(hasHelper(parse(spec.mounts), spec, facts), true);
});

Deno.test("who needs no helper has none", () => {
  const plain = asked([bind(), { destination: "/t", type: "tmpfs" }]);
  assertEquals(hasHelper(parse(plain.mounts), plain, facts), false);
  const { stage } = planCreate(plain, facts, request);
  assertEquals(stage.flatMap(({ ops }) => allOps(ops)).filter((op) => op.op === "fork").length, 1);
});
