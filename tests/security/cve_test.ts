/**
 * Attacks on container runtimes that have a number: each is tried here, and has to fail. The rootfs is the attacker's, and so is whatever
 * runs in the container; config.json, the command line and the host are not.
 */

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { contentOf } from "../integration/foreground_harness.ts";
import {
  addHostPrograms,
  type Box,
  type Change,
  comparing,
  execute,
  inBox,
  kernel,
  makeRootfs,
  Running,
  type Runtime,
  until,
} from "../integration/harness.ts";
import { cgroupsNamed } from "../integration/leftovers.ts";
import { openPty } from "../fixtures/pty.ts";

/** A directory of the host with a file in it, outside of the rootfs. */
function hostDirectory(box: Box): { path: string; secret: string; content: () => string[] } {
  const path = `${box.directory}/host`;
  Deno.mkdirSync(path);
  Deno.writeTextFileSync(`${path}/secret`, "of the host\n");
  return { path, secret: `${path}/secret`, content: () => [...Deno.readDirSync(path)].map(({ name }) => name).sort() };
}

/** Symlinks that lead from anywhere in the rootfs to the host's `path`, were they followed as the host does. */
const linksTo = (path: string): string[] => [path, `../../../../../../../../..${path}`];

/** The rootfs's `name` becomes a symlink. */
function replaceByLink(box: Box, name: string, target: string): void {
  Deno.removeSync(`${box.rootfs}/${name}`, { recursive: true });
  Deno.symlinkSync(target, `${box.rootfs}/${name}`);
}

const withoutMount = (destination: string): Change => (config) => {
  config.mounts = config.mounts.filter((mount) => mount.destination !== destination);
};

/** The image fills /dev itself. */
const ownDev: Change = (config) => {
  config.mounts = config.mounts.filter((mount) => mount.destination !== "/dev");
  config.root.readonly = false;
};

/** A process in the container with all that root has there. */
const privileged: Change = (config) => {
  const all = ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_MKNOD", "CAP_CHOWN"];
  config.process.capabilities = { bounding: all, effective: all, permitted: all };
};

// --- who the process is ---------------------------------------------------------------------------------------------------

comparing(
  "CVE-2016-3697, CVE-2026-30892: a user whose name is a number is not looked up, nor is one read as the start of a text",
  (box) => {
    Deno.writeTextFileSync(`${box.rootfs}/etc/passwd`, "1000:x:0:0:root:/root:/bin/sh\n");
    box.startSleeping();
    assertEquals(box.must(["exec", "--user", "1000", box.id, "id", "-u"]), "1000\n");
    for (const user of ["root", "1000x", "1:root", "0x3e8", " 1000", "-1", "4294967296", "1:4294967296"]) {
      assertMatch(box.refused(["exec", "--user", user, box.id, "true"]).msg, /bad [ug]id|invalid user/, user);
    }
    box.remove();
  },
);

comparing("CVE-2022-24769, CVE-2022-29162: no capability is inheritable that the config does not make so", (box) => {
  const inheritable = "grep CapInh /proc/self/status";
  const change: Change = (config) => {
    const { bounding, effective, permitted } = config.process.capabilities!;
    config.process.capabilities = { bounding, effective, permitted };
  };
  assertEquals(box.sh(inheritable, change), "CapInh:\t0000000000000000\n");
  box.startSleeping(change);
  assertEquals(
    box.must(["exec", "--cap", "CAP_NET_ADMIN", box.id, "sh", "-c", inheritable]),
    "CapInh:\t0000000000000000\n",
  );
  box.remove();
});

// --- the runtime's own program and descriptors ---------------------------------------------------------------------------

comparing("CVE-2016-9962: whoever looks at the process that waits for start finds no way to the host", (box) => {
  const { secret } = hostDirectory(box);
  box.write((config) => {
    privileged(config);
    config.process.args = ["sleep", "1000"];
  });
  box.must(["create", box.id]);
  const ways = ["1", "self/../..", "..", "../.."].map((up) => `$fd/${up}${secret}`);
  const look = [
    "for fd in /proc/1/fd/*; do",
    `for file in ${ways.join(" ")} $fd/1/root${secret} $fd${secret}; do cat $file 2>/dev/null; done;`,
    "done;",
    `cat /proc/1/cwd${secret} /proc/1/root${secret} 2>/dev/null; echo done`,
  ].join(" ");
  assertEquals(box.must(["exec", box.id, "sh", "-c", look]), "done\n");
  box.remove();
});

