import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import typical from "../../fixtures/typical_config.json" with { type: "json" };
import { RuncError } from "../../../lib/errors.ts";
import type { Problem } from "../../../lib/specs/problem.ts";
import { ignoredText, parseConfig, type ParseOptions, parseProcess, parseResources } from "../../../lib/specs/parse.ts";

const parse = (value: unknown, options?: ParseOptions) => parseConfig(JSON.stringify(value), options);

Deno.test("parseConfig() changes nothing in a config that is complete", () => {
  assertEquals<unknown>(parse(typical), typical);
});

Deno.test("parseConfig() puts in what the specification requires and nothing else", () => {
  const cases: readonly [given: unknown, parsed: unknown][] = [
    [{}, { ociVersion: "" }],
    [{ process: {} }, { ociVersion: "", process: { user: { uid: 0, gid: 0 }, cwd: "" } }],
    [{ root: {} }, { ociVersion: "", root: { path: "" } }],
    [{ mounts: [{}] }, { ociVersion: "", mounts: [{ destination: "" }] }],
    [{ hooks: { prestart: [{}] } }, { ociVersion: "", hooks: { prestart: [{ path: "" }] } }],
    [
      { linux: { devices: [{ path: "/dev/p", type: "p" }] } },
      { ociVersion: "", linux: { devices: [{ path: "/dev/p", type: "p", major: 0, minor: 0 }] } },
    ],
    [
      { linux: { resources: { devices: [{}] } } },
      { ociVersion: "", linux: { resources: { devices: [{ allow: false }] } } },
    ],
    [
      { linux: { seccomp: { syscalls: [{}] } } },
      { ociVersion: "", linux: { seccomp: { defaultAction: "", syscalls: [{ names: [], action: "" }] } } },
    ],
  ];
  for (const [given, parsed] of cases) assertEquals<unknown>(parse(given), parsed);
});

Deno.test("parseConfig() takes null for absent", () => {
  assertEquals<unknown>(
    parse({
      ociVersion: "1.3.0",
      hostname: null,
      mounts: null,
      process: { user: null, args: null, cwd: "/" },
      linux: null,
    }),
    { ociVersion: "1.3.0", process: { user: { uid: 0, gid: 0 }, cwd: "/" } },
  );
});

Deno.test("parseConfig() finds fields in any case", () => {
  assertEquals<unknown>(parse({ OCIVersion: "1.0.2", Root: { PATH: "rootfs" }, linux: { UidMappings: [] } }), {
    ociVersion: "1.0.2",
    root: { path: "rootfs" },
    linux: { uidMappings: [] },
  });
});

Deno.test("parseConfig() keeps the keys of maps as they are", () => {
  const annotations = JSON.parse('{"__proto__": "p", "a/b": "c", "Constructor": "d"}');
  const parsed = parseConfig(JSON.stringify({ annotations })).annotations;
  assertEquals(Object.entries(parsed ?? {}), [["__proto__", "p"], ["a/b", "c"], ["Constructor", "d"]]);
});

Deno.test("parseConfig() keeps 64-bit limits exact", () => {
  const config = parseConfig(
    '{"process": {"cwd": "/", "rlimits": [{"type": "RLIMIT_CORE", "hard": 18446744073709551615, "soft": 0}]},' +
      ' "linux": {"resources": {"memory": {"limit": 9223372036854771712, "swap": -1}}}}',
  );
  assertEquals(config.process?.rlimits, [{ type: "RLIMIT_CORE", hard: 18446744073709551615n, soft: 0 }]);
  assertEquals(config.linux?.resources?.memory, { limit: 9223372036854771712n, swap: -1 });
});

