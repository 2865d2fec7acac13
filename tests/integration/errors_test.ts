/** Bad input: each gives one clear error that names what is wrong, a status that is not 0, and leaves nothing behind. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Box, boxTest, type Change, comparing, type ErrorRecord, withUserNamespace } from "./harness.ts";
import { contentOf } from "./foreground_harness.ts";

type Code = string;

/** The error of `run` with another command. */
const command = (...args: string[]): Change => (config) => config.process.args = args;

// --- the bundle ----------------------------------------------------------------------------------------------------------

boxTest("a bundle that is not there", (box) => {
  const { msg, errno } = box.refused(["run", "--bundle", "/missing/bundle", box.id]);
  assertEquals([msg, errno], ["runc run failed: chdir /missing/bundle: no such file or directory", "ENOENT"]);
});

boxTest("a bundle that is a file", (box) => {
  assertMatch(box.refused(["run", "--bundle", "/etc/passwd", box.id]).msg, /\/etc\/passwd: not a directory/);
});

boxTest("a bundle without config.json", (box) => {
  Deno.removeSync(`${box.bundle}/config.json`);
  const { msg, hint } = box.refused(["run", box.id]);
  assertEquals(msg, "runc run failed: JSON specification file config.json not found");
  assertMatch(hint!, /runc spec --bundle/);
});

boxTest("a config.json that cannot be read", (box) => {
  Deno.removeSync(`${box.bundle}/config.json`);
  Deno.mkdirSync(`${box.bundle}/config.json`);
  assertMatch(box.refused(["run", box.id]).msg, /config\.json.*[Ii]s a directory/);
});

// --- config.json as a text ------------------------------------------------------------------------------------------------

const texts: readonly [fact: string, text: string, pattern: RegExp][] = [
  ["is empty", "", /config\.json:1:1: .*the end/],
  ["is null", "null", /config cannot be null/],
  ["is a list", "[]", /config\.json.*must be an object/],
  ["is cut off", '{\n  "ociVersion": "1.0.2",\n  "process": {', /config\.json:3:15: /],
  ["has a comma too many", '{\n  "ociVersion": "1.0.2",\n}', /config\.json:3:1: /],
  ["has a text without its end", '{\n  "ociVersion": "1.0\n}', /config\.json:2:\d+: /],
  ["is no JSON at all", "hostname = box\n", /config\.json:1:1: /],
];
for (const [fact, text, pattern] of texts) {
  boxTest(`a config.json that ${fact}`, (box) => {
    box.writeText(text);
    const { msg, code } = box.refused(["run", box.id]);
    assertMatch(msg, pattern);
    assertEquals(code, "config-invalid");
  });
}

/** Changes a config against its type. */
const set = (pointer: string, value: unknown): Change => (config) => {
  const path = pointer.slice(1).split("/");
  const last = path.pop()!;
  const parent = path.reduce(
    (at, key) => at[key] as Record<string, unknown>,
    config as unknown as Record<string, unknown>,
  );
  if (value === undefined) delete parent[last];
  else parent[last] = value;
};

// --- config.json, field by field ------------------------------------------------------------------------------------------

const id0 = [{ containerID: 0, hostID: 0, size: 1 }];
const namespaces = (...types: string[]) => set("/linux/namespaces", types.map((type) => ({ type })));
const both = (...changes: Change[]): Change => (config) => changes.forEach((change) => change(config));