/** Every file that the runtime consists of, with what tells that it was changed. */
function programFiles(): Record<string, string> {
  const launcher = new URL("../../dist/runc", import.meta.url).pathname;
  return Object.fromEntries([launcher, `${launcher}.js`, Deno.execPath()].map((path) => {
    const { mtime, size, ino } = Deno.statSync(path);
    return [path, `${mtime?.getTime()} ${size} ${ino}`];
  }));
}

comparing(
  "CVE-2019-5736: /proc/self/exe as the program, and as the interpreter of a script, is not the runtime",
  (box) => {
    const before = programFiles();
    Deno.writeTextFileSync(`${box.rootfs}/bin/script`, "#!/proc/self/exe --version\n", { mode: 0o755 });
    for (const program of ["/proc/self/exe", "/proc/thread-self/exe", "/bin/script"]) {
      box.write((config) => {
        privileged(config);
        config.process.args = [program, "--version"];
      });
      const { code, stdout } = box.runc(["run", box.id]);
      // `runc init` is the runtime, as runc's is: on a mount that nobody can write through. Natively it is not there at all.
      if (box.runtime === "native") {
        assertEquals([code === 0, stdout.includes("version"), stdout.includes("deno")], [false, false, false], program);
      }
      box.startSleeping(privileged);
      const exec = box.runc(["exec", box.id, program, "--version"]);
      assertEquals([exec.code === 0, exec.stdout.includes("version")], [false, false], program);
      box.remove();
    }
    assertEquals(programFiles(), before);
  },
);

comparing(
  "CVE-2019-5736: a process that writes to the program of every other one does not reach the runtime",
  (box) => {
    const before = programFiles();
    box.write((config) => {
      privileged(config);
      // Only what is not its own program is interesting.
      const attack = "for p in /proc/[0-9]*; do test $(readlink $p/exe) = /bin/busybox || ( exec 7<$p/exe; " +
        "echo x > /proc/self/fd/7 ); done";
      config.process.args = ["sh", "-c", `echo ready > /tmp/ready; while true; do { ${attack}; } 2>/dev/null; done`];
      config.root.readonly = false;
    });
    box.must(["run", "--detach", box.id]);
    until("the attacker", () => contentOf(`${box.rootfs}/tmp/ready`) !== "");
    for (let count = 0; count < 10; count++) assertEquals(box.must(["exec", box.id, "echo", "fine"]), "fine\n");
    box.remove();
    assertEquals(programFiles(), before);
  },
);

comparing("CVE-2024-21626: no descriptor leads to the host, as working directory or as the program's path", (box) => {
  const { path, secret } = hostDirectory(box);
  const numbers = Array.from({ length: 40 }, (_, number) => number);
  // A link in the image is one that cwd may follow.
  numbers.forEach((number) => Deno.symlinkSync(`/proc/self/fd/${number}/../../..`, `${box.rootfs}/fd${number}`));
  box.startSleeping();
  for (const number of [3, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20]) {
    for (
      const cwd of [`/proc/self/fd/${number}`, `/proc/self/fd/${number}/..`, `/proc/1/fd/${number}`, `/fd${number}`]
    ) {
      const result = box.runc(["exec", "--cwd", cwd, box.id, "cat", `.${secret}`, `../../../../../..${secret}`]);
      assertNotEquals(result.code, 0, cwd);
      assertEquals(result.stdout, "", cwd);
    }
  }
  box.remove();
  for (const number of [3, 5, 7, 8, 9, 11, 13]) {
    box.write((config) => {
      config.process.cwd = `/proc/self/fd/${number}`;
      config.process.args = ["cat", `.${secret}`, `../../../../../..${secret}`];
    });
    const { code, stdout } = box.runc(["run", box.id], { cwd: path });
    assertEquals([code === 0, stdout], [false, ""], String(number));
    const program = box.run((config) => config.process.args = [`/proc/self/fd/${number}/usr/bin/true`]);
    assertNotEquals(program.code, 0, String(number));
  }
});

/** The number of the host's /proc in the process that sets a container up, as a hook finds it there. */
function numberOfProc(box: Box): number {
  const file = `${box.directory}/descriptors`;
  const script = `pid=$(sed 's/.*"pid":\\([0-9]*\\).*/\\1/'); ls -l /proc/$pid/fd >${file}`;
  assertEquals(
    box.run((config) => config.hooks = { prestart: [{ path: "/bin/sh", args: ["sh", "-c", script] }] }).code,
    0,
  );
  const [, number] = Deno.readTextFileSync(file).match(/ (\d+) -> \/proc$/m) ?? [];
  assert(number !== undefined, Deno.readTextFileSync(file));
  return Number(number);
}

