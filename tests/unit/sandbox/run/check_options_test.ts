import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { checkPoolOptions, checkSandboxOptions, checkSpawnOptions } from "../../../../lib/sandbox/run/check_options.ts";

function refusal(check: () => void): RuncError {
  const error = assertThrows(check, RuncError);
  assertEquals(error.code, "usage");
  return error;
}

Deno.test("options of every shape that the types allow", () => {
  checkSandboxOptions({});
  checkSandboxOptions({
    memory: "1GiB",
    cpus: 0.5,
    pids: 1,
    disk: 1,
    network: "none",
    user: { uid: 1, gid: 1, additionalGids: [1] },
    capabilities: ["KILL"],
    seccomp: false,
    readonly: true,
    mounts: [{ source: "/a", target: "/b", readonly: undefined }],
    env: { A: "b" },
    cwd: "/",
    hostname: "a-b.c_d",
    root: { image: "/a", name: "b", cache: "/c" },
    timeout: "session",
    maxOutput: 5,
    requireLimits: false,
    signal: new AbortController().signal,
    directory: "/d",
    log: () => {},
  });
  checkSandboxOptions({ user: "root", root: "host", seccomp: { defaultAction: "SCMP_ACT_ALLOW" } });
  checkSandboxOptions({ root: { directory: "/a", image: undefined }, memory: undefined });
  const streams = { stdin: "null", stdout: "piped", stderr: "inherit" };
  checkSpawnOptions("ls", { args: ["-l"], env: {}, clearEnv: true, cwd: "/tmp", timeout: 5, ...streams });
  checkSpawnOptions(new URL("file:///bin/ls"), { cwd: new URL("file:///tmp") });
});

Deno.test("an option that does not exist is named, and so are those that do", () => {
  for (
    const [options, name] of [
      [{ memroy: "1GiB" }, "memroy"],
      [{ mounts: [{ source: "/a", target: "/b", readOnly: false }] }, "mounts[0].readOnly"],
      [{ user: { uid: 1, gid: 1, groups: [] } }, "user.groups"],
      [{ root: { directory: "/a", cache: "/b", tag: "c" } }, "root.tag"],
      [{ __proto__: null, constructor: 1 }, "constructor"],
    ] as const
  ) {
    const { message, hint } = refusal(() => checkSandboxOptions(options));
    assertEquals(message, `${name}: there is no such option`);
    assertMatch(hint!, /^there are: (memory|source|uid|directory), /);
  }
  // An array in place of the options, and one of Deno.Command's.
  assertMatch(refusal(() => checkSpawnOptions("ls", ["-l"])).message, /^options: \["-l"\] is not an object/);
  assertMatch(refusal(() => checkSpawnOptions("ls", { uid: 0 })).message, /^uid: there is no such option/);
});

Deno.test("an option of another shape is named, whatever it is", () => {
  const circle: Record<string, unknown> = {};
  circle.self = circle;
  const cases: Readonly<Record<string, readonly unknown[]>> = {
    memory: [null, true, {}, 5n, circle],
    cpus: ["2", null],
    pids: ["5", null],
    network: [false, null],
    user: [null, 5, "nobody", {}, { uid: 1 }, { uid: "1", gid: 1 }, { uid: 1, gid: 1, additionalGids: "x" }],
    capabilities: ["KILL", [1], null],
    seccomp: [true, "x", {}, null],
    readonly: ["no", 0, null],
    mounts: [{}, "/x", ["/x"], [null]],
    env: [[], "A=b", { A: 1 }, { A: undefined }, null],
    cwd: [5, "relative", "", "/a\0", null],
    hostname: ["", "a b", "-a", "a".repeat(65), 5, "x\0y"],
    root: [null, 5, "debian", {}, { directory: "/a", image: "/b" }],
    "root.directory": [{ directory: "relative" }, { directory: 5 }],
    "root.image": [{ image: "relative" }],
    "root.name": [{ image: "/a", name: 5 }],
    "root.cache": [{ image: "/a", cache: "b" }],
    timeout: [null, {}],
    maxOutput: [null],
    requireLimits: ["yes"],
    signal: ["x", {}, null],
    directory: ["relative", 5],
    log: [5, null],
  };
  for (const [name, values] of Object.entries(cases)) {
    for (const value of values) {
      const { message } = refusal(() => checkSandboxOptions({ [name.split(".")[0]!]: value }));
      assertEquals(message.split(": ")[0], name, message);
    }
  }
  for (const mount of [{ source: "/a" }, { target: "/a" }]) {
    assertMatch(refusal(() => checkSandboxOptions({ mounts: [mount] })).message, /^mounts\[0\]: .* no (source|target)/);
  }
  for (const options of [null, 5, "x", []]) {
    assertMatch(refusal(() => checkSandboxOptions(options)).message, /^options/);
  }
  for (
    const [name, value] of Object.entries({ args: "-l", env: [], clearEnv: 1, cwd: "tmp", signal: {}, timeout: null })
  ) {
    assertEquals(refusal(() => checkSpawnOptions("ls", { [name]: value })).message.split(": ")[0], name);
  }
  for (const program of ["", 5, undefined, null]) {
    assertMatch(refusal(() => checkSpawnOptions(program, {})).message, /^program: /);
  }
});

Deno.test("the options are a copy: what the caller changes later is not in it", () => {
  const options = {
    user: { uid: 1, gid: 1, additionalGids: [1] },
    capabilities: ["KILL"],
    mounts: [{ source: "/a", target: "/b" }],
    env: { A: "b" },
    root: { directory: "/a" },
    seccomp: { defaultAction: "SCMP_ACT_ALLOW", syscalls: [{ names: ["read"], action: "SCMP_ACT_ALLOW" }] },
  };
  const before = structuredClone(options);
  const own = checkSandboxOptions(options);
  options.user.uid = 0;
  options.user.additionalGids.push(0);
  options.capabilities[0] = "SYS_ADMIN";
  options.mounts[0]!.source = "/etc";
  options.mounts.push({ source: "/", target: "/host" });
  options.env.A = "c";
  options.root.directory = "/";
  options.seccomp.syscalls[0]!.names[0] = "write";
  assertEquals(own as unknown, before);
});

Deno.test("an option of a prototype is an option, and is checked", () => {
  class Options {
    get memory() {
      return "64MiB";
    }
  }
  assertEquals(checkSandboxOptions(new Options()), { memory: "64MiB" });
  assertEquals(checkSandboxOptions(Object.create({ network: "host" })), { network: "host" });
  assertMatch(refusal(() => checkSandboxOptions(Object.create({ pids: "5" }))).message, /^pids: "5" is not a number/);
  assertEquals({ ...checkPoolOptions(Object.create({ size: 2, user: "root" })) } as unknown, {
    size: 2,
    user: "root",
  });
});

Deno.test("a profile with something that is no data is refused", () => {
  const seccomp = { defaultAction: "SCMP_ACT_ALLOW", syscalls: () => {} };
  assertMatch(refusal(() => checkSandboxOptions({ seccomp })).message, /^seccomp: /);
});
