/** `check`: what it finds, what `run` then says, and that it changes nothing. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { openPty } from "../fixtures/pty.ts";
import { readUntil } from "./foreground_harness.ts";
import { type Box, boxTest, type Change, kernel, type StartOptions, withUserNamespace } from "./harness.ts";
import { cgroupsNamed, mountsOf } from "./leftovers.ts";

interface Report {
  readonly bundle: string;
  readonly problems: number;
  readonly warnings: number;
  readonly findings: readonly {
    readonly rule: string;
    readonly severity: string;
    readonly pointer: string;
    readonly message: string;
    readonly fix: string;
  }[];
}

/** The usual config without what `check` warns of. */
const careful: Change = (config) => {
  config.process.capabilities!.inheritable = [];
  config.process.capabilities!.ambient = [];
  config.linux.seccomp = {
    defaultAction: "SCMP_ACT_ERRNO",
    syscalls: [{ names: ["read", "write", "execve", "exit_group"], action: "SCMP_ACT_ALLOW" }],
  };
};

/** Checks the config after both changes. Returns the status and the report. */
function check(box: Box, change: Change = () => {}, options: StartOptions = {}): { code: number; report: Report } {
  box.write((config) => {
    careful(config);
    change(config);
  });
  const { code, stdout, stderr } = box.runc(["check", "--format", "json"], options);
  assertEquals(stderr, "");
  return { code, report: JSON.parse(stdout) };
}

/** The rules and pointers of the findings. */
const found = ({ findings }: Report) => findings.map(({ rule, pointer }) => `${rule} ${pointer}`);

function write(path: string, text: string, mode: number): void {
  Deno.writeTextFileSync(path, text);
  Deno.chmodSync(path, mode);
}

boxTest("check finds nothing in a careful config, and says so", (box) => {
  const { code, report } = check(box);
  assertEquals([code, report], [0, { bundle: box.bundle, problems: 0, warnings: 0, findings: [] }]);
  assertEquals(box.must(["check"]), "no problems, no warnings\n");
  assertEquals(box.must(["check", "--bundle", "bundle"], { cwd: box.directory }), "no problems, no warnings\n");
});

boxTest("check tells every problem at once: types, the specification, this host, and risks", (box) => {
  box.write();
  const config = JSON.parse(Deno.readTextFileSync(`${box.bundle}/config.json`));
  config.hostname = 5;
  config.procces = {};
  config.process.cwd = "tmp";
  config.process.args = ["nonsense"];
  config.process.noNewPrivileges = false;
  config.linux.readonlyPaths = ["proc/sys"];
  box.writeText(JSON.stringify(config));
  const { code, stdout, stderr } = box.runc(["check"]);
  assertEquals([code, stderr], [1, ""]);
  for (
    const line of [
      "problem: /hostname: /hostname must be a string, not 5 [field-type]",
      "problem: /process/cwd: Cwd must be an absolute path [cwd-absolute]",
      "problem: /linux/readonlyPaths/0: an entry of readonlyPaths is not absolute",
      'problem: /process/args/0: "nonsense" is not in any directory of the container\'s PATH [program-missing]',
      "warning: /procces: /procces is not a field of runtime-spec",
      "warning: /linux/readonlyPaths: /proc/sys can be written to [proc-sys-writable]",
      "warning: /process/noNewPrivileges:",
      '    fix: add "/proc/sys" to linux.readonlyPaths',
    ]
  ) assertStringIncludes(stdout, line);
  assertMatch(stdout, /\n\d problems, \d+ warnings\n$/);
});

boxTest("check: the status is 1 with problems, and with --strict 2 with warnings alone", (box) => {
  const status = (change: Change, ...args: string[]) => {
    check(box, change);
    return box.runc(["check", ...args]).code;
  };
  const risky: Change = (config) => config.process.noNewPrivileges = false;
  const wrong: Change = (config) => config.process.args = [];
  const codes = [status(risky), status(risky, "--strict"), status(wrong, "--strict"), status(() => {}, "--strict")];
  assertEquals(codes, [0, 2, 1, 0]);
});