comparing("CVE-2024-21626: a working directory is not made on the host, behind whatever link of the image", (box) => {
  const { path, content } = hostDirectory(box);
  Deno.chmodSync(path, 0o777);
  const found = numberOfProc(box);
  for (const number of [found - 1, found, found + 1]) {
    for (const [way, up] of [["up", ".."], ["root", "1/root"], ["own", "self/root"]]) {
      const link = `${way}${number}`;
      Deno.symlinkSync(`/proc/self/fd/${number}/${up}${path}`, `${box.rootfs}/${link}`);
      const { code } = box.run((config) => {
        config.root.readonly = false;
        config.process.cwd = `/${link}/made`;
      });
      assertNotEquals(code, 0, link);
    }
  }
  assertEquals(content(), ["secret"]);
});

// --- /proc --------------------------------------------------------------------------------------------------------------

comparing(
  "CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: /proc and /sys are where they are called, or nowhere",
  (box) => {
    Deno.mkdirSync(`${box.rootfs}/fake`);
    for (const name of ["proc", "sys"]) {
      replaceByLink(box, name, "fake");
      const refused = box.runRefused(() => {});
      assertMatch(refused.msg, /must be mounted on ordinary directory/, name);
      Deno.removeSync(`${box.rootfs}/${name}`);
      Deno.writeTextFileSync(`${box.rootfs}/${name}`, "");
      assertMatch(box.runRefused(() => {}).msg, /must be mounted on ordinary directory/, name);
      Deno.removeSync(`${box.rootfs}/${name}`);
      Deno.mkdirSync(`${box.rootfs}/${name}`);
    }
    assertEquals([...Deno.readDirSync(`${box.rootfs}/fake`)], []);
  },
);

comparing("CVE-2019-16884: a volume does not cover /proc, by its name or by a link of the image", (box) => {
  const { path } = hostDirectory(box);
  Deno.symlinkSync("/proc", `${box.rootfs}/data`);
  Deno.symlinkSync("/proc/self/attr", `${box.rootfs}/attr`);
  const cases: [string, RegExp][] = [
    ["/proc", /cannot be mounted because it is not of type proc/],
    ["/proc/self", /cannot be mounted because it is inside \/proc/],
    ["/tmp/../proc/self/attr", /cannot be mounted because it is inside \/proc/],
    ["/data", /cannot be mounted because it is inside \/proc/],
    ["/data/self/attr", /cannot be mounted because it is inside \/proc/],
    ["/attr", /cannot be mounted because it is inside \/proc/],
  ];
  for (const [destination, message] of cases) {
    for (const mount of [{ type: "bind", source: path, options: ["rbind"] }, { type: "tmpfs", source: "tmpfs" }]) {
      const refused = box.runRefused((config) => config.mounts.push({ destination, ...mount }));
      assertMatch(
        refused.msg,
        mount.type === "bind" || destination !== "/proc" ? message : /not of type proc/,
        destination,
      );
    }
  }
});

comparing(
  "CVE-2025-52881: what the runtime writes to /proc is written to the kernel's, whatever the container has there",
  (box) => {
    const script =
      "mount -t tmpfs tmpfs /proc && mkdir -p /proc/self/attr/apparmor /proc/thread-self/attr/apparmor && " +
      "for file in self/oom_score_adj self/attr/exec thread-self/attr/exec thread-self/attr/apparmor/exec; do " +
      "echo untouched > /proc/$file; done; echo ready > /tmp/ready; sleep 1000";
    box.write((config) => {
      privileged(config);
      config.root.readonly = false;
      config.process.oomScoreAdj = 500;
      config.process.args = ["sh", "-c", script];
    });
    box.must(["run", "--detach", box.id]);
    until("the false /proc", () => contentOf(`${box.rootfs}/tmp/ready`) !== "");
    // It is the kernel that refuses the profile: written to the false file it would be accepted.
    assertMatch(
      box.refused(["exec", "--apparmor", "no-such-profile", box.id, "true"]).msg,
      /apparmor failed to apply profile/,
    );
    const before = "cat /proc/self/oom_score_adj /proc/self/attr/exec /proc/thread-self/attr/exec";
    assertEquals(box.must(["exec", box.id, "sh", "-c", before]), "untouched\n".repeat(3));
    using exec = box.start(["exec", box.id, "sleep", "1000"]);
    const pids = () =>
      Deno.readTextFileSync(`${cgroupsNamed(box.name).find((one) => one.includes("/pids/"))}/cgroup.procs`).trim();
    const init = box.state().pid;
    const other = until(
      "the further process",
      () =>
        pids().split("\n").map(Number).find((pid) =>
          pid !== init && contentOf(`/proc/${pid}/cmdline`).startsWith("sleep") &&
          contentOf(`/proc/${pid}/stat`).split(" ")[3] !== String(init)
        ),
    );
    assertEquals(contentOf(`/proc/${other}/oom_score_adj`), "500\n");
    box.remove();
    exec.wait();
  },
);

