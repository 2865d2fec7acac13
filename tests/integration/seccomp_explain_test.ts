/** `seccomp explain`: what it says is what the kernel does. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Seccomp } from "../../mod.ts";
import { Libseccomp } from "../../lib/ffi/libraries/libseccomp.ts";
import { compileProfile } from "../../lib/libcontainer/seccomp/compile.ts";
import { explainCall } from "../../lib/libcontainer/seccomp/explain.ts";
import { toProfile } from "../../lib/libcontainer/seccomp/profile.ts";
import { simulate } from "../../lib/libcontainer/seccomp/simulate.ts";
import { archTokens } from "../../lib/libcontainer/seccomp/values.ts";
import { engineProfile } from "../fixtures/seccomp_profile.ts";
import { AuditArch, runBpf } from "../unit/bpf_machine.ts";
import { type Box, boxTest, type Change, kernel } from "./harness.ts";

const library = new Libseccomp(kernel);

interface Explained {
  readonly number: number;
  readonly decision: string;
  readonly reason: string;
  readonly rules: readonly { readonly field?: string; readonly decides: boolean }[];
  readonly instructions?: readonly string[];
}

const explain = (box: Box, ...args: string[]): Explained =>
  JSON.parse(box.must(["seccomp", "explain", "-f", "json", ...args]));

const withProfile = (seccomp: Seccomp): Change => (config) => {
  config.linux.seccomp = seccomp as typeof config.linux.seccomp;
};

Deno.test("the machine answers as that of the tests, for every call of an engine's profile and some arguments", () => {
  const profile = toProfile(engineProfile);
  const program = new Uint8Array(compileProfile(library, profile, () => {}));
  const names = new Set(profile.syscalls!.map(({ name }) => name));
  const numbers = [...names].map((name) => library.resolve(name, archTokens.amd64!)).filter((number) => number >= 0);
  assert(numbers.length > 200, `${numbers.length} calls`);
  for (const nr of [...numbers, 999, 0x4000_0000, 0xffff_ffff]) {
    for (const value of [0n, 8n, 40n, 0x1000_0000n, 0x2_0000_0000n, -1n]) {
      const args = [value, value];
      for (const arch of [AuditArch.X86_64, AuditArch.I386, AuditArch.AARCH64]) {
        const simulated = simulate(program, { auditArch: arch, number: nr, args });
        assertEquals(simulated.result, runBpf(program, { arch, nr, args }), `${nr} ${value}`);
      }
    }
  }
});

Deno.test("a decision of an engine's profile always has a rule or another reason", () => {
  const profile = toProfile(engineProfile);
  const program = new Uint8Array(compileProfile(library, profile, () => {}));
  const nativeArch = library.nativeArch;
  const numberOf = (name: string) => library.resolve(name, nativeArch);
  for (const name of new Set(profile.syscalls!.map(({ name }) => name))) {
    const number = numberOf(name);
    if (number < 0) continue;
    for (const value of [0n, 8n, 40n, 0x1000_0000n, -1n]) {
      const told = explainCall({ profile, program, nativeArch }, {
        arch: nativeArch,
        number,
        args: [value, value],
        numberOf,
      });
      assert(["rule", "default"].includes(told.reason), `${name} ${value}: ${told.reason}`);
      assertEquals(told.rules.some(({ decides }) => decides), told.reason === "rule", name);
    }
  }
});

/** Rules that a shell in the container can try. */
const tried: Seccomp = {
  defaultAction: "SCMP_ACT_ALLOW",
  syscalls: [
    { names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 28 },
    // personality(2) and uname(2) are not tried; sethostname has a condition on the length of the name.
    {
      names: ["sethostname"],
      action: "SCMP_ACT_ERRNO",
      errnoRet: 40,
      args: [{ index: 1, op: "SCMP_CMP_GT", value: 4 }],
    },
  ],
};