const fields: readonly [fact: string, change: Change, field: string, pattern: RegExp, code?: Code][] = [
  // Wrong types.
  ["a text for a list", set("/process/args", "sh"), "/process/args", /\/process\/args must be a list, not "sh"/],
  ["a number for a text", set("/hostname", 5), "/hostname", /\/hostname must be a string, not 5/],
  [
    "a text for a number",
    set("/process/user/uid", "0"),
    "/process/user/uid",
    /must be a whole number from 0 to 4294967295, not "0"/,
  ],
  ["a negative uid", set("/process/user/uid", -1), "/process/user/uid", /must be a whole number from 0/],
  [
    "a uid that is too great",
    set("/process/user/uid", 4294967296),
    "/process/user/uid",
    /must be a whole number from 0 to 4294967295/,
  ],
  ["a text for true or false", set("/root/readonly", "yes"), "/root/readonly", /must be true or false, not "yes"/],
  ["an object for a list", set("/mounts", {}), "/mounts", /\/mounts must be a list/],
  ["a list for an object", set("/linux", []), "/linux", /\/linux must be an object/],

  // What has to be there.
  ["no process", set("/process", undefined), "/process", /process property must not be empty/],
  ["no args", set("/process/args", undefined), "/process/args", /args must not be empty/],
  ["empty args", set("/process/args", []), "/process/args", /args must not be empty/],
  ["no cwd", set("/process/cwd", undefined), "/process/cwd", /Cwd property must not be empty/],
  ["a cwd that is relative", set("/process/cwd", "tmp"), "/process/cwd", /Cwd must be an absolute path/],
  ["no root", set("/root", undefined), "/root", /root must be specified/],
  [
    "a rootfs that is not there",
    set("/root/path", "missing"),
    "/root/path",
    /invalid rootfs: .*no such file or directory/,
  ],
  [
    "a rootfs that leads out of the bundle to nothing",
    set("/root/path", "../../missing"),
    "/root/path",
    /invalid rootfs/,
  ],
  ["a rootfs that is a file", set("/root/path", "config.json"), "/root/path", /invalid rootfs: .*not a directory/],

  // What does not go together.
  ["a namespace twice", namespaces("pid", "mount", "uts", "pid"), "/linux/namespaces/3", /duplicated ns/],
  [
    "a namespace of no kind",
    namespaces("pid", "mount", "uts", "disk"),
    "/linux/namespaces/3/type",
    /namespace .*disk.* does not exist/,
  ],
  [
    "a namespace to join that is not there",
    set("/linux/namespaces/2/path", "/missing/namespace"),
    "/linux/namespaces/2/path",
    /namespace path: lstat \/missing\/namespace: no such file or directory$/,
  ],
  [
    "mappings without a user namespace",
    set("/linux/uidMappings", id0),
    "/linux/uidMappings",
    /user namespace mappings specified, but user namespace isn't enabled/,
  ],
  [
    "a user namespace without mappings",
    namespaces("pid", "mount", "uts", "user"),
    "/linux/uidMappings",
    /user namespaces enabled, but no uid mappings found/,
  ],
  [
    "mappings without root",
    both(
      namespaces("mount", "uts", "user"),
      set("/linux/uidMappings", [{ containerID: 1, hostID: 1, size: 1 }]),
      set("/linux/gidMappings", id0),
    ),
    "/linux/uidMappings",
    /no mapping found for uid 0/,
  ],
  [
    "a hostname without a uts namespace",
    namespaces("pid", "mount"),
    "/hostname",
    /unable to set hostname without a private UTS namespace/,
  ],
  [
    "masks without a mount namespace",
    namespaces("uts"),
    "/linux/maskedPaths",
    /unable to restrict sys entries without a private MNT namespace/,
  ],
  [
    "clock offsets without a time namespace",
    set("/linux/timeOffsets", { boottime: { secs: 1 } }),
    "/linux/timeOffsets",
    /time namespace isn't enabled/,
  ],
  [
    "a sysctl of the host",
    set("/linux/sysctl", { "vm.swappiness": "1" }),
    "/linux/sysctl/vm.swappiness",
    /sysctl "vm\.swappiness" is not in a separate kernel namespace/,
  ],
  [
    "a sysctl of the network without a network namespace",
    both(namespaces("mount", "uts"), set("/linux/sysctl", { "net.ipv4.ip_forward": "1" })),
    "/linux/sysctl/net.ipv4.ip_forward",
    /not allowed in host network namespace/,
  ],

  // Values that mean nothing.
  [
    "a limit that there is not",
    set("/process/rlimits", [{ type: "RLIMIT_X", soft: 1, hard: 1 }]),
    "/process/rlimits/0/type",
    /wrong rlimit value: RLIMIT_X/,
  ],
  [
    "a soft limit above the hard one",
    set("/process/rlimits", [{ type: "RLIMIT_CORE", soft: 2, hard: 1 }]),
    "/process/rlimits/0/soft",
    /soft limit 2 is above hard limit 1/,
  ],
  [
    "an environment entry without =",
    set("/process/env", ["PATH=/bin", "A"]),
    "/process/env/1",
    /invalid environment variable.*missing '='/,
  ],
  ["an environment entry without a name", set("/process/env", ["=A"]), "/process/env/0", /name cannot be empty/],
  ["a NUL in the environment", set("/process/env", ["A=\0"]), "/process/env/0", /NUL byte/],
  ["a NUL in an argument", set("/process/args", ["sh", "\0"]), "/process/args/1", /NUL byte/],
  ["a NUL in the hostname", set("/hostname", "a\0b"), "/hostname", /NUL byte/],
  ["a NUL in a mount", set("/mounts/0/destination", "/proc\0"), "/mounts/0/destination", /NUL byte/],
  ["an oom score beyond its range", set("/process/oomScoreAdj", 1001), "/process/oomScoreAdj", /1001/],
  ["a propagation that there is not", set("/linux/rootfsPropagation", "wide"), "/linux/rootfsPropagation", /wide/],
  [
    "a hook without a path",
    set("/hooks", { prestart: [{ path: "" }] }),
    "/hooks/prestart/0/path",
    /path must not be empty/,
  ],
  [
    "a hook with no time",
    set("/hooks", { prestart: [{ path: "/bin/true", timeout: 0 }] }),
    "/hooks/prestart/0/timeout",
    /timeout must be greater than zero/,
  ],
  [
    "a device of no type",
    set("/linux/devices", [{ path: "/dev/x", type: "q", major: 1, minor: 1 }]),
    "/linux/devices/0/type",
    /q/,
  ],
];
for (const [fact, change, field, pattern, code = "config-invalid"] of fields) {
  boxTest(`refused, naming ${field}: ${fact}`, (box) => {
    const error = box.runRefused(change);
    assertMatch(error.msg, pattern);
    assertEquals([error.field, error.code, error.exitCode], [field, code, 1]);
  });
}