boxTest("check says what is wrong with a config.json that is none", (box) => {
  box.writeText('{"process": \n }');
  assertMatch(box.runc(["check"]).stdout, /config\.json:2:2: expected a value.*\[json-syntax\]/);
  box.writeText('{"process" }');
  const { code, stdout } = box.runc(["check"]);
  assertEquals(code, 1);
  assertMatch(stdout, /^problem: config\.json: config\.json:1:\d+.*\[json-syntax\]/);
  Deno.removeSync(`${box.bundle}/config.json`);
  assertMatch(box.runc(["check"]).stdout, /^problem: config\.json: cannot read .*\[config-missing\]/);
  const { code: status, stderr } = box.runc(["check", "--bundle", "/nowhere"]);
  assertEquals(status, 1);
  assertMatch(stderr, /chdir \/nowhere: no such file or directory/);
});

// --- the host --------------------------------------------------------------------------------------------------------

/** Something that the host lacks, and what is found, and nothing else. */
const lacking: readonly [what: string, prepare: (box: Box) => Change, ...found: string[]][] = [
  ["a program that is not executable", ({ rootfs }) => {
    write(`${rootfs}/bin/plain`, "#!/bin/sh\n", 0o644);
    return (config) => config.process.args = ["plain"];
  }, "program-refused /process/args/0"],
  ["a script without its interpreter", ({ rootfs }) => {
    write(`${rootfs}/bin/script`, "#!/usr/bin/python3\n", 0o755);
    return (config) => config.process.args = ["/bin/script"];
  }, "program-interpreter /process/args/0"],
  ["a program that is neither binary nor script", ({ rootfs }) => {
    write(`${rootfs}/bin/text`, "echo\n", 0o755);
    return (config) => config.process.args = ["text"];
  }, "program-format /process/args/0"],
  ["a program with a dynamic linker that is missing", ({ rootfs }) => {
    Deno.copyFileSync("/usr/bin/env", `${rootfs}/bin/dynamic`);
    return (config) => config.process.args = ["dynamic"];
  }, "program-interpreter /process/args/0"],
  ["a dynamic linker in a bind mount, reached by a link of the image", ({ rootfs }) => {
    Deno.copyFileSync("/usr/bin/env", `${rootfs}/bin/dynamic`);
    for (const name of ["lib", "lib64"]) Deno.symlinkSync(`usr/${name}`, `${rootfs}/${name}`);
    return (config) => {
      config.process.args = ["dynamic"];
      config.mounts.push({ destination: "/usr", type: "bind", source: "/usr", options: ["rbind", "ro"] });
    };
  }],
  [
    "a hook, and one that is not executable",
    ({ bundle }) => {
      write(`${bundle}/hook`, "", 0o644);
      return (config) => config.hooks = { poststart: [{ path: "/nowhere" }], poststop: [{ path: `${bundle}/hook` }] };
    },
    "hook-missing /hooks/poststart/0/path",
    "hook-refused /hooks/poststop/0/path",
  ],
  ["the source of a bind mount", () => (config) => {
    config.mounts.push({ destination: "/data", source: "data", options: ["bind"] });
  }, "mount-source-missing /mounts/7/source"],
  ["a directory to mount a directory on", ({ rootfs, bundle }) => {
    Deno.writeTextFileSync(`${rootfs}/etc/data`, "");
    Deno.mkdirSync(`${bundle}/data`);
    return (config) => void config.mounts.push({ destination: "/etc/data", source: "data", options: ["bind"] });
  }, "mount-target-type /mounts/7/destination"],
  [
    "namespaces to join",
    () => (config) => {
      config.linux.namespaces[1]!.path = "/run/nowhere";
      config.linux.namespaces[3]!.path = `/proc/${Deno.pid}/ns/ipc`;
    },
    "namespace-missing /linux/namespaces/1/path",
    "namespace-other-type /linux/namespaces/3/path",
  ],
  [
    "a device, a huge page size, a processor",
    () => (config) => {
      config.linux.resources = {
        devices: config.linux.resources?.devices,
        blockIO: { throttleReadBpsDevice: [{ major: 4000, minor: 1, rate: 1 }] },
        hugepageLimits: [{ pageSize: "3MB", limit: 0 }],
        cpu: { cpus: "0,5000" },
      };
    },
    "cpus-missing /linux/resources/cpu/cpus",
    "hugepage-size /linux/resources/hugepageLimits/0/pageSize",
    "block-device-missing /linux/resources/blockIO/throttleReadBpsDevice/0",
  ],
  [
    "a kernel parameter, an interface",
    () => (config) => {
      config.linux.sysctl = { "net.ipv4.nonsense": "1", "net.ipv4.ip_forward": "0" };
      config.linux.netDevices = { "runc-none": {} };
    },
    "interface-missing /linux/netDevices/runc-none",
    "sysctl-missing /linux/sysctl/net.ipv4.nonsense",
  ],
  ["a system call's name", () => (config) => {
    config.linux.seccomp = { ...config.linux.seccomp!, syscalls: [{ names: ["raed"], action: "SCMP_ACT_ALLOW" }] };
  }, "seccomp-name /linux/seccomp/syscalls/0/names"],
  ["an rlimit above fs.nr_open", () => (config) => {
    config.process.rlimits = [{ type: "RLIMIT_NOFILE", hard: 2 ** 40, soft: 10 }];
  }, "rlimit-too-high /process/rlimits/0/hard"],
];
for (const [what, prepare, ...wanted] of lacking) {
  boxTest(`check finds that the host or the image lacks: ${what}`, (box) => {
    const { report } = check(box, prepare(box));
    assertEquals(found(report), wanted);
  });
}

