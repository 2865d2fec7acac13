/** `run` in the foreground: exit status, and what config.json's process and names come to in the container. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  afterShell,
  type Box,
  boxTest,
  type Change,
  comparing,
  everyone,
  execute,
  until,
  withUserNamespace,
} from "./harness.ts";
import { contentOf } from "./foreground_harness.ts";

const exit = (code: number): Change => (config) =>
  config.process.args = ["sh", "-c", `echo out; echo err >&2; exit ${code}`];

/** The value of a field of the container's /proc/self/status. */
function statusField(box: Box, field: string, change: Change): string {
  const line = box.sh(`grep ^${field}: /proc/self/status`, change);
  return line.slice(field.length + 1).trim();
}

// --- exit status --------------------------------------------------------------------------------------------------------

for (const code of [0, 7, 255]) {
  comparing(`run ends with the program's status ${code} and passes its output on`, (box) => {
    const result = box.run(exit(code));
    assertEquals(result, { code, stdout: "out\n", stderr: "err\n" });
  }, everyone);
}

for (const [name, number] of [["TERM", 15], ["KILL", 9], ["SEGV", 11]] as const) {
  comparing(`run ends with 128 + ${number} when SIG${name} ends the program`, (box) => {
    // Process 1 of a pid namespace ignores signals from inside, so the namespace is the host's.
    const result = box.run((config) => {
      config.process.args = ["sh", "-c", `kill -${name} $$`];
      config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "pid");
    });
    assertEquals(result, { code: 128 + number, stdout: "", stderr: "" });
  }, everyone);
}

comparing("stdin is passed to the program, and its end too", (box) => {
  assertEquals(box.sh("cat; echo end", undefined, { stdin: "one\ntwo\n" }), "one\ntwo\nend\n");
}, everyone);

comparing("a signal to run is passed to the program", (box) => {
  box.write((config) =>
    config.process.args = ["sh", "-c", "trap 'echo hup; exit 3' HUP; echo ready; while :; do sleep 0.01; done"]
  );
  using running = box.start(["run", box.id]);
  running.says("ready\n");
  running.signal(1);
  assertEquals(running.wait(), { code: 3, stdout: "ready\nhup\n", stderr: "" });
}, everyone);

// --- args ----------------------------------------------------------------------------------------------------------------

for (const [option, parent] of [[[], "runtime"], [["--no-subreaper"], "caller"]] as const) {
  comparing(
    `orphans of a container in the host's pid namespace are the ${parent}'s: run ${option.join(" ")}`,
    (box) => {
      box.write((config) => {
        config.process.args = ["sh", "-c", "(sleep 1000 & echo $! >/out); exec sleep 1000"];
        config.root.readonly = false;
        config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "pid");
      });
      using running = box.start(["run", ...option, box.id]);
      until("the orphan's pid", () => contentOf(`${box.rootfs}/out`).endsWith("\n"));
      const orphan = Number(contentOf(`${box.rootfs}/out`));
      const parentOf = () => Number(/^PPid:\t(\d+)$/m.exec(Deno.readTextFileSync(`/proc/${orphan}/status`))?.[1]);
      // We are a subreaper too, farther away.
      until("it is an orphan", () => parentOf() === (parent === "runtime" ? running.pid : Deno.pid));
      assertEquals(box.runc(["delete", "--force", box.id]).code, 0);
      assertEquals(running.wait().code, 137);
    },
    everyone,
  );
}

comparing("arguments arrive as they are", (box) => {
  const args = ["sh", "-c", 'for one; do echo "[$one]"; done', "sh", "", "a b", "$HOME", "é\n"];
  const { stdout } = box.run((config) => config.process.args = args);
  assertEquals(stdout, "[]\n[a b]\n[$HOME]\n[é\n]\n");
}, everyone);

comparing("a command without a slash is looked up in the container's PATH, in its order", (box) => {
  for (const [directory, text] of [["first", "1"], ["second", "2"]]) {
    Deno.mkdirSync(`${box.rootfs}/${directory}`);
    Deno.writeTextFileSync(`${box.rootfs}/${directory}/program`, `#!/bin/sh\necho ${text}\n`, { mode: 0o755 });
  }
  const { stdout } = box.run((config) => {
    config.process.args = ["program"];
    config.process.env = ["PATH=/missing:/second:/first"];
  });
  assertEquals(stdout, "2\n");
}, everyone);

