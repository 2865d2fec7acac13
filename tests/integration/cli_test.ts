/** The commands that make no container: spec, features, version, help. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { shownCommands } from "../../tools/docs/words.ts";
import { type Box, boxTest, comparing, everyone, execute } from "./harness.ts";

/** What `spec` writes into a directory of its own. */
function specOf(box: Box, ...args: string[]): { text: string; config: Record<string, unknown> } {
  const directory = `${box.directory}/spec`;
  Deno.mkdirSync(directory);
  assertEquals(box.must(["spec", "--bundle", directory, ...args]), "");
  const text = Deno.readTextFileSync(`${directory}/config.json`);
  return { text, config: JSON.parse(text) };
}

boxTest("spec writes a config.json, tab-indented, without a newline at its end, as the umask says", (box) => {
  const { text } = specOf(box);
  assert(text.startsWith('{\n\t"ociVersion": "1.'), text);
  assert(text.endsWith("\n}"), text);
  assertEquals(Deno.statSync(`${box.directory}/spec/config.json`).mode! & 0o777, 0o666 & ~Deno.umask());
});

comparing("what spec writes runs as it is, but for the terminal", (box) => {
  const { config } = specOf(box);
  const process = config.process as Record<string, unknown>;
  const linux = config.linux as Record<string, unknown>;
  box.writeText(JSON.stringify({
    ...config,
    process: { ...process, terminal: false, args: ["sh", "-c", "hostname; pwd; ulimit -n; touch /x 2>&1; true"] },
    linux: { ...linux, cgroupsPath: box.cgroup },
  }));
  assertEquals(box.must(["run", box.id]), "runc\n/\n1024\ntouch: /x: Read-only file system\n");
}, everyone);

boxTest("spec refuses to overwrite a config.json", (box) => {
  const before = Deno.readTextFileSync(`${box.bundle}/config.json`);
  assertEquals(box.refused(["spec"]).msg, "File config.json exists. Remove it first");
  assertEquals(Deno.readTextFileSync(`${box.bundle}/config.json`), before);
});

boxTest("spec --rootless has a user namespace and no network namespace, cgroup limits or foreign ids", (box) => {
  const { config, text } = specOf(box, "--rootless");
  const linux = config.linux as { namespaces: { type: string }[]; resources?: unknown; uidMappings: unknown };
  const types = linux.namespaces.map(({ type }) => type);
  assertEquals([types.includes("user"), types.includes("network"), linux.resources], [true, false, undefined]);
  assertEquals(linux.uidMappings, [{ containerID: 0, hostID: 0, size: 1 }]);
  assertEquals(/[ug]id=/.test(text), false);
});

boxTest("features prints JSON and nothing else", (box) => {
  const features = JSON.parse(box.must(["features"]));
  assertMatch(features.ociVersionMin, /^1\./);
  assertMatch(features.ociVersionMax, /^1\./);
  assertEquals(features.hooks, [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
  ]);
  const { seccomp } = features.linux;
  assertEquals([seccomp.enabled, seccomp.actions.length, seccomp.operators.length, seccomp.archs.length], [
    true,
    9,
    7,
    18,
  ]);
  assertEquals(seccomp.knownFlags.slice(0, 2), ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]);
  assert(seccomp.supportedFlags.every((flag: string) => seccomp.knownFlags.includes(flag)));
  assertMatch(features.annotations["io.github.seccomp.libseccomp.version"], /^2\.\d+\.\d+$/);
  assert(features.mountOptions.includes("rbind") && features.linux.namespaces.includes("time"));
});

/** The fields of an object and of objects in it, in their order, `/` between the names. */
function fieldsOf(object: Record<string, unknown>, prefix = ""): string[] {
  return Object.entries(object).flatMap(([name, value]) => {
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return [`${prefix}${name}`, ...(isObject ? fieldsOf(value as Record<string, unknown>, `${prefix}${name}/`) : [])];
  });
}

boxTest("features has what Debian's runc has, in the same order and form", (box) => {
  const text = box.must(["features"]);
  const ours = JSON.parse(text);
  const theirs = JSON.parse(execute(["/usr/sbin/runc", "features"]).stdout);
  const known = fieldsOf(theirs);
  assertEquals(fieldsOf(ours).filter((field) => known.includes(field)), known);
  assertEquals(text, `${JSON.stringify(ours, undefined, 4)}\n`);
  for (const list of ["hooks", "mountOptions"]) {
    // What nobody could map to a flag was dropped from runc 1.1's list.
    const missing = theirs[list].filter((word: string) => !ours[list].includes(word));
    assertEquals(missing, list === "hooks" ? [] : ["acl", "noacl"]);
  }
  for (const list of ["namespaces", "capabilities"]) {
    assertEquals(theirs.linux[list].filter((word: string) => !ours.linux[list].includes(word)), []);
  }
});

boxTest("--version prints what callers read, line by line", (box) => {
  const [first, ...others] = box.must(["--version"]).trimEnd().split("\n");
  assertMatch(first!, /^runc version \d+\.\d+\.\d+/);
  assert(others.some((line) => /^spec: \d+\.\d+\.\d+$/.test(line)), others.join());
});

for (const command of shownCommands()) {
  boxTest(`${command} --help and help ${command} say how it is called`, (box) => {
    const text = box.must([command, "--help"]);
    assertMatch(text, new RegExp(`^NAME:\n +runc ${command} - `));
    assertEquals([box.must(["help", command]), box.must([command, "-h"])], [text, text]);
  });
}

boxTest("help names every command", (box) => {
  assertMatch(box.must(["--help"]), /^NAME:\n +runc - Open Container Initiative runtime/);
  for (const command of ["create", "delete", "exec", "kill", "list", "run", "start", "state"]) {
    assertMatch(box.must(["help"]), new RegExp(`^ +${command}\\b`, "m"));
  }
});

boxTest("the launcher runs by a symlink and from any directory", (box) => {
  const [program = ""] = box.argv();
  Deno.symlinkSync(program, `${box.directory}/link`);
  assertMatch(execute([`${box.directory}/link`, "--version"], { cwd: "/" }).stdout, /^runc version/);
});

boxTest("the log's times are those of the caller's time zone", (box) => {
  const timeOf = (TZ?: string) => {
    const { stderr } = box.runc(["state", "nobody"], { env: TZ === undefined ? {} : { TZ } });
    return /time="(\S+)"/.exec(stderr)![1]!;
  };
  for (const [zone, offset] of [["ABC-9", "+09:00"], ["ABC+3:30", "-03:30"], ["UTC0", "Z"]] as const) {
    const time = timeOf(zone);
    assert(time.endsWith(offset), `${zone}: ${time}`);
    assert(Math.abs(Date.parse(time) - Date.now()) < 600_000, time);
  }
});
