import { assertEquals } from "@std/assert";
import {
  boundingSteps,
  capabilityNumbers,
  capabilitySteps,
  keepCapabilities,
  ownStdioSteps,
  userSteps,
} from "../../../../lib/libcontainer/steps/credentials.ts";
import type { Arch } from "../../../../lib/ffi/syscalls.ts";
import type { Capabilities, Process, User } from "../../../../lib/specs/config.ts";
import { callLines, callsNamed, lines, origins, structArg, structHex } from "../../plan_reader.ts";
import { facts } from "../fixed.ts";

const process = (capabilities: Capabilities | undefined, user: Partial<User> = {}): Process => ({
  cwd: "/",
  user: { uid: 0, gid: 0, ...user },
  capabilities,
});
const sets = (numbers: ReturnType<typeof capabilityNumbers>) =>
  [numbers.bounding, numbers.effective, numbers.inheritable, numbers.permitted, numbers.ambient].map((set) => [...set]);

Deno.test("capability names become the kernel's numbers, an absent set an empty one", () => {
  const numbers = capabilityNumbers({ bounding: ["CAP_KILL", "CAP_CHOWN"], ambient: ["CAP_CHECKPOINT_RESTORE"] }, 40);
  assertEquals([sets(numbers), numbers.unknown], [[[5, 0], [], [], [], [40]], []]);
});

Deno.test("unknown names, and those that this kernel does not have, are left out and listed once, sorted", () => {
  const numbers = capabilityNumbers({
    bounding: ["CAP_ZZZ", "CAP_KILL", "CAP_BPF"],
    effective: ["cap_kill", "KILL", "CAP_ZZZ"],
    permitted: ["CAP_AUDIT_READ"],
  }, 37);
  assertEquals(sets(numbers), [[5], [], [], [37], []]);
  assertEquals(numbers.unknown, ["CAP_BPF", "CAP_ZZZ", "KILL", "cap_kill"]);
});