comparing("a file that is not executable is passed over in PATH", (box) => {
  for (const [directory, mode] of [["first", 0o644], ["second", 0o755]] as const) {
    Deno.mkdirSync(`${box.rootfs}/${directory}`);
    Deno.writeTextFileSync(`${box.rootfs}/${directory}/program`, `#!/bin/sh\necho ${directory}\n`, { mode });
  }
  const { stdout } = box.run((config) => {
    config.process.args = ["program"];
    config.process.env = ["PATH=/first:/second"];
  });
  assertEquals(stdout, "second\n");
}, everyone);

comparing("a command with a slash is relative to cwd", (box) => {
  Deno.writeTextFileSync(`${box.rootfs}/home/program`, "#!/bin/sh\npwd\n", { mode: 0o755 });
  const { stdout } = box.run((config) => {
    config.process.args = ["./program"];
    config.process.cwd = "/home";
  });
  assertEquals(stdout, "/home\n");
}, everyone);

comparing("a file without an interpreter line is no program: 255, and the reason on stderr", (box) => {
  Deno.writeTextFileSync(`${box.rootfs}/bin/program`, "echo no\n", { mode: 0o755 });
  const result = box.run((config) => config.process.args = ["/bin/program"]);
  assertEquals(result, { code: 255, stdout: "", stderr: "exec /bin/program: exec format error\n" });
});

// --- environment ---------------------------------------------------------------------------------------------------------

const environments: readonly [fact: string, env: string[], expected: string[]][] = [
  ["the environment is the config's and HOME", ["PATH=/bin", "A=1"], ["A=1", "HOME=/root", "PATH=/bin"]],
  ["of two entries with one name the last counts", ["PATH=/bin", "A=1", "A=2"], ["A=2", "HOME=/root", "PATH=/bin"]],
  ["a HOME that is given stays", ["PATH=/bin", "HOME=/x"], ["HOME=/x", "PATH=/bin"]],
  ["an empty HOME is looked up", ["PATH=/bin", "HOME="], ["HOME=/root", "PATH=/bin"]],
  ["a value may be empty or hold an equals sign", ["PATH=/bin", "A=", "B=c=d"], [
    "A=",
    "B=c=d",
    "HOME=/root",
    "PATH=/bin",
  ]],
];
for (const [fact, env, expected] of environments) {
  comparing(fact, (box) => {
    const { stdout } = box.run((config) => {
      config.process.args = ["env"];
      config.process.env = env;
    });
    assertEquals(stdout.trimEnd().split("\n").sort(), expected);
  }, everyone);
}

const homes: readonly [fact: string, uid: number, home: string][] = [
  ["HOME is that of the user in the container's /etc/passwd", 1000, "/home/someone"],
  ["HOME of a user that is not in /etc/passwd is /", 4711, "/"],
];
for (const [fact, uid, home] of homes) {
  comparing(fact, (box) => {
    assertEquals(box.sh("echo $HOME", (config) => config.process.user = { uid, gid: uid }), `${home}\n`);
  }, everyone);
}

comparing("HOME is found in a long /etc/passwd, wherever a letter of it is", (box) => {
  const home = `/${"ü".repeat(40)}`;
  const line = (uid: number) => `someone${uid}:x:${uid}:${uid}::${home}:/bin/sh\n`;
  // Longer than several of the pieces in which it is read; in one of them a piece ends within a letter.
  const uids = Array.from({ length: 400 }, (_, index) => 20_000 + index);
  Deno.writeTextFileSync(`${box.rootfs}/etc/passwd`, uids.map(line).join(""));
  for (const uid of [20_000, 20_027, 20_028, 20_399]) {
    assertEquals(box.sh("echo $HOME", (config) => config.process.user = { uid, gid: 0 }), `${home}\n`);
  }
}, everyone);

comparing("HOME is / where the container has no /etc/passwd", (box) => {
  Deno.removeSync(`${box.rootfs}/etc`, { recursive: true });
  assertEquals(box.sh("echo $HOME"), "/\n");
}, everyone);

// --- cwd -----------------------------------------------------------------------------------------------------------------

comparing("cwd is made where it is missing: 0755 and root's, whatever the umask and the user", (box) => {
  const seen = box.sh("pwd; stat -c '%a %u %g' . ..", (config) => {
    config.process.cwd = "/new/deep";
    config.process.user = { uid: 1000, gid: 1000, umask: 0o077 };
    config.root.readonly = false;
  });
  assertEquals(seen, "/new/deep\n755 0 0\n755 0 0\n");
}, everyone);

