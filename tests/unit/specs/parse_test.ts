import { assertEquals, assertThrows } from "@std/assert";
import typical from "../../fixtures/typical_config.json" with { type: "json" };
import { RuncError } from "../../../lib/errors.ts";
import { parseConfig, type ParseOptions, parseProcess, parseResources } from "../../../lib/specs/parse.ts";

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

Deno.test("parseConfig() refuses unknown fields and guesses what was meant", () => {
  const cases: readonly [value: unknown, field: string, guess: string][] = [
    [{ process: { termnal: true } }, "/process/termnal", ', did you mean "terminal"?'],
    [{ hostName1: "a" }, "/hostName1", ', did you mean "hostname"?'],
    [{ linux: { maskPaths: [] } }, "/linux/maskPaths", ', did you mean "maskedPaths"?'],
    [{ mounts: [{ dst: "/a" }] }, "/mounts/0/dst", ""],
    [{ "a/b": 1 }, "/a~1b", ""],
    [{ constructor: 1 }, "/constructor", ""],
  ];
  for (const [value, field, guess] of cases) {
    const error = assertThrows(() => parse(value), RuncError);
    const message = `config.json: ${field} is not a field of runtime-spec 1.3.0${guess}`;
    assertEquals([error.field, error.message], [field, message]);
  }
});

Deno.test("parseConfig() ignores unknown fields of a later specification, with a warning", () => {
  for (const ociVersion of ["1.4.0", "1.4.0-dev", "2.0.0"]) {
    const warnings: string[] = [];
    const config = parse({ ociVersion, hostname: "a", novelty: 1 }, { onWarning: ({ at }) => warnings.push(at) });
    assertEquals<unknown>(config, { ociVersion, hostname: "a" });
    assertEquals(warnings, ["/novelty"]);
    assertThrows(() => parse({ ociVersion, hostname: 1 }), RuncError, "/hostname must be a string");
  }
  for (const ociVersion of ["1.0.2-dev", "1.3.9", "0.9", "", "latest"]) {
    assertThrows(() => parse({ ociVersion, novelty: 1 }), RuncError, "/novelty is not a field");
  }
});

Deno.test("parseConfig() reports every problem at once, the first one first", () => {
  const error = assertThrows(() => parse({ hostname: 1, root: { path: 2 }, novelty: 3 }, { file: "spec" }), RuncError);
  assertEquals(error.field, "/hostname");
  assertEquals(
    error.message,
    "spec: /hostname must be a string, not 1; also: /root/path must be a string, not 2; " +
      "/novelty is not a field of runtime-spec 1.3.0",
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
  assertThrows(() => parseResources('{"pid": {"limit": 7}}'), RuncError, 'did you mean "pids"?');
  assertEquals<unknown>(parseProcess('{"cwd": "/", "novelty": 1}', { ociVersion: "1.4.0" }).cwd, "/");
});