Deno.test("capset gets effective, permitted and inheritable, the low 32 of each and then the high ones", () => {
  const cases: readonly [capabilities: Capabilities, hex: string][] = [
    [{}, "00000000 00000000 00000000 00000000 00000000 00000000"],
    [
      { effective: ["CAP_CHOWN"], permitted: ["CAP_KILL"], inheritable: ["CAP_SETFCAP"] },
      [
        "01000000 20000000 00000080",
        "00000000 00000000 00000000",
      ].join(" "),
    ],
    [
      { effective: ["CAP_MAC_OVERRIDE"], permitted: ["CAP_CHECKPOINT_RESTORE", "CAP_CHOWN"], inheritable: ["CAP_BPF"] },
      [
        "00000000 01000000 00000000",
        "01000000 00010000 80000000",
      ].join(" "),
    ],
    // runc spec: CAP_KILL 5, CAP_NET_BIND_SERVICE 10, CAP_AUDIT_WRITE 29.
    [
      { effective: ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"] },
      [
        "20040020 00000000 00000000",
        "00000000 00000000 00000000",
      ].join(" "),
    ],
  ];
  for (const [capabilities, hex] of cases) {
    const [capset] = callsNamed(capabilitySteps(process(capabilities), facts), "capset");
    // _LINUX_CAPABILITY_VERSION_3, and pid 0: this process.
    assertEquals(structHex(structArg(capset!, 0)), "22050820 00000000");
    assertEquals(structHex(structArg(capset!, 1)), hex);
  }
});

Deno.test("ambient capabilities are cleared and raised one by one; one that cannot be is a warning", () => {
  const steps = capabilitySteps(process({ ambient: ["CAP_KILL", "CAP_SYSLOG"] }), facts);
  assertEquals(lines(steps.slice(1)), [
    "prctl(PR_CAP_AMBIENT, 4, 0, 0, 0)",
    "$ambient = prctl(PR_CAP_AMBIENT, 2, 5, 0, 0)",
    "on any error:",
    "  warn: can't raise ambient capability CAP_KILL",
    "$ambient = prctl(PR_CAP_AMBIENT, 2, 34, 0, 0)",
    "on any error:",
    "  warn: can't raise ambient capability CAP_SYSLOG",
  ]);
});

Deno.test("the bounding set loses every capability of this kernel that it is not to have", () => {
  const dropped = (capabilities: Capabilities, lastCapability: number) =>
    callsNamed(boundingSteps(process(capabilities), { ...facts, lastCapability }), "prctl").map(({ args }) => args[1]);
  const all = Array.from({ length: 41 }, (_, number) => number);
  assertEquals(dropped({}, 40), all);
  assertEquals(
    dropped({ bounding: ["CAP_KILL", "CAP_BPF"] }, 40),
    all.filter((number) => number !== 5 && number !== 39),
  );
  // A kernel that is newer than our table: what we have no name for goes too.
  assertEquals(dropped({}, 42), [...all, 41, 42]);
  assertEquals(dropped({ bounding: ["CAP_BPF"] }, 3), [0, 1, 2, 3]);
});

Deno.test("without process.capabilities the sets stay as they are", () => {
  assertEquals([boundingSteps(process(undefined), facts), capabilitySteps(process(undefined), facts)], [[], []]);
});

Deno.test("groups, group and user are set in this order", () => {
  const steps = userSteps(process({}, { uid: 1000, gid: 4294967295, additionalGids: [1, 65534, 4294967294] }), {
    setgroupsAllowed: true,
  });
  assertEquals(origins(steps), [
    ["set the additional groups", "/process/user/additionalGids"],
    ["become gid 4294967295", "/process/user/gid"],
    ["become uid 1000", "/process/user/uid"],
  ]);
  assertEquals(callLines(steps), ["setgroups(3, [1, 65534, 4294967294])", "setgid(4294967295)", "setuid(1000)"]);
  const [setgroups] = callsNamed(steps, "setgroups");
  assertEquals(structHex(structArg(setgroups!, 1)), "01000000 feff0000 feffffff");
});

Deno.test("no additional groups means none, where groups can be set at all", () => {
  const calls = (setgroupsAllowed: boolean) => callLines(userSteps(process({}), { setgroupsAllowed }));
  assertEquals(calls(true), ["setgroups(0, NULL)", "setgid(0)", "setuid(0)"]);
  assertEquals(calls(false), ["setgid(0)", "setuid(0)"]);
});

Deno.test("ids that are not mapped read as runc's callers know it", () => {
  const steps = userSteps(process({}, { uid: 7, gid: 8 }), { setgroupsAllowed: false });
  assertEquals(callsNamed(steps, "setgid")[0]!.meaning?.EINVAL, "cannot setgid to unmapped gid 8 in user namespace");
  assertEquals(callsNamed(steps, "setuid")[0]!.meaning?.EINVAL, "cannot setuid to unmapped uid 7 in user namespace");
});

Deno.test("stdio is given to the user, but not /dev/null, and not what cannot be", () => {
  const give = (arch: Arch) => lines(ownStdioSteps(process({}, { uid: 5 }), [0], arch)).map((line) => line.trim());
  const change = [
    "if $uid != 5:",
    "if $device != 259:",
    "fchown(0, 5, -1)  /* fine if EINVAL, EPERM, EROFS */",
  ];
  assertEquals(give("x86_64"), [
    "fstat(0, &stat)",
    "$uid = 4 bytes at &stat+28",
    "$device = 8 bytes at &stat+40",
    ...change,
  ]);
  assertEquals(give("aarch64").slice(1, 3), ["$uid = 4 bytes at &stat+24", "$device = 8 bytes at &stat+32"]);
  const all = ownStdioSteps(process({}), [0, 1, 2], "x86_64");
  assertEquals(callsNamed(all, "fchown").map(({ args }) => args[0]), [0, 1, 2]);
});

Deno.test("keepCapabilities() switches PR_SET_KEEPCAPS", () => {
  assertEquals([true, false].flatMap((on) => callLines([keepCapabilities(on)])), [
    "prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)",
    "prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0)",
  ]);
});