comparing("cwd is entered as the user where root may not", (box) => {
  Deno.chmodSync(`${box.rootfs}/home/someone`, 0o700);
  Deno.chownSync(`${box.rootfs}/home/someone`, 1000, 1000);
  const seen = box.sh("pwd", (config) => {
    config.process.cwd = "/home/someone";
    config.process.user = { uid: 1000, gid: 1000 };
  });
  assertEquals(seen, "/home/someone\n");
}, everyone);

comparing("cwd that is a symlink out of the rootfs ends inside", (box) => {
  Deno.mkdirSync(`${box.rootfs}/tmp/target`);
  Deno.symlinkSync("../../../../../../../../tmp/target", `${box.rootfs}/link`);
  assertEquals(
    box.sh("pwd; readlink /proc/self/cwd", (config) => config.process.cwd = "/link"),
    "/tmp/target\n/tmp/target\n",
  );
}, everyone);

/** What made CVE-2024-21626: a directory of the host, open when the runtime entered the container. */
function refusesDescriptorsAsCwd(box: Box, last: number): void {
  for (let fd = 3; fd <= last; fd++) {
    const { code, stdout, stderr } = box.run((config) => {
      config.process.args = ["ls"];
      config.process.cwd = `/proc/self/fd/${fd}`;
    });
    assertEquals([fd, code, stdout], [fd, 1, ""]);
    assertMatch(stderr, /mkdir|chdir to cwd|current working directory is outside of container mount namespace root/);
  }
}

comparing("cwd by a low descriptor's number is refused", (box) => refusesDescriptorsAsCwd(box, 12));

boxTest("cwd by any descriptor's number is refused: nothing of the host is reached", (box) => {
  refusesDescriptorsAsCwd(box, 48);
});

// --- user ----------------------------------------------------------------------------------------------------------------

const users: readonly [fact: string, user: { uid: number; gid: number; additionalGids?: number[] }][] = [
  ["the usual user is root, in no other group", { uid: 0, gid: 0 }],
  ["user and group are those of the config", { uid: 1000, gid: 1001 }],
  ["additional groups are exactly those of the config", { uid: 1000, gid: 1001, additionalGids: [5, 70000] }],
];
for (const [fact, user] of users) {
  comparing(fact, (box) => {
    const { uid, gid, additionalGids = [] } = user;
    const seen = box.sh("grep -E '^(Uid|Gid|Groups):' /proc/self/status", (config) => config.process.user = user);
    const four = (id: number) => Array(4).fill(id).join("\t");
    assertEquals(
      seen.replaceAll(/ +$/gm, ""),
      `Uid:\t${four(uid)}\nGid:\t${four(gid)}\nGroups:\t${additionalGids.join(" ")}\n`,
    );
  }, everyone);
}

for (const [umask, seen] of [[undefined, "0022"], [0, "0000"], [0o027, "0027"]] as const) {
  comparing(`the umask is ${seen} for ${umask === undefined ? "none" : umask.toString(8)} in the config`, (box) => {
    assertEquals(box.sh("umask", (config) => config.process.user.umask = umask), `${seen}\n`);
  }, everyone);
}

// --- capabilities, limits, flags ----------------------------------------------------------------------------------------

function capabilities(box: Box, change: Change): string[] {
  const lines = box.sh("grep ^Cap /proc/self/status", change).trimEnd().split("\n");
  return ["Inh", "Prm", "Eff", "Bnd", "Amb"].map((set) =>
    lines.find((line) => line.startsWith(`Cap${set}:`))!.slice(8)
  );
}
const none = "0000000000000000";
const killAndChown = "0000000000000021";

comparing("the five capability sets are those of the config", (box) => {
  const seen = capabilities(box, (config) => {
    config.process.capabilities = {
      bounding: ["CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN"],
      permitted: ["CAP_CHOWN", "CAP_KILL"],
      effective: ["CAP_CHOWN", "CAP_KILL"],
      inheritable: ["CAP_CHOWN", "CAP_KILL"],
      ambient: ["CAP_KILL"],
    };
    config.process.noNewPrivileges = false;
  });
  // execve as root: what is inheritable or in the bounding set is permitted. capabilities(7)
  assertEquals(seen, [killAndChown, "0000000000200021", "0000000000200021", "0000000000200021", "0000000000000020"]);
}, everyone);