boxTest("what is explained is what the kernel does", (box) => {
  box.write((config) => {
    withProfile(tried)(config);
    config.root.readonly = false;
    for (const set of Object.values(config.process.capabilities!)) set.push("CAP_SYS_ADMIN");
    config.process.args = [
      "sh",
      "-c",
      "mkdir /tmp/a; hostname four; hostname seven77; hostname; exec sleep 1000",
    ];
  });
  const output = `${box.directory}/out`;
  const { code } = box.runc(["run", "--detach", box.id], {
    prefix: ["/bin/sh", "-c", `exec "$@" > ${output} 2>&1`, "sh"],
  });
  assertEquals(code, 0);
  const told = [
    explain(box, box.id, "mkdir"),
    explain(box, box.id, "sethostname", "0x1000", "4"),
    explain(box, box.id, "sethostname", "0x1000", "7"),
  ];
  assertEquals(told.map(({ decision, reason }) => [decision, reason]), [
    ["SCMP_ACT_ERRNO (ENOSPC)", "rule"],
    ["SCMP_ACT_ALLOW", "default"],
    ["SCMP_ACT_ERRNO (ELOOP)", "rule"],
  ]);
  assertEquals<unknown>(
    told[2]!.rules,
    [{
      index: 2,
      field: "/linux/seccomp/syscalls/1",
      action: "SCMP_ACT_ERRNO (ELOOP)",
      conditions: ["arg1 > 4"],
      anyHolds: false,
      applies: true,
      decides: true,
    }],
  );
  box.must(["kill", box.id, "KILL"]);
  assertMatch(
    Deno.readTextFileSync(output),
    /'\/tmp\/a': No space left on device\n.*(Too many levels of symbolic links|Symbolic link loop)\nfour\n/,
  );
  box.remove();
});

boxTest("the bundle's fields are named as long as it has the profile of the container", (box) => {
  box.startSleeping(withProfile(tried));
  assertEquals(explain(box, box.id, "mkdirat").rules[0]!.field, "/linux/seccomp/syscalls/0");
  box.write(withProfile({ ...tried, syscalls: tried.syscalls!.toReversed() }));
  assertEquals(explain(box, box.id, "mkdirat").rules[0]!.field, undefined);
  assertMatch(
    box.must(["seccomp", "explain", box.id, "mkdirat"]),
    / \* SCMP_ACT_ERRNO \(ENOSPC\) {2}\(rule 1 of state\.json\)\n/,
  );
  Deno.removeSync(`${box.bundle}/config.json`);
  assertEquals(explain(box, box.id, "mkdirat").rules[0]!.field, undefined);
  box.remove();
});

boxTest("a bundle is explained without a container: names, numbers, flags, architectures, instructions", (box) => {
  box.write(withProfile(engineProfile));
  const bundle = ["--bundle", box.bundle];
  const clone = explain(box, ...bundle, "clone", "CLONE_NEWUSER|SIGCHLD");
  assertEquals([clone.decision, clone.reason, clone.instructions], ["SCMP_ACT_ERRNO (EPERM)", "default", undefined]);
  assertEquals(explain(box, ...bundle, "clone", "SIGCHLD").decision, "SCMP_ACT_ALLOW");
  assertEquals(explain(box, ...bundle, String(clone.number), "17").decision, "SCMP_ACT_ALLOW");
  assertEquals(explain(box, ...bundle, "999").reason, "newer");
  assertEquals(explain(box, ...bundle, "read", "--arch", "SCMP_ARCH_S390X").reason, "architecture");
  const last = explain(box, ...bundle, "--instructions", "read").instructions!.at(-1);
  assertMatch(last!, /^\d+: ret #0x7fff0000$/);
  assertMatch(
    box.must(["seccomp", "explain", ...bundle, "read", "-1"]),
    /^read\(0xffffffffffffffff\): SCMP_ACT_ALLOW\n/,
  );
});

boxTest("without a profile every call is allowed; what cannot be explained is refused", (box) => {
  const bundle = ["seccomp", "explain", "--bundle", box.bundle];
  assertEquals(box.must([...bundle, "read"]), "every system call is allowed: there is no linux.seccomp\n");
  assertEquals(box.must([...bundle, "-f", "json", "read"]), "null\n");
  box.write(withProfile(tried));
  const cases: readonly [args: readonly string[], code: string, message: RegExp][] = [
    [[...bundle, "no_such_call"], "usage", /has no system call "no_such_call"/],
    [[...bundle, "read", "many"], "usage", /argument "many" is neither a number nor a known flag/],
    [[...bundle, "--arch", "z80", "read"], "usage", /unknown architecture "z80"/],
    [["seccomp", "explain", "nobody", "read"], "container-missing", /does not exist/],
    [["seccomp", "explain", "nobody"], "usage", /needs the name of a system call/],
    [["seccomp", "tell", "nobody", "read"], "usage", /unknown command "seccomp tell"/],
    [[...bundle, "read", ..."1234567"], "usage", /at most six arguments, not 7/],
  ];
  for (const [args, code, message] of cases) {
    const refused = box.refused(args);
    assertEquals(refused.code, code, args.join(" "));
    assertMatch(refused.msg, message);
  }
  box.write(withProfile({ defaultAction: "SCMP_ACT_NOTHING" }));
  assertEquals(box.refused([...bundle, "read"]).field, "/linux/seccomp/defaultAction");
});