boxTest("check tries whether a file system supports id-mapped mounts", (box) => {
  Deno.mkdirSync(`${box.bundle}/data`);
  const ids = [{ containerID: 0, hostID: 1000, size: 1 }];
  const { report } = check(box, (config) => {
    for (const source of [`${box.bundle}/data`, "/proc/sys", "/sys"]) {
      config.mounts.push({
        destination: `/a${source}`,
        source,
        options: ["bind", "ro"],
        uidMappings: ids,
        gidMappings: ids,
      });
    }
  });
  assertEquals(found(report).filter((line) => line.startsWith("idmap")), [
    "idmap-file-system /mounts/8/source",
    "idmap-file-system /mounts/9/source",
  ]);
});

boxTest("check finds a container in the cgroup, and nothing once it is gone", (box) => {
  box.startSleeping();
  assertEquals(found(check(box).report), ["cgroup-in-use /linux/cgroupsPath"]);
  box.remove();
  assertEquals(found(check(box).report), []);
});

boxTest("check finds a root file system on a mount with noexec", (box) => {
  const mount =
    `mount --bind ${box.bundle} ${box.bundle} && mount -o remount,bind,noexec ${box.bundle} && cd ${box.bundle}`;
  const prefix = ["/usr/bin/unshare", "--mount", "/bin/sh", "-ec", `${mount} && exec "$@"`, "sh"];
  assertEquals(found(check(box, () => {}, { prefix }).report), ["rootfs-noexec /root/path"]);
});

boxTest("check finds a covered /proc that a user namespace may not uncover", (box) => {
  const prefix = [
    "/usr/bin/unshare",
    "--mount",
    "/bin/sh",
    "-ec",
    'mount --bind /dev/null /proc/keys && exec "$@"',
    "sh",
  ];
  const mapped: Change = (config) => {
    withUserNamespace({ hostUid: 100000, size: 10 })(config);
    config.process.capabilities = { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] };
  };
  assertEquals(found(check(box, mapped, { prefix }).report), ["proc-hidden /mounts/0"]);
  assertEquals(found(check(box, mapped).report), []);
});

boxTest("check finds capabilities that the caller does not have itself", (box) => {
  const prefix = ["/usr/bin/setpriv", "--bounding-set=-kill", "--inh-caps=-all"];
  assertEquals(found(check(box, () => {}, { prefix }).report), [
    "capability-not-held /process/capabilities/permitted/1",
  ]);
});

// --- run says the same -----------------------------------------------------------------------------------------------