comparing("another user than root has the ambient capabilities and no others", (box) => {
  const seen = capabilities(box, (config) => {
    const both = ["CAP_CHOWN", "CAP_KILL"];
    config.process.user = { uid: 1000, gid: 1000 };
    config.process.capabilities = {
      bounding: both,
      permitted: both,
      effective: both,
      inheritable: both,
      ambient: ["CAP_KILL"],
    };
  });
  assertEquals(seen, [killAndChown, "0000000000000020", "0000000000000020", killAndChown, "0000000000000020"]);
}, everyone);

comparing("sets that the config leaves out are empty", (box) => {
  assertEquals(capabilities(box, (config) => config.process.capabilities = {}), Array(5).fill(none));
}, everyone);

comparing("without capabilities in the config root keeps those of the caller", (box) => {
  const own = Deno.readTextFileSync("/proc/self/status").match(/^CapBnd:\t(.*)$/m)![1]!;
  assertEquals(capabilities(box, (config) => delete config.process.capabilities), [none, own, own, own, none]);
});

comparing("a capability that the kernel does not know is a warning", (box) => {
  const { code, stderr } = box.run((config) => config.process.capabilities!.bounding!.push("CAP_TELEPORT"));
  assertEquals(code, 0);
  assertMatch(stderr, /level=warning msg="ignoring unknown or unavailable capabilities: \[CAP_TELEPORT\]"/);
});

comparing("limits are those of the config, and the caller's where it says nothing", (box) => {
  const seen = box.sh("cat /proc/self/limits", (config) => {
    config.process.rlimits = [
      { type: "RLIMIT_NOFILE", soft: 100, hard: 200 },
      { type: "RLIMIT_CORE", soft: 0, hard: 0 },
      { type: "RLIMIT_STACK", soft: 1 << 20, hard: 1 << 21 },
    ];
  });
  assertMatch(seen, /^Max open files +100 +200 /m);
  assertMatch(seen, /^Max core file size +0 +0 /m);
  assertMatch(seen, /^Max stack size +1048576 +2097152 /m);
  return seen;
}, everyone);

comparing("the limit of open files is the caller's, not the one that Deno raises for itself", (box) => {
  box.write((config) => {
    config.process.args = ["sh", "-c", "ulimit -Sn; ulimit -Hn"];
    config.process.rlimits = [];
  });
  using running = box.start(["run", box.id], { prefix: afterShell("ulimit -Sn 333; ulimit -Hn 4444") });
  assertEquals(running.wait(), { code: 0, stdout: "333\n4444\n", stderr: "" });
});

for (const flag of [false, true]) {
  comparing(`noNewPrivileges ${flag} is what the process has`, (box) => {
    const seen = statusField(box, "NoNewPrivs", (config) => config.process.noNewPrivileges = flag);
    assertEquals(seen, flag ? "1" : "0");
  }, everyone);
}

for (const score of [0, 137, 1000]) {
  comparing(`oomScoreAdj ${score} is what the process has`, (box) => {
    assertEquals(box.sh("cat /proc/self/oom_score_adj", (config) => config.process.oomScoreAdj = score), `${score}\n`);
  }, everyone);
}

comparing("no system call filter is there where none is asked for", (box) => {
  assertEquals(statusField(box, "Seccomp", () => {}), "0");
}, everyone);

comparing("no signal is ignored or blocked in the program", (box) => {
  const { stdout } = box.run((config) => config.process.args = ["grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status"]);
  assertEquals(stdout, `SigBlk:\t${none}\nSigIgn:\t${none}\n`);
}, everyone);

comparing("the program may run on every processor", (box) => {
  assertEquals(
    box.sh("grep -c ^processor /proc/cpuinfo; grep Cpus_allowed_list /proc/self/status"),
    box.sh(
      "grep -c ^processor /proc/cpuinfo; grep Cpus_allowed_list /proc/self/status",
      undefined,
      { prefix: ["/usr/bin/taskset", "1"] },
    ),
  );
});

comparing("the program leads a session of its own", (box) => {
  assertEquals(box.sh("cut -d' ' -f1,5,6 /proc/1/stat"), "1 1 1\n");
}, everyone);

// --- names, network, keys -----------------------------------------------------------------------------------------------

comparing("hostname and domainname are the container's alone", (box) => {
  const own = Deno.hostname();
  const seen = box.sh("hostname; cat /proc/sys/kernel/domainname", (config) => {
    config.hostname = "inside";
    config.domainname = "example.org";
  });
  assertEquals(seen, "inside\nexample.org\n");
  assertEquals(Deno.hostname(), own);
});