boxTest("a rootfs that is a symlink, or behind one, may lead out of the bundle", (box) => {
  Deno.symlinkSync("/", `${box.bundle}/link`);
  for (const path of ["link", `link${box.rootfs}`]) {
    const { msg, field } = box.runRefused(set("/root/path", path));
    assertEquals([msg, field], ["runc run failed: invalid rootfs: not an absolute path, or a symlink", "/root/path"]);
  }
});

boxTest("all that is wrong is told at once", (box) => {
  const { msg } = box.runRefused(
    both(set("/process/args", []), set("/process/cwd", "tmp"), set("/process/oomScoreAdj", 2000)),
  );
  for (const part of [/args must not be empty/, /Cwd must be an absolute path/, /2000/]) assertMatch(msg, part);
});

// --- the id --------------------------------------------------------------------------------------------------------------

for (const id of ["a/b", "../x", "/x", ".", "..", "a b", "é", "a\n", "*"]) {
  boxTest(`refused: ${JSON.stringify(id)} as an id`, (box) => {
    for (
      const args of [["run", id], ["create", id], ["state", id], ["delete", "--force", id], ["kill", id], [
        "exec",
        id,
        "true",
      ]]
    ) {
      const { msg, code } = box.refused(args);
      assertMatch(msg, /invalid container ID format/);
      assertEquals(code, "id-invalid");
    }
    assertEquals([...Deno.readDirSync(box.directory)].map(({ name }) => name), ["bundle"]);
  });
}

boxTest("refused: no id at all", (box) => {
  assertMatch(box.refused(["run", ""]).msg, /container id cannot be empty/);
});

boxTest("letters, digits and _+-. are an id", (box) => {
  assertEquals(box.runc(["run", "Az09_+-..x"]).code, 0);
});

// --- the command ----------------------------------------------------------------------------------------------------------

const commands: readonly [fact: string, change: Change, pattern: RegExp][] = [
  ["is not in PATH", command("missing"), /exec: "missing": executable file not found in \$PATH$/],
  [
    "is searched in no PATH",
    both(command("true"), set("/process/env", [])),
    /exec: "true": executable file not found in \$PATH$/,
  ],
  [
    "is not there",
    command("/missing/file"),
    /exec: "\/missing\/file": stat \/missing\/file: no such file or directory$/,
  ],
  ["is not executable", command("/etc/passwd"), /exec: "\/etc\/passwd": permission denied$/],
  ["is a directory", command("/etc"), /exec: "\/etc": is a directory$/],
  ["is below a file", command("/etc/passwd/x"), /exec: "\/etc\/passwd\/x": stat \/etc\/passwd\/x: not a directory$/],
  ["is a text without any letter", command(""), /exec: "": /],
];
for (const [fact, change, pattern] of commands) {
  comparing(`a command that ${fact} is an error of create already`, (box) => {
    box.write(change);
    const { msg, field, exitCode } = box.refused(["create", box.id]);
    assertMatch(msg, pattern);
    assertMatch(field ?? "none", /^\/process\/args/);
    assertEquals(exitCode, 1);
    return msg;
  });
}