Deno.test("parseConfig() refuses values of the wrong type, with the field", () => {
  const cases: readonly [text: string, field: string, message: string][] = [
    ["[]", "", "must be an object, not []"],
    ['{"hostname": 3}', "/hostname", "/hostname must be a string, not 3"],
    ['{"root": "rootfs"}', "/root", '/root must be an object, not "rootfs"'],
    ['{"root": {"readonly": "yes"}}', "/root/readonly", '/root/readonly must be true or false, not "yes"'],
    ['{"mounts": {}}', "/mounts", "/mounts must be a list, not {}"],
    ['{"mounts": [null]}', "/mounts/0", "/mounts/0 must be an object, not null"],
    ['{"process": {"args": ["a", 1]}}', "/process/args/1", "/process/args/1 must be a string, not 1"],
    ['{"annotations": {"a/b~c": 1}}', "/annotations/a~1b~0c", "/annotations/a~1b~0c must be a string, not 1"],
    ['{"annotations": []}', "/annotations", "/annotations must be an object, not []"],
    ['{"vm": 1}', "/vm", "/vm must be an object, not 1"],
    [
      '{"process": {"user": {"uid": -1}}}',
      "/process/user/uid",
      "/process/user/uid must be a whole number from 0 to 4294967295, not -1",
    ],
    [
      '{"process": {"user": {"gid": 4294967296}}}',
      "/process/user/gid",
      "/process/user/gid must be a whole number from 0 to 4294967295, not 4294967296",
    ],
    [
      '{"linux": {"resources": {"blockIO": {"weight": 65536}}}}',
      "/linux/resources/blockIO/weight",
      "/linux/resources/blockIO/weight must be a whole number from 0 to 65535, not 65536",
    ],
    [
      '{"linux": {"resources": {"pids": {"limit": 1.5}}}}',
      "/linux/resources/pids/limit",
      "/linux/resources/pids/limit must be a whole number from -9223372036854775808 to 9223372036854775807, not 1.5",
    ],
    [
      '{"process": {"rlimits": [{"type": "RLIMIT_CPU", "hard": 18446744073709551616, "soft": 0}]}}',
      "/process/rlimits/0/hard",
      "/process/rlimits/0/hard must be a whole number from 0 to 18446744073709551615, not 18446744073709551616",
    ],
  ];
  for (const [text, field, message] of cases) {
    const error = assertThrows(() => parseConfig(text), RuncError);
    assertEquals([error.code, error.field, error.message], ["config-invalid", field, `config.json: ${message}`]);
  }
});

function parseAndTell(value: unknown) {
  const ignored: { at: string; message: string }[] = [];
  const onIgnored: ParseOptions["onIgnored"] = (all) => ignored.push(...all);
  return { config: parse(value, { onIgnored }), ignored };
}

Deno.test("parseConfig() ignores fields that the specification does not know, at any depth and in any version", () => {
  const novelties: Record<string, unknown> = {
    novelty: 1,
    deep: { a: [{ b: null }] },
    list: [],
    text: "",
    nothing: null,
  };
  const add = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(add);
    if (typeof value !== "object" || value === null) return value;
    return { ...Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, add(inner)])), ...novelties };
  };
  const full = {
    ociVersion: "1.0.2",
    process: {
      cwd: "/",
      user: { uid: 0, gid: 0 },
      consoleSize: { height: 1, width: 1 },
      capabilities: { bounding: [] },
      rlimits: [{ type: "RLIMIT_CORE", hard: 0, soft: 0 }],
      scheduler: { policy: "SCHED_OTHER" },
      ioPriority: { class: "IOPRIO_CLASS_BE", priority: 1 },
      execCPUAffinity: { initial: "0" },
    },
    root: { path: "rootfs" },
    mounts: [{ destination: "/a", uidMappings: [{ containerID: 0, hostID: 0, size: 1 }] }],
    hooks: { poststop: [{ path: "/bin/true" }] },
    linux: {
      namespaces: [{ type: "pid" }],
      devices: [{ path: "/dev/x", type: "c", major: 1, minor: 3 }],
      resources: { memory: { limit: 1 }, cpu: { shares: 2 }, pids: { limit: 3 }, devices: [{ allow: false }] },
      seccomp: { defaultAction: "SCMP_ACT_ALLOW", syscalls: [{ names: ["a"], action: "SCMP_ACT_ALLOW", args: [] }] },
      intelRdt: { closID: "a" },
      personality: { domain: "LINUX" },
      memoryPolicy: { mode: "MPOL_DEFAULT", nodes: "" },
    },
  };
  for (const ociVersion of ["1.0.2", "1.3.0", "1.4.0-dev", "2.0.0", ""]) {
    const { config, ignored } = parseAndTell(add({ ...full, ociVersion }));
    assertEquals<unknown>(config, { ...full, ociVersion });
    assertEquals(ignored.filter(({ at }) => at === "/process/user/deep").length, 1);
    // Each object of it: an item of a list is one, too.
    assertEquals(ignored.length, 5 * [...JSON.stringify(full)].filter((character) => character === "{").length);
  }
});