comparing("the loopback device of a new network namespace is up, and the only one", (box) => {
  const seen = box.sh("ip -o addr; ls /sys/class/net");
  assertMatch(seen, /^1: lo {4}inet 127\.0\.0\.1\/8 /);
  assertMatch(seen, /\nlo\n$/);
  assertMatch(box.sh("cat /sys/class/net/lo/flags"), /^0x9$/m);
  return seen;
}, everyone);

comparing("sysctls of the container's namespaces are set, in both spellings", (box) => {
  const host = Deno.readTextFileSync("/proc/sys/net/ipv4/ip_forward");
  const wanted = { "net.ipv4.ip_forward": "1", "net/ipv4/conf/lo/accept_local": "1", "kernel.msgmax": "12345" };
  const seen = box.sh("cd /proc/sys; cat net/ipv4/ip_forward net/ipv4/conf/lo/accept_local kernel/msgmax", (config) => {
    config.linux.sysctl = wanted;
  });
  assertEquals(seen, "1\n1\n12345\n");
  assertEquals(Deno.readTextFileSync("/proc/sys/net/ipv4/ip_forward"), host);
}, everyone);

/** A parameter of each namespace that has any, a value, and what the container then reads. */
const namespacedSysctls: readonly [name: string, value: string, seen?: string][] = [
  ...["msgmax", "msgmnb", "msgmni", "shmmni"].map((name): [string, string] => [`kernel.${name}`, "4321"]),
  ["kernel.shmall", "123456"],
  ["kernel.shmmax", "1234567"],
  ["kernel.shm_rmid_forced", "1"],
  ["kernel.sem", "100 200 30 40", "100\t200\t30\t40"],
  ["fs.mqueue.msg_max", "17"],
  ["net.ipv4.ip_local_port_range", "2000 3000", "2000\t3000"],
  ["kernel.domainname", "example.org"],
];
comparing("every sysctl that belongs to a namespace of the container is set there, and not on the host", (box) => {
  const path = (name: string) => `/proc/sys/${name.replaceAll(".", "/")}`;
  const host = () => namespacedSysctls.map(([name]) => Deno.readTextFileSync(path(name)));
  const before = host();
  const seen = box.sh(`cat ${namespacedSysctls.map(([name]) => path(name)).join(" ")}`, (config) => {
    config.linux.sysctl = Object.fromEntries(namespacedSysctls);
  });
  assertEquals(seen.trimEnd().split("\n"), namespacedSysctls.map(([, value, read]) => read ?? value));
  assertEquals(host(), before);
}, everyone);

comparing("a user namespace has limits of its own, which are its sysctls", (box) => {
  const seen = box.sh("cat /proc/sys/user/max_net_namespaces", (config) => {
    withUserNamespace()(config);
    config.linux.sysctl = { "user.max_net_namespaces": "7" };
  });
  assertEquals(seen, "7\n");
});

/** Namespaces that the container does not have, a parameter of theirs, and the reason that is told. */
const foreignSysctls: readonly [without: string, name: string, why: RegExp][] = [
  ["ipc", "kernel.shmmax", /not allowed in the hosts ipc namespace/],
  ["ipc", "fs.mqueue.msg_max", /not allowed in the hosts ipc namespace/],
  ["network", "net.ipv4.ip_forward", /not allowed in host network namespace/],
  ["uts", "kernel.domainname", /not in a separate kernel namespace/],
  ["user", "user.max_net_namespaces", /without a user namespace|not in a separate kernel namespace/],
  ["none", "kernel.hostname", /conflicts with the OCI|not in a separate kernel namespace/],
  ["none", "kernel.core_pattern", /not in a separate kernel namespace/],
  ["none", "vm.overcommit_memory", /not in a separate kernel namespace/],
];
comparing("a sysctl of a namespace that the container shares is refused", (box) => {
  for (const [without, name, why] of foreignSysctls) {
    const result = box.run((config) => {
      config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== without);
      if (without === "uts") delete config.hostname;
      config.linux.sysctl = { [name]: "1" };
    });
    assertEquals([result.code, result.stdout], [1, ""], name);
    assertMatch(result.stderr, why, name);
  }
}, everyone);

comparing("a network namespace by path that is the runtime's own has no sysctls for the container", (box) => {
  const { code, stderr } = box.run((config) => {
    config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "network");
    config.linux.namespaces.push({ type: "network", path: "/proc/self/ns/net" });
    config.linux.sysctl = { "net.ipv4.ip_forward": "1" };
  });
  assertEquals(code, 1);
  assertMatch(stderr, /not allowed in host network namespace/);
}, everyone);