comparing("CVE-2025-52881: a sysctl is the kernel's, not a file that the image has there", (box) => {
  Deno.mkdirSync(`${box.rootfs}/proc/sys/kernel`, { recursive: true });
  Deno.writeTextFileSync(`${box.rootfs}/proc/sys/kernel/shmmni`, "untouched");
  assertEquals(
    box.sh("cat /proc/sys/kernel/shmmni", (config) => config.linux.sysctl = { "kernel.shmmni": "1234" }),
    "1234\n",
  );
  // Without a procfs of its own the file of the image is what the container sees, and nothing was written to it.
  const seen = box.sh("cat /proc/sys/kernel/shmmni", (config) => {
    withoutMount("/proc")(config);
    config.linux.sysctl = { "kernel.shmmni": "1234" };
    config.linux.maskedPaths = [];
    config.linux.readonlyPaths = [];
  });
  assertEquals(seen, "untouched");
});

// --- /dev ---------------------------------------------------------------------------------------------------------------

comparing("CVE-2025-31133: nothing but the null device masks a path", (box) => {
  const { secret } = hostDirectory(box);
  const attempts: [string, () => void][] = [
    ["a link to a file to be bound", () => Deno.symlinkSync("/proc/sys/kernel/core_pattern", `${box.rootfs}/dev/null`)],
    ["a link to the host's file", () => Deno.symlinkSync(secret, `${box.rootfs}/dev/null`)],
    ["a file", () => Deno.writeTextFileSync(`${box.rootfs}/dev/null`, "of the image")],
    ["another device", () => void execute(["/usr/bin/mknod", `${box.rootfs}/dev/null`, "c", "1", "5"])],
  ];
  for (const [name, attack] of attempts) {
    attack();
    const refused = box.runRefused(ownDev);
    assertMatch(refused.msg, /\/dev\/null/, name);
    Deno.removeSync(`${box.rootfs}/dev/null`);
  }
  assertEquals(Deno.readTextFileSync(secret), "of the host\n");
});

comparing("CVE-2025-52565: /dev/console is not mounted on what the image has in its place", (box) => {
  const { secret, content } = hostDirectory(box);
  const targets = ["/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", ...linksTo(secret)];
  for (const target of targets) {
    Deno.symlinkSync(target, `${box.rootfs}/dev/console`);
    box.write((config) => {
      ownDev(config);
      config.process.terminal = true;
      config.process.args = ["sh", "-c", "cat /proc/self/mountinfo > /tmp/mounts"];
    });
    const { master, slave } = openPty(kernel);
    using _master = master;
    using _slave = slave;
    {
      // Whether it is refused, or the console is somewhere else: no terminal lies on the target.
      using running = box.start(["run", box.id], { stdin: slave, stdout: slave });
      until("its end", () => running.isOver);
    }
    const mounted = contentOf(`${box.rootfs}/tmp/mounts`).split("\n").filter((line) => line.includes(" - devpts "))
      .map((line) => line.split(" ")[4]);
    assertEquals(mounted.filter((place) => place !== "/dev/pts" && place !== "/dev/console"), [], target);
    Deno.removeSync(`${box.rootfs}/dev/console`);
  }
  assertEquals([Deno.readTextFileSync(secret), content()], ["of the host\n", ["secret"]]);
});

comparing("CVE-2026-41579, CVE-2026-47766: a /dev that is a link fills the rootfs, not the host", (box) => {
  const { path, content } = hostDirectory(box);
  Deno.writeTextFileSync(`${path}/ptmx`, "");
  for (const target of linksTo(path)) {
    replaceByLink(box, "dev", target);
    box.run((config) => {
      ownDev(config);
      config.linux.devices = [{ path: "/dev/fuse", type: "c", major: 10, minor: 229 }];
    });
    assertEquals(content(), ["ptmx", "secret"], target);
  }
});