Deno.test("parseConfig() tells what it has ignored, and what may have been meant", () => {
  const cases: readonly (readonly [value: unknown, field: string, message: string])[] = [
    [
      { process: { termnal: true } },
      "/process/termnal",
      'is not a field of runtime-spec 1.3.0, did you mean "terminal"?',
    ],
    [{ hostName1: "a" }, "/hostName1", 'is not a field of runtime-spec 1.3.0, did you mean "hostname"?'],
    [
      { linux: { maskPaths: [] } },
      "/linux/maskPaths",
      'is not a field of runtime-spec 1.3.0, did you mean "maskedPaths"?',
    ],
    [{ mounts: [{ dst: "/a" }] }, "/mounts/0/dst", "is not a field of runtime-spec 1.3.0"],
    [{ "a/b": 1 }, "/a~1b", "is not a field of runtime-spec 1.3.0"],
    [{ constructor: 1 }, "/constructor", "is not a field of runtime-spec 1.3.0"],
    [JSON.parse('{"__proto__": {"a": 1}}'), "/__proto__", "is not a field of runtime-spec 1.3.0"],
    ...["windows", "vm", "solaris", "zos", "freebsd"].map((name) =>
      [{ [name]: { deep: [{}] } }, `/${name}`, "is for another platform"] as const
    ),
  ];
  for (const [value, field, message] of cases) {
    const { ignored } = parseAndTell(value);
    assertEquals(ignored.map(({ at, message }) => [at, message]), [[field, `${field} ${message}`]]);
    assertEquals(ignoredText(ignored as Problem[]), `ignored: ${field}`);
  }
});

Deno.test("parseConfig() and its like ignore what follows the JSON value", () => {
  for (const rest of ["}", " }] }", "\n{}", "garbage", ",", "\0"]) {
    for (const parse of [parseConfig, parseProcess, parseResources]) {
      const ignored: string[] = [];
      const value = parse(`{"cwd": "/a"}${rest}`, { file: "f", onIgnored: (all) => ignored.push(ignoredText(all)) });
      assertEquals((value as { cwd?: string }).cwd, parse === parseProcess ? "/a" : undefined);
      assertMatch(ignored.join(), /f:[12]:\d+: what follows the JSON value/);
    }
  }
});

Deno.test("ignoredText() is one line of bounded length", () => {
  const { ignored } = parseAndTell(Object.fromEntries(Array.from({ length: 100_000 }, (_, index) => [`x${index}`, 0])));
  assertMatch(ignoredText(ignored as Problem[]), /^ignored: \/x0, .*, \/x19 and 99980 more$/);
});

Deno.test("parseConfig() refuses NUL bytes in texts, and ignores those that it ignores", () => {
  for (
    const [value, field] of [[{ hostname: "a\0b" }, "/hostname"], [{ annotations: { "a\0": "b" } }, "/annotations"]]
  ) {
    const error = assertThrows(() => parse(value), RuncError, "contains a NUL byte");
    assertEquals([error.code, error.field], ["config-invalid", field as string]);
  }
  assertThrows(() => parseProcess('{"cwd": "/\\u0000"}'), RuncError, "contains a NUL byte");
  assertEquals(parse({ novelty: "\0" }), { ociVersion: "" });
});