const showKeys: Change = (config) => config.linux.maskedPaths = [];

comparing("the container has a session keyring of its own, named for it", (box) => {
  assertMatch(box.sh("cat /proc/keys", showKeys), /keyring +_ses\.box: empty\n/);
}, everyone);

comparing("with --no-new-keyring it keeps the caller's", (box) => {
  box.write((config) => {
    config.process.args = ["cat", "/proc/keys"];
    showKeys(config);
  });
  // A name that no keyring ever had: those of earlier containers stay in the list until the kernel collects them.
  const id = `without-keyring-${box.name}`;
  assertEquals(box.must(["run", "--no-new-keyring", id]).includes(`_ses.${id}`), false);
}, everyone);

// --- root file system ---------------------------------------------------------------------------------------------------

comparing("a read-only root cannot be written to", (box) => {
  const { code, stderr } = box.run((config) => config.process.args = ["touch", "/file"]);
  assertEquals([code, stderr], [1, "touch: /file: Read-only file system\n"]);
}, everyone);

comparing("another root is the bundle's own directory", (box) => {
  box.sh("echo text > /file", (config) => config.root.readonly = false);
  assertEquals(Deno.readTextFileSync(`${box.rootfs}/file`), "text\n");
}, everyone);

comparing("the root is the bundle's, and there is nothing above it", (box) => {
  const own = [...Deno.readDirSync(box.rootfs)].map(({ name }) => name).sort().join("\n");
  assertEquals(box.sh("ls /; ls /..; ls /proc/1/root/"), `${own}\n`.repeat(3));
}, everyone);

comparing("with --no-pivot the root is the same, and the host's root not reachable above it", (box) => {
  box.write((config) => config.process.args = ["sh", "-c", "ls / /.. && cd ../../.. && pwd && readlink /proc/1/root"]);
  const [pivoted, moved] = [box.must(["run", box.id]), box.must(["run", "--no-pivot", box.id])];
  assertEquals(moved, pivoted);
}, everyone);

comparing("with --no-pivot too no procfs can be mounted that is not masked: the host's are out of reach", (box) => {
  // The kernel lets a user namespace mount one where a whole one can be seen: mount_namespaces(7), "Restrictions on mount namespaces".
  const other = `${box.directory}/proc`;
  Deno.mkdirSync(other);
  assertEquals(execute(["/usr/bin/mount", "-t", "proc", "proc", other]).code, 0);
  try {
    box.write((config) => {
      config.process.args = ["unshare", "-mrpf", "sh", "-c", "echo inside; mount -t proc proc /proc && echo mounted"];
      // To map root one has to have it: user_namespaces(7), "Defining user and group ID mappings".
      const mayMap = ["CAP_SETFCAP", "CAP_SETUID", "CAP_SETGID"];
      config.process.capabilities = { bounding: mayMap, permitted: mayMap, effective: mayMap };
    });
    const results = [[], ["--no-pivot"]].map((option) => box.runc(["run", ...option, box.id]));
    for (const { code, stdout, stderr } of results) {
      assertEquals([code, stdout], [1, "inside\n"]);
      assertMatch(stderr, /mount: permission denied/);
    }
  } finally {
    execute(["/usr/bin/umount", other]);
  }
}, everyone);

// --- masked and read-only paths -----------------------------------------------------------------------------------------

comparing("a masked file reads empty", (box) => {
  Deno.writeTextFileSync(`${box.rootfs}/secret`, "secret");
  const seen = box.sh("cat /secret; stat -c %F /secret; wc -c < /proc/timer_list", (config) => {
    config.linux.maskedPaths = ["/secret", "/proc/timer_list"];
  });
  assertEquals(seen, "character special file\n0\n");
}, everyone);

comparing("a masked directory shows nothing", (box) => {
  Deno.mkdirSync(`${box.rootfs}/secrets`);
  Deno.writeTextFileSync(`${box.rootfs}/secrets/one`, "secret");
  const seen = box.sh("ls -A /secrets /tmp; touch /secrets/x 2>&1; echo $?", (config) => {
    config.linux.maskedPaths = ["/secrets", "/tmp"];
  });
  assertEquals(seen, "/secrets:\n\n/tmp:\ntouch: /secrets/x: Read-only file system\n1\n");
}, everyone);