/** What a user namespace refuses at a mount: there is a hint that says what is missing. */
const mountHints: readonly [fact: string, change: Change, errno: string, hint: RegExp][] = [
  ["devpts with a group that is not mapped", () => {}, "EINVAL", /gid=5 must be mapped/],
  [
    "sysfs without a network namespace",
    both(
      namespaces("pid", "ipc", "uts", "mount"),
      (config) => config.mounts = config.mounts.filter(({ type }) => type !== "devpts"),
    ),
    "EPERM",
    /sysfs takes a new network namespace.*bind \/sys/,
  ],
  [
    "mqueue without an ipc namespace",
    both(
      namespaces("pid", "network", "uts", "mount"),
      (config) => config.mounts = config.mounts.filter(({ type }) => type !== "devpts"),
    ),
    "EPERM",
    /mqueue takes a new ipc namespace/,
  ],
];
for (const [fact, change, errno, hint] of mountHints) {
  comparing(`in a user namespace: ${fact}: there is a hint`, (box) => {
    const error = box.runRefused(both(change, withUserNamespace({ hostUid: 0, size: 1 })));
    assertEquals(error.errno, errno, error.msg);
    assertMatch(error.field ?? "", /^\/mounts\/\d+/);
    assertMatch(error.hint ?? "none", hint);
  });
}

comparing("an /etc/passwd that has no end is refused", (box) => {
  Deno.removeSync(`${box.rootfs}/etc/passwd`);
  Deno.symlinkSync("/dev/zero", `${box.rootfs}/etc/passwd`);
  assertMatch(box.runRefused(() => {}).msg, /\/etc\/passwd is over/);
});

comparing("an /etc/passwd that is a fifo does not hold the runtime up", (box) => {
  Deno.removeSync(`${box.rootfs}/etc/passwd`);
  assertEquals(new Deno.Command("mkfifo", { args: [`${box.rootfs}/etc/passwd`] }).outputSync().code, 0);
  assertEquals(box.sh("echo $HOME"), "/\n");
});

// --- the kernel's no ------------------------------------------------------------------------------------------------------

comparing("a failing call is told with all that is known of it", (box) => {
  const { msg, code, field, step, call, errno, time, level } = box.runRefused((config) => {
    config.mounts.push({ destination: "/mnt", type: "tmpfs", source: "tmpfs", options: ["size=nonsense"] });
  });
  assertEquals({ code, field, step, errno, level }, {
    code: "step-failed",
    field: "/mounts/7",
    step: "mount tmpfs on /mnt",
    errno: "EINVAL",
    level: "error",
  });
  assertMatch(call!, /^mount\("tmpfs", ".*", "tmpfs", 0, "size=nonsense"\)$/);
  assertMatch(
    msg,
    /^runc run failed: unable to start container process: error during container init: error mounting "tmpfs" to rootfs at "\/mnt": .*invalid argument$/,
  );
  assertMatch(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)$/);
});

comparing("a limit that may not be raised names the field, and what it needs", (box) => {
  const limits = [{ type: "RLIMIT_NOFILE", soft: 2 ** 40, hard: 2 ** 40 }];
  const { msg, field, errno, hint } = box.runRefused(set("/process/rlimits", limits));
  assertMatch(msg, /error setting rlimit type 7: operation not permitted/);
  assertEquals([field, errno, hint], ["/process/rlimits/0", "EPERM", "raising a hard limit requires CAP_SYS_RESOURCE"]);
});

comparing("a user who is not in the user namespace names the field", (box) => {
  const { msg, field } = box.runRefused((config) => {
    withUserNamespace({ hostUid: 0, size: 1000 })(config);
    config.process.user = { uid: 1000, gid: 0 };
  });
  assertMatch(msg, /cannot setuid to unmapped uid 1000 in user namespace/);
  assertMatch(field ?? "none", /^\/process\/user/);
});

// --- how errors are told ---------------------------------------------------------------------------------------------------

boxTest("an error is one line on stderr, with its fields", (box) => {
  const { code, stdout, stderr } = box.run(set("/process/args", []));
  assertEquals([code, stdout], [1, ""]);
  assertMatch(
    stderr,
    /^time="[^"]+" level=error msg="runc run failed: .*args must not be empty" code=config-invalid field=\/process\/args\n$/,
  );
});