Deno.test("parseConfig() reads values of any depth, up to that of encoding/json", () => {
  const deep = (levels: number, inner = "") => "[".repeat(levels) + inner + "]".repeat(levels);
  // The configuration itself is one of 10,000.
  for (const inner of ["", "12345678901234567890"]) {
    assertEquals(parseConfig(`{"novelty": ${deep(9_999, inner)}, "hostname": "a"}`), { ociVersion: "", hostname: "a" });
    assertEquals(parseConfig(`{"vm": {"a": ${deep(9_998, inner)}}}`), { ociVersion: "" });
    const tooDeep = assertThrows(() => parseConfig(`{"novelty": ${deep(10_000, inner)}}`), RuncError);
    assertEquals(tooDeep.message, "config.json:1:10012: more than 10000 levels of nesting");
    const refused = assertThrows(() => parseConfig(`{"hostname": ${deep(9_999, inner)}}`), RuncError);
    assertEquals([refused.code, refused.field], ["config-invalid", "/hostname"]);
    assertMatch(refused.message, /must be a string, not \[{60}\.\.\.$/);
  }
  assertEquals(assertThrows(() => parseConfig("[".repeat(100_000)), RuncError).code, "config-invalid");
});

Deno.test("parseConfig() reports every problem at once, the first one first", () => {
  const error = assertThrows(() => parse({ hostname: 1, root: { path: 2 }, novelty: 3 }, { file: "spec" }), RuncError);
  assertEquals(error.field, "/hostname");
  assertEquals(
    error.message,
    "spec: /hostname must be a string, not 1; also: /root/path must be a string, not 2",
  );
});

Deno.test("parseConfig() refuses null and broken JSON", () => {
  assertEquals(assertThrows(() => parseConfig("null"), RuncError).message, "config cannot be null");
  assertEquals(
    assertThrows(() => parseConfig('{\n  "process": }'), RuncError).message,
    'config.json:2:14: expected a value, found "}"',
  );
});

Deno.test("parseProcess() and parseResources() read their object alone", () => {
  assertEquals<unknown>(parseProcess('{"args": ["sh"], "cwd": "/"}'), {
    args: ["sh"],
    cwd: "/",
    user: { uid: 0, gid: 0 },
  });
  assertEquals(
    assertThrows(() => parseProcess('{"cwd": 1}'), RuncError).message,
    "process.json: /cwd must be a string, not 1",
  );
  assertEquals<unknown>(parseResources('{"pids": {"limit": 7}}'), { pids: { limit: 7 } });
  assertEquals<unknown>(parseResources('{"pid": {"limit": 7}}'), {});
  assertEquals<unknown>(parseProcess('{"cwd": "/", "novelty": 1}').cwd, "/");
  assertEquals<unknown>([parseProcess("null"), parseResources("null")], [{ cwd: "", user: { uid: 0, gid: 0 } }, {}]);
});

Deno.test("parseConfig() with onProblems goes on: zero values, and all NUL bytes", () => {
  const problems: (readonly [at: string, message: string])[] = [];
  const text = JSON.stringify({
    hostname: 5,
    root: [],
    process: { args: "sh", cwd: "/\0", env: ["A=\0"] },
    windows: 1,
  });
  const config = parseConfig(text, {
    onProblems: (found) => problems.push(...found.map(({ at, message }) => [at, message] as const)),
  });
  assertEquals(problems, [
    ["/hostname", "/hostname must be a string, not 5"],
    ["/root", "/root must be an object, not []"],
    ["/process/args", '/process/args must be a list, not "sh"'],
    ["/windows", "/windows must be an object, not 1"],
    ["/process/cwd", '"/\\u0000" contains a NUL byte'],
    ["/process/env/0", '"A=\\u0000" contains a NUL byte'],
  ]);
  assertEquals([config.hostname, config.root, config.process?.args, config.windows], ["", { path: "" }, [], undefined]);
  assertEquals(config.process?.user, { uid: 0, gid: 0 });
});