// --- files that are made on the way -------------------------------------------------------------------------------------

comparing(
  "CVE-2021-30465, CVE-2024-45310: what is made for a mount is made in the rootfs, through whatever links",
  (box) => {
    const { path, content } = hostDirectory(box);
    for (const target of linksTo(path)) {
      Deno.symlinkSync(target, `${box.rootfs}/volume`);
      box.run((config) => {
        config.root.readonly = false;
        config.mounts.push(
          { destination: "/volume/directory/deep", type: "tmpfs", source: "tmpfs" },
          { destination: "/volume/file", type: "bind", source: "/etc/hostname", options: ["bind"] },
        );
        config.process.cwd = "/volume/cwd/deep";
        config.linux.devices = [{ path: "/volume/node", type: "c", major: 1, minor: 3 }];
      });
      assertEquals(content(), ["secret"], target);
      Deno.removeSync(`${box.rootfs}/volume`);
    }
  },
);

comparing("CVE-2025-24965: neither are the files that the runtime itself brings", (box) => {
  const { path, content } = hostDirectory(box);
  Deno.symlinkSync(linksTo(path)[1]!, `${box.rootfs}/run`);
  box.write();
  // The sd_notify proxy's socket goes to /run/notify.
  box.runc(["run", box.id], { env: { NOTIFY_SOCKET: `${box.directory}/nobody` } });
  assertEquals(content(), ["secret"]);
});

/** Exchanges two names for ever, but leaves half of a processor to those who race with it: renameat2(2) is 316 on x86_64 and 276 on aarch64; RENAME_EXCHANGE is 2, AT_FDCWD −100. */
function exchanger(left: string, right: string): Running {
  const call = Deno.build.arch === "x86_64" ? 316 : 276;
  return new Running([
    "/usr/bin/perl",
    "-e",
    `my ($l, $r) = @ARGV; $| = 1; print "ready"; while (1) { syscall(${call}, -100, $l, -100, $r, 2) for 1 .. 500; select(undef, undef, undef, 0.0005) }`,
    left,
    right,
  ]);
}

/** How often a race is run. */
interface Race {
  readonly runtime: Runtime;
  readonly starts: number;
  /** Starts at the same time. */
  readonly lanes: number;
  /** Mounts of each start that race. */
  readonly mounts: number;
}

/** As cheap a container as can be, in a bundle of its own, with mounts below a directory that is being swapped. */
function writeLane(
  box: Box,
  lane: number,
  round: number,
  race: { volume: string; host: string; mounts: number },
): string {
  const bundle = `${box.directory}/lane-${lane}`;
  // A rootfs for each: two that fill one /dev at the same time would hinder each other.
  if (round === 0) makeRootfs(`${bundle}/rootfs`);
  box.write((config) => {
    config.root = { path: "rootfs", readonly: false };
    config.linux.cgroupsPath = `${box.cgroup}-${lane}`;
    config.linux.namespaces = [{ type: "mount" }, { type: "pid" }];
    config.linux.maskedPaths = [];
    config.linux.readonlyPaths = [];
    delete config.hostname;
    config.mounts = [
      { destination: "/proc", type: "proc", source: "proc" },
      { destination: `/volume-${lane}`, type: "bind", source: race.volume, options: ["rbind"] },
    ];
    for (let index = 0; index < race.mounts; index++) {
      const destination = `/volume-${lane}/swap/${lane}-${round}-${index}`;
      // Directories and files in turn: both are made where they are missing.
      const source = index % 2 === 0 ? race.host : "/etc/hostname";
      config.mounts.push({ destination, type: "bind", source, options: ["bind", "ro"] });
    }
    // A mount that is not below the container's root is not in its table: all have to be.
    config.process.args = ["grep", "-c", `/${lane}-${round}-`, "/proc/self/mountinfo"];
  });
  Deno.renameSync(`${box.bundle}/config.json`, `${bundle}/config.json`);
  return bundle;
}