boxTest("with --log the record goes to the file, and the plain text with its hint to stderr", (box) => {
  box.write();
  Deno.removeSync(`${box.bundle}/config.json`);
  const log = `${box.directory}/log.txt`;
  const { stdout, stderr } = box.runc(["--log", log, "run", box.id]);
  assertEquals([stdout, stderr.split("\n")[0]], ["", "runc run failed: JSON specification file config.json not found"]);
  assertMatch(stderr, /\nHint: .*\n$/);
  assertMatch(contentOf(log), /^time="[^"]+" level=error msg="runc run failed: .*" code=config-invalid hint=".*"\n$/);
});

boxTest("the log is appended to, and every line of the JSON form is a record", (box) => {
  const log = `${box.directory}/log.json`;
  for (const id of ["one", "two"]) box.runc(["--log", log, "--log-format", "json", "--debug", "state", id]);
  const records: ErrorRecord[] = contentOf(log).trimEnd().split("\n").map((line) => JSON.parse(line));
  const errors = records.filter(({ level }) => level === "error").map(({ msg }) => msg);
  assertEquals(errors, ["container does not exist", "container does not exist"]);
  assert(records.every((record) => "file" in record && "func" in record), "debug records say where");
});

const debugged: readonly string[] = [
  "nsexec container setup",
  "child process in init()",
  "init: closing the pipe to signal completion",
  "runc exeseal: using /proc/self/exe clone",
  "runc exeseal: using overlayfs for sealed /proc/self/exe",
];
comparing("--debug logs the words that runc's tests look for, each record with its place", (box) => {
  const log = `${box.directory}/log.json`;
  assertEquals(box.must(["--debug", "--log", log, "--log-format", "json", "run", box.id]), "");
  const records: (ErrorRecord & { func: string; file: string })[] = contentOf(log).trimEnd().split("\n").map((line) =>
    JSON.parse(line)
  );
  for (const words of debugged) assert(records.some(({ msg }) => msg.includes(words)), words);
  for (const { level, time, func, file } of records) {
    assertEquals([level, /^\S+$/.test(func), /^[^/]+:\d+$/.test(file)], ["debug", true, true]);
    assertMatch(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)$/);
  }
});

// --- the command line ------------------------------------------------------------------------------------------------------

const usage: readonly [args: string[], code: number, stderr: RegExp, stdout?: RegExp][] = [
  [["run"], 1, /\\?"run\\?" requires exactly 1 argument\(s\)/, /Incorrect Usage/],
  [["run", "a", "b"], 1, /\\?"run\\?" requires exactly 1 argument\(s\)/],
  [["exec"], 1, /\\?"exec\\?" requires a minimum of 1 argument/],
  [["kill", "a", "TERM", "x"], 1, /\\?"kill\\?" requires a maximum of 2 argument/],
  [["list", "x"], 1, /\\?"list\\?" requires exactly 0 argument/],
  [["run", "--nonsense", "a"], 1, /flag provided but not defined: -nonsense/],
  [["run", "a", "--bundle"], 1, /flag needs an argument: -bundle/],
  [["--nonsense", "list"], 1, /flag provided but not defined: -nonsense/],
  [["nonsense"], 3, /No help topic for 'nonsense'/],
  [["--log-format", "xml", "list"], 1, /invalid log-format: xml/],
  [["--log", "/missing/log", "list"], 1, /\/missing\/log: no such file or directory/],
  [["--root", "/", "list"], 1, /Option --root argument should not be set to \//],
  [["--init", "java", "list"], 1, /init/],
];
for (const [args, code, stderr, stdout = /(?:)/] of usage) {
  boxTest(`refused: runc ${args.join(" ")}`, (box) => {
    const seen = box.runc(args);
    assertEquals(seen.code, code);
    assertMatch(seen.stderr, stderr);
    assertMatch(seen.stdout, stdout);
  });
}

boxTest("--systemd-cgroup is refused where there is no systemd", (box) => {
  // Where there is one it is not built yet, which is an error too.
  const { code } = unprefixed(box, ["--systemd-cgroup", "run", box.id]);
  assert(code === "host-lacks" || code === "unsupported", code);
});

function unprefixed(box: Box, args: string[]): ErrorRecord {
  box.write(set("/linux/cgroupsPath", "system.slice:runc:box"));
  return box.refused(args);
}