/** Configs that `run` refuses, or whose program it cannot start. */
const refused: readonly [what: string, change: Change][] = [
  ["a missing program", (config) => config.process.args = ["nonsense"]],
  ["a missing source", (config) => config.mounts.push({ destination: "/a", source: "/nowhere", options: ["bind"] })],
  ["a missing namespace", (config) => config.linux.namespaces[1]!.path = "/run/nowhere"],
  ["another type of namespace", (config) => config.linux.namespaces[1]!.path = "/proc/self/ns/ipc"],
  ["a mount without a type", (config) => config.mounts.push({ destination: "/a" })],
  ["an effective capability that is not permitted", (config) => config.process.capabilities!.permitted = []],
  ["a long host name", (config) => config.hostname = "a".repeat(70)],
  ["overlapping mappings", (config) => {
    withUserNamespace()(config);
    config.linux.uidMappings!.push({ containerID: 0, hostID: 7, size: 1 });
  }],
  ["an unmapped user", (config) => {
    withUserNamespace({ size: 10 })(config);
    config.process.user = { uid: 500, gid: 0 };
  }],
  ["an unmapped group of a mount", (config) => {
    withUserNamespace({ size: 1 })(config);
  }],
  ["sysfs in a user namespace with the host's network", (config) => {
    withUserNamespace()(config);
    config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "network");
  }],
  ["a seccomp condition on a seventh argument", (config) => {
    const args = [{ index: 6, value: 0, op: "SCMP_CMP_EQ" }];
    config.linux.seccomp = {
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [{ names: ["read"], action: "SCMP_ACT_ERRNO", args }],
    };
  }],
  ["a memory node that the host does not have", (config) => {
    config.linux.resources = { ...config.linux.resources, cpu: { mems: "900" } };
  }],
  ["a CPU period that is too short", (config) => {
    config.linux.resources = { ...config.linux.resources, cpu: { period: 10, quota: 5000 } };
  }],
  ["an AppArmor profile without AppArmor", (config) => config.process.apparmorProfile = "nonsense"],
  ["a limit of open files that no process may have", (config) => {
    config.process.rlimits = [{ type: "RLIMIT_NOFILE", hard: 2 ** 40, soft: 10 }];
  }],
  ["a missing sysctl", (config) => config.linux.sysctl = { "net.ipv4.nonsense": "1" }],
];
for (const [what, change] of refused) {
  boxTest(`check warns of what run refuses: ${what}`, (box) => {
    const { field = "" } = box.runRefused(change);
    const { code, stdout } = box.runc(["check", "--format", "json"]);
    const problems = (JSON.parse(stdout) as Report).findings.filter(({ severity }) => severity === "problem");
    assertEquals(code, 1);
    // It may name a part of the field that the error names, or the other way round.
    const isAbout = (pointer: string) => pointer.startsWith(field) || field.startsWith(pointer);
    assert(problems.some(({ pointer }) => isAbout(pointer)), `${field}: ${JSON.stringify(problems)}`);
  });
}

boxTest("check finds a directory that the container's root may not search, as run does", (box) => {
  Deno.chmodSync(box.bundle, 0o700);
  const change = withUserNamespace({ hostUid: 100000, size: 65536 });
  assertEquals(found(check(box, change).report).filter((line) => line.startsWith("rootfs")), [
    "rootfs-closed /root/path",
  ]);
  const { msg } = box.runRefused(change);
  assertMatch(msg, /permission denied/);
});

boxTest("what no rule finds, the attempt to make a plan finds", (box) => {
  const { code, report } = check(box, (config) => config.process.scheduler = { policy: "SCHED_NONSENSE" });
  assertEquals([code, found(report)], [1, ["plan /process/scheduler/policy"]]);
});

// --- nothing is changed ----------------------------------------------------------------------------------------------

boxTest("check needs no right, and changes nothing", (box) => {
  box.write((config) => config.process.capabilities = undefined);
  const listing = () =>
    new TextDecoder().decode(
      new Deno.Command("find", { args: [box.directory, "-printf", "%p %C@ %m %U\n"] }).outputSync().stdout,
    );
  const before = [listing(), mountsOf(box.name), cgroupsNamed(box.name)];
  const { code, stderr } = box.runc(["check"], {
    prefix: ["/usr/bin/setpriv", "--bounding-set=-all", "--inh-caps=-all"],
  });
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
  assertEquals([listing(), mountsOf(box.name), cgroupsNamed(box.name)], before);
});

boxTest("check is in colour on a terminal, unless NO_COLOR is set, and never elsewhere", (box) => {
  check(box, (config) => config.process.noNewPrivileges = false);
  const onTerminal = (env: Readonly<Record<string, string>>) => {
    const { master, slave } = openPty(kernel);
    using _master = master;
    using _slave = slave;
    using running = box.start(["check"], { stdin: slave, stdout: slave, env });
    const screen = readUntil(master, (text) => /1 warning.*\r\n$/s.test(text));
    assertEquals(running.wait().code, 0);
    return screen.includes("\x1b[");
  };
  assertEquals([onTerminal({ TERM: "xterm" }), onTerminal({ NO_COLOR: "1" }), onTerminal({ TERM: "dumb" })], [
    true,
    false,
    false,
  ]);
  assertEquals(box.must(["check"], { env: { TERM: "xterm" } }).includes("\x1b"), false);
});

boxTest("check writes no control character of the config to a terminal", (box) => {
  check(box, (config) => config.process.args = ["\x1b[2J"]);
  const { stdout } = box.runc(["check"]);
  assertEquals(stdout.includes("\x1b"), false);
  assertStringIncludes(stdout, "program-missing");
});