comparing(
  "what masks a directory is known by its descriptor: the name may mean another one, or nothing, by then",
  (box) => {
    Deno.mkdirSync(`${box.rootfs}/secrets/way`, { recursive: true });
    // It leads through the directory that it is a name of.
    Deno.symlinkSync("secrets/way/..", `${box.rootfs}/name`);
    const seen = box.sh("ls -A /secrets /tmp; grep -c ' /secrets ' /proc/self/mountinfo", (config) => {
      config.linux.maskedPaths = ["/name", "/tmp"];
    });
    assertEquals(seen, "/secrets:\n\n/tmp:\n1\n");
  },
  everyone,
);

comparing("in a user namespace a directory is masked that its root may not even enter", (box) => {
  Deno.mkdirSync(`${box.rootfs}/secrets`, { mode: 0o700 });
  Deno.chmodSync(box.rootfs, 0o755);
  const seen = box.sh("ls -A /secrets; stat -f -c %T /secrets", (config) => {
    withUserNamespace()(config);
    config.linux.maskedPaths = ["/secrets"];
  });
  assertEquals(seen, "tmpfs\n");
}, everyone);

/** A shell command for each path, each of which has to be refused. Returns how many were. */
function refusals(box: Box, commands: string, paths: readonly string[], change: Change): number {
  const seen = box.sh(`exec 2>&1; for path in ${paths.join(" ")}; do ${commands}; done; true`, change);
  return seen.split("\n").filter((line) => /not permitted|permission denied|Read-only|Invalid argument/.test(line))
    .length;
}

const uncover = "umount $path; umount -l $path; mount -o remount,bind,rw $path; mount -o bind /bin $path";

comparing("masks and read-only paths can be neither unmounted nor made writable from inside", (box) => {
  Deno.writeTextFileSync(`${box.rootfs}/secret`, "secret");
  Deno.mkdirSync(`${box.rootfs}/secrets`);
  const paths = ["/secret", "/secrets", "/etc", "/proc/sys"];
  const refused = refusals(box, uncover, paths, (config) => {
    config.linux.maskedPaths = ["/secret", "/secrets"];
    config.linux.readonlyPaths = ["/etc", "/proc/sys"];
  });
  assertEquals(refused, 4 * paths.length);
}, everyone);

comparing("nor from a user namespace that the container makes", (box) => {
  Deno.writeTextFileSync(`${box.rootfs}/secret`, "secret");
  Deno.mkdirSync(`${box.rootfs}/secrets`);
  // As a user who becomes root there, so that one who could not get in refuses nothing.
  const inside = (command: string) => `unshare -r -m sh -c 'test $(id -u) = 0 && ${command}' sh $path`;
  const attempt = (commands: readonly string[], paths: readonly string[]) =>
    refusals(box, commands.map(inside).join("; "), paths, (config) => {
      config.process.user = { uid: 1000, gid: 1000 };
      config.linux.maskedPaths = ["/secret", "/secrets"];
      config.linux.readonlyPaths = ["/etc"];
    });
  assertEquals(attempt(["umount $1", "umount -l $1"], ["/secret", "/secrets", "/etc"]), 6);
  // A masked file is /dev/null, which is writable anyway.
  assertEquals(attempt(["mount -o remount,bind,rw $1"], ["/secrets", "/etc"]), 2);
}, everyone);

comparing("what is read-only is read and not written", (box) => {
  Deno.mkdirSync(`${box.rootfs}/data`);
  Deno.writeTextFileSync(`${box.rootfs}/data/file`, "text\n");
  const seen = box.sh(
    "exec 2>&1; cat /data/file; echo x > /data/file; echo 1 > /proc/sys/kernel/msgmax; cat /data/file",
    (config) => {
      config.root.readonly = false;
      config.linux.readonlyPaths = ["/data", "/proc/sys"];
    },
  );
  const refused = (path: string) => `sh: can't create ${path}: Read-only file system\n`;
  assertEquals(seen, `text\n${refused("/data/file")}${refused("/proc/sys/kernel/msgmax")}text\n`);
}, everyone);

comparing("what the config mounts below a read-only path stays as the config says", (box) => {
  Deno.mkdirSync(`${box.directory}/data`);
  const seen = box.sh("touch /etc/new /etc/volume/new 2>&1; ls /etc/volume", (config) => {
    config.root.readonly = false;
    config.mounts.push({
      destination: "/etc/volume",
      type: "bind",
      source: `${box.directory}/data`,
      options: ["bind"],
    });
    config.linux.readonlyPaths = ["/etc"];
  });
  assertEquals(seen, "touch: /etc/new: Read-only file system\nnew\n");
}, everyone);