/** A directory becomes a link to the host and a directory again, for ever, while containers start whose mounts go below it. */
function raceStarts(box: Box, { starts, lanes, mounts }: Race): void {
  const { path, content } = hostDirectory(box);
  const volume = `${box.directory}/volume`;
  Deno.mkdirSync(`${volume}/swap`, { recursive: true });
  Deno.symlinkSync(linksTo(path)[1]!, `${volume}/link`);
  using racer = exchanger(`${volume}/swap`, `${volume}/link`);
  racer.says("ready");
  let won = 0;
  for (let round = 0; round < starts / lanes; round++) {
    const running = Array.from({ length: lanes }, (_, lane) => {
      const bundle = writeLane(box, lane, round, { volume, host: path, mounts });
      return box.start(["run", "--bundle", bundle, `lane-${lane}`]);
    });
    for (const one of running) {
      using start = one;
      const { code, stdout, stderr } = start.wait();
      if (code === 0) {
        assertEquals(stdout, `${mounts}\n`);
        won++;
      } else {
        assertMatch(stderr, /error mounting|mkdirat|openat/, "the race makes a start fail, and nothing else");
      }
    }
    assertEquals(content(), ["secret"]);
  }
  assert(won > 0, "some got through");
  racer.signal(9);
  racer.wait();
}

const races: readonly Race[] = [
  { runtime: "native", starts: 1000, lanes: 2, mounts: 2 },
  { runtime: "native", starts: 30, lanes: 1, mounts: 20 },
  { runtime: "deno", starts: 30, lanes: 1, mounts: 20 },
];
for (const race of races) {
  const { runtime, starts, mounts } = race;
  Deno.test(
    `CVE-2021-30465, CVE-2024-45310: ${runtime}: in ${starts} starts ${mounts} mounts race a directory that becomes a link to the host`,
    () => inBox(runtime, (box) => raceStarts(box, race)),
  );
}

// --- the rest -----------------------------------------------------------------------------------------------------------

comparing("CVE-2021-43784: nothing that is too long for one field is taken for another", (box) => {
  const long = box.runRefused((config) => {
    const network = config.linux.namespaces.find(({ type }) => type === "network")!;
    network.path = `/proc/self/ns/net/${"../net/".repeat(10_000)}`;
  });
  assertMatch(long.msg, /file name too long|namespace path/);
  const many = box.runRefused((config) => {
    config.linux.namespaces.push({ type: "user" });
    const mappings = Array.from({ length: 5000 }, (_, index) => ({
      containerID: index * 2,
      hostID: 100_000 + index * 2,
      size: 1,
    }));
    config.linux.uidMappings = mappings;
    config.linux.gidMappings = mappings;
  });
  assertMatch(many.msg, /[ug]id_map: invalid argument/i);
  assert(many.msg.length < 1000, "an error of a readable length");
});

comparing(
  "CVE-2023-25809: without a cgroup namespace of its own a user namespace cannot write to the host's cgroups",
  (box) => {
    const change: Change = (config) => {
      config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "cgroup");
      config.linux.namespaces.push({ type: "user" });
      const mapping = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
      config.linux.uidMappings = mapping;
      config.linux.gidMappings = mapping;
    };
    const script =
      "for at in $(grep ' - cgroup' /proc/self/mountinfo | cut -d' ' -f5); do mkdir $at/escape 2>/dev/null && echo made $at; " +
      "echo 1 2>/dev/null > $at/cgroup.procs && echo wrote $at; done; echo end";
    Deno.chmodSync(box.rootfs, 0o755);
    assertEquals(box.sh(`{ ${script}; } 2>/dev/null`, change), "end\n");
  },
);

Deno.test("cgroup paths stay below the hierarchy: cgroupsPath and exec --cgroup with ..", () => {
  inBox("native", (box) => {
    box.startSleeping((config) => config.linux.cgroupsPath = `/../../..${box.cgroup}/../..${box.cgroup}`);
    const mine = Deno.readTextFileSync(`/proc/${box.state().pid}/cgroup`).split("\n").filter((line) => line !== "");
    assert(mine.every((line) => !line.includes("..")), mine.join("\n"));
    for (const sub of ["..", "../..", "/..", "a/../../.."]) {
      assertMatch(box.refused(["exec", "--cgroup", sub, box.id, "true"]).msg, /not a sub cgroup path|cgroup/, sub);
    }
    box.remove();
  });
});

comparing("host programs in the container do not make the runtime's own loadable from there", (box) => {
  // With the host's libraries a copy of Deno would even run: its /proc/self/exe must not be one.
  box.write((config) => {
    addHostPrograms(box)(config);
    config.process.args = ["/proc/self/exe", "--version"];
  });
  const { code, stdout } = box.runc(["run", box.id]);
  assertEquals([code === 0, stdout], [false, ""]);
}, ["native"]);
