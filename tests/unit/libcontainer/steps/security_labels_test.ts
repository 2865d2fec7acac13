import { assertEquals } from "@std/assert";
import { withContext } from "../../../../lib/libcontainer/config/mount_options.ts";
import { parseMounts } from "../../../../lib/libcontainer/config/mounts.ts";
import { planCreate } from "../../../../lib/libcontainer/plans/create.ts";
import { planExec } from "../../../../lib/libcontainer/plans/exec.ts";
import {
  appArmorSteps,
  execLabelSteps,
  keyLabelSteps,
  queueLabelSteps,
} from "../../../../lib/libcontainer/steps/security_labels.ts";
import { type callLines, callsNamed, labels } from "../../plan_reader.ts";
import { config, facts, request } from "../fixed.ts";

const LABEL = "system_u:object_r:container_file_t:s0:c4,c5";

/** Paths below the host's procfs that are opened, and what is written. */
const written = (steps: Parameters<typeof callLines>[0]) => [
  callsNamed(steps, "openat2").map(({ args }) => [args[0], (args[1] as { text: string }).text]),
  callsNamed(steps, "write").map(({ args }) => (args[1] as { text: string }).text),
];

Deno.test("an AppArmor profile is written to the file of its own, and where there is none to the old one", () => {
  const proc = { fd: "proc" };
  assertEquals(written(appArmorSteps({ apparmorProfile: "docker-default" }, facts)), [
    [[proc, "thread-self/attr/apparmor/exec"], [proc, "thread-self/attr/exec"]],
    ["exec docker-default"],
  ]);
  const [open] = callsNamed(appArmorSteps({ apparmorProfile: "a" }, facts), "openat2");
  assertEquals(open!.onError!.map(({ errnos }) => errnos), [["ENOENT"]], "any other failure is one");
});

Deno.test("an AppArmor profile is stacked where this runtime is confined and the process may not gain rights", () => {
  const cases: readonly [isConfined: boolean, noNewPrivileges: boolean | undefined, word: string][] = [
    [true, true, "stack"],
    [true, false, "exec"],
    [true, undefined, "exec"],
    [false, true, "exec"],
  ];
  for (const [isConfined, noNewPrivileges, word] of cases) {
    const steps = appArmorSteps({ apparmorProfile: "a", noNewPrivileges }, { ...facts, isConfined });
    assertEquals(written(steps)[1], [`${word} a`]);
  }
});

Deno.test("SELinux labels are written as they are; keys are not labelled where the kernel cannot", () => {
  const proc = { fd: "proc" };
  assertEquals(written(execLabelSteps(LABEL, "x86_64")), [[[proc, "thread-self/attr/exec"]], [LABEL]]);
  assertEquals(written(keyLabelSteps(LABEL, "x86_64")), [[[proc, "self/attr/keycreate"]], [LABEL]]);
  assertEquals(callsNamed(keyLabelSteps(LABEL, "x86_64"), "openat2")[0]!.endStepOn, ["ENOENT"]);
});

Deno.test("without a label or profile there is no step", () => {
  for (const none of [undefined, ""]) {
    assertEquals([execLabelSteps, keyLabelSteps].flatMap((steps) => steps(none, "x86_64")), []);
    assertEquals(appArmorSteps({ apparmorProfile: none }, facts), []);
  }
  assertEquals(queueLabelSteps(parseMounts(config().mounts, request), undefined, "x86_64"), []);
});

Deno.test("withContext() quotes the label, whose commas are not the options'", () => {
  assertEquals(withContext("", LABEL), `context="${LABEL}"`);
  assertEquals(withContext("mode=755", "a:b"), 'mode=755,context="a:b"');
  assertEquals([withContext("mode=755", ""), withContext("mode=755", undefined)], ["mode=755", "mode=755"]);
});

Deno.test("planCreate() gives the label to the mounts, the queue, the masks, the keyring and the process", () => {
  const labelled = config((draft) => {
    draft.linux.mountLabel = LABEL;
    draft.process.selinuxLabel = "p:r:t:s";
    draft.process.apparmorProfile = "docker-default";
  });
  const { init } = planCreate(labelled, facts, request);
  const data = callsNamed(init, "mount").map(({ args }) => args.map((arg) => (arg as { text?: string }).text ?? ""))
    .filter(([, , type]) => type !== "").map(([, , type, , text]) => [type, text!.includes(`context="${LABEL}"`)]);
  const has = (type: string) => [...new Set(data.filter(([of]) => of === type).map(([, labelled]) => labelled))];
  assertEquals(
    ["proc", "sysfs", "mqueue", "devpts", "tmpfs"].map((type) => [type, has(type)]),
    [["proc", [false]], ["sysfs", [false]], ["mqueue", [false]], ["devpts", [true]], ["tmpfs", [true]]],
  );
  const order = [
    "label new keys p:r:t:s",
    "join a session keyring",
    `label /dev/mqueue ${LABEL}`,
    "become confined by the AppArmor profile docker-default",
    "become p:r:t:s for SELinux",
    "let go of the host's /proc",
    "mask /proc/acpi",
  ];
  assertEquals(labels(init).filter((label) => order.includes(label)), order);
});

Deno.test("planExec() writes labels while the host's procfs is open, before it joins anything", () => {
  const process = { cwd: "/", user: { uid: 0, gid: 0 }, args: ["true"], selinuxLabel: "a:b", apparmorProfile: "p" };
  const { stage } = planExec(process, facts, {
    id: "box",
    namespaces: ["mount"],
    cgroup: { taskFiles: [] },
    noNewKeyring: false,
    inheritedFds: 0,
    listenFds: 0,
    pidfdSocket: false,
  });
  const order = labels(stage);
  const join = order.findIndex((label) => label.includes("namespace"));
  const places = ["label new keys a:b", "become a:b for SELinux", "become confined by the AppArmor profile p"]
    .map((label) => order.indexOf(label));
  assertEquals(places.every((place) => place >= 0 && place < join), true, order.join("\n"));
});