comparing("masked and read-only paths that are not there are passed over", (box) => {
  assertEquals(
    box.sh("echo ok", (config) => {
      config.linux.maskedPaths = ["/missing/file"];
      config.linux.readonlyPaths = ["/missing/directory"];
    }),
    "ok\n",
  );
}, everyone);

comparing("what is masked must not be replaced: a /dev/null that is another file is refused", (box) => {
  const { code, stderr } = box.run((config) => {
    config.mounts.push({
      destination: "/dev/null",
      type: "bind",
      source: `${box.rootfs}/etc/passwd`,
      options: ["bind"],
    });
  });
  assertEquals(code, 1);
  assertStringIncludes(stderr, "container's /dev/null is invalid");
  assert(!stderr.includes("internal"));
});

// --- all at once --------------------------------------------------------------------------------------------------------

comparing("a container that uses a great many parts of the specification at the same time", (box) => {
  const mapping = [{ containerID: 0, hostID: 100000, size: 65536 }];
  for (const name of ["covered", "mnt"]) Deno.mkdirSync(`${box.rootfs}/${name}`);
  execute(["/usr/bin/chown", "-R", "100000:100000", box.rootfs]);
  Deno.mkdirSync(`${box.directory}/data`);
  Deno.chmodSync(`${box.directory}/data`, 0o777);
  Deno.symlinkSync("/etc/passwd", `${box.directory}/link`);
  const seen = box.sh(
    "id -u; cat /covered/link /mnt/link >/dev/null; ls -A /mnt; mkdir /tmp/x 2>&1; pwd; echo $HOME",
    (config) => {
      const { process, linux } = config;
      config.root.readonly = false;
      config.annotations = {
        "org.opencontainers.landlock.execute": "/",
        "org.opencontainers.landlock.write": "/dev:/tmp",
      };
      Object.assign(process, {
        noNewPrivileges: true,
        oomScoreAdj: 5,
        env: ["PATH=/bin"],
        user: { uid: 0, gid: 0, additionalGids: [5], umask: 0o27 },
        cwd: "/made/here",
        scheduler: { policy: "SCHED_BATCH", nice: 3 },
        ioPriority: { class: "IOPRIO_CLASS_BE", priority: 3 },
        rlimits: [{ type: "RLIMIT_CORE", soft: 0, hard: 0 }],
      });
      withUserNamespace()(config);
      linux.namespaces.push({ type: "time" }, { type: "cgroup" });
      Object.assign(linux, {
        timeOffsets: { monotonic: { secs: 5 } },
        sysctl: { "net.ipv4.ip_forward": "1" },
        devices: [{ path: "/dev/kmsg", type: "c", major: 1, minor: 11 }],
        personality: { domain: "LINUX32" },
        seccomp: {
          defaultAction: "SCMP_ACT_ALLOW",
          syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_ERRNO", errnoRet: 100 }],
        },
        rootfsPropagation: "rslave",
      });
      const data = `${box.directory}/data`;
      config.mounts.push(
        { destination: "/mnt", type: "tmpfs", source: "tmpfs", options: ["ro", "size=64k"] },
        { destination: "/mnt/data", source: data, options: ["rbind", "ro", "rnoexec", "rprivate", "idmap"] },
        { destination: "/mnt/ids", source: data, options: ["bind"], uidMappings: mapping, gidMappings: mapping },
        { destination: "/mnt/link", source: `${box.directory}/link`, options: ["bind", "copy-symlink"] },
        { destination: "/covered", type: "tmpfs", source: "tmpfs", options: ["tmpcopyup", "nosuid"] },
      );
      const hook = (name: string) => ({ path: "/bin/sh", args: ["sh", "-c", `: ${name}`], timeout: 30 });
      config.hooks = {
        prestart: [hook("prestart")],
        createContainer: [{ path: "/bin/sh", args: ["sh", "-c", "ln -s /etc/passwd covered/link"], timeout: 30 }],
        startContainer: [hook("startContainer")],
      };
    },
  );
  const denied = "mkdir: can't create directory '/tmp/x': Network is down";
  assertEquals(seen.trimEnd().split("\n"), ["0", "data", "ids", "link", denied, "/made/here", "/root"]);
});
