/**
 * Attacks on container runtimes that have a number: each is tried here, and has to fail. The rootfs is the attacker's, and so is whatever
 * runs in the container; config.json, the command line and the host are not.
 */

import { dirname } from "@std/path";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { contentOf } from "../integration/foreground_harness.ts";
import {
  addHostPrograms,
  type Box,
  type Change,
  comparing,
  execute,
  inBox,
  kernel,
  program as runtimeProgram,
  until,
  withUserNamespace,
} from "../integration/harness.ts";
import { cgroupsNamed } from "../integration/leftovers.ts";
import { openPath } from "../../lib/ffi/files.ts";
import { numberOfProc, openNumbers, stopBehind } from "./stopped.ts";
import { hostDirectory, linksTo } from "./swapper.ts";
import { openPty } from "../fixtures/pty.ts";
import { writeDenying } from "../fixtures/tiny_program.ts";

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

comparing(
  "CVE-2022-27650, CVE-2025-27612, CVE-2022-24769, CVE-2022-29162: no capability is inheritable that the config does not make so",
  (box) => {
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
  },
);

comparing("CVE-2016-8867: a user other than root has only the capabilities that the config makes ambient", (box) => {
  const sets = "grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status | tr -d '\\n'";
  const change: Change = (config) => {
    const names = ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"];
    const ambient = ["CAP_NET_ADMIN"];
    config.process.user = { uid: 1000, gid: 1000 };
    config.process.capabilities = {
      bounding: names,
      effective: names,
      permitted: names,
      inheritable: ambient,
      ambient,
    };
  };
  // CAP_NET_ADMIN is number 12.
  const expected = ["Inh", "Prm", "Eff", "Amb"].map((name) => `Cap${name}:\t0000000000001000`).join("");
  assertEquals(box.sh(sets, change), expected);
  box.startSleeping(change);
  assertEquals(box.must(["exec", box.id, "sh", "-c", sets]), expected);
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
    "for fd in /proc/1/fd/*; do readlink $fd >/dev/null && echo seen;",
    `for file in ${ways.join(" ")} $fd/1/root${secret} $fd${secret}; do cat $file 2>/dev/null; done;`,
    "done;",
    `cat /proc/1/cwd${secret} /proc/1/root${secret} 2>/dev/null; echo done`,
  ].join(" ");
  // With CAP_SYS_PTRACE all of its descriptors are there to be tried.
  const tried = openNumbers(box.state().pid).length;
  assertEquals(box.must(["exec", box.id, "sh", "-c", look]), `${"seen\n".repeat(tried)}done\n`);
  box.must(["start", box.id]);
  box.remove();
});

/** Every file that the runtime consists of, with what tells that it was changed. */
function programFiles(): Record<string, string> {
  const script = `${dirname(runtimeProgram)}/runc.js`;
  const files = [runtimeProgram, Deno.execPath(), ...(contentOf(script) === "" ? [] : [script])];
  return Object.fromEntries(files.map((path) => {
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

/** What a directory that is not the container's is refused with, or one that is not there. */
const badDirectory =
  /chdir to cwd \(.*\) set in config\.json failed: (no such file or directory|not a directory)|mkdir .*: no such file or directory|current working directory is outside of container mount namespace root/;

comparing("CVE-2024-21626: no descriptor of an exec leads to the host, as working directory", (box) => {
  const { secret } = hostDirectory(box);
  box.startSleeping();
  // All that are open in the stage, which every later process has by the same numbers or not at all, and one on each side.
  let numbers: number[];
  {
    using stage = stopBehind(box, "setns", ["exec", box.id, "true"]);
    const open = openNumbers(stage.pid);
    const links = open.map((number) => Deno.readLinkSync(`/proc/${stage.pid}/fd/${number}`));
    assert(links.includes("/proc"), `the stage was looked at while it has the host's /proc: ${links}`);
    numbers = [...new Set(open.flatMap((number) => [number - 1, number, number + 1]))].filter((number) => number > 2);
  }
  // A link in the image is one that cwd may follow.
  numbers.forEach((number) => Deno.symlinkSync(`/proc/self/fd/${number}/..`, `${box.rootfs}/fd${number}`));
  // As there, for a runtime that is traced has other numbers.
  const prefix = ["/usr/bin/strace", "--follow-forks", "--trace=setns", "--output=/dev/null"];
  for (const number of numbers) {
    for (const cwd of [`/proc/self/fd/${number}`, `/fd${number}`]) {
      const attack = ["exec", "--cwd", cwd, box.id, "cat", `.${secret}`, `1/root${secret}`];
      const { code, stdout, stderr } = box.runc(attack, { prefix });
      assertEquals([code, stdout], [255, ""], cwd);
      assertMatch(stderr, badDirectory, cwd);
    }
  }
  box.remove();
});

comparing(
  "CVE-2024-21626: no descriptor of run leads to the host, as working directory or as the program's path",
  (box) => {
    const { path, secret } = hostDirectory(box);
    const found = numberOfProc(box);
    for (const number of [3, found - 2, found - 1, found, found + 1, found + 2]) {
      box.write((config) => {
        config.process.cwd = `/proc/self/fd/${number}`;
        config.process.args = ["cat", `.${secret}`, `1/root${secret}`];
      });
      const { code, stdout, stderr } = box.runc(["run", "--bundle", box.bundle, box.id], { cwd: path });
      assertEquals([code, stdout], [1, ""], String(number));
      assertMatch(stderr, badDirectory, String(number));
      const { msg } = box.runRefused((config) => config.process.args = [`/proc/self/fd/${number}/1/root/usr/bin/true`]);
      assertMatch(
        msg,
        /exec: "\/proc\/self\/fd\/.*: stat .*: (no such file or directory|not a directory)/,
        String(number),
      );
    }
  },
);

comparing("CVE-2024-21626: a directory of the host is no working directory, though the caller passes it on", (box) => {
  const { path, secret } = hostDirectory(box);
  using directory = openPath(kernel, path);
  const fds = { 3: directory };
  const cwd = "/proc/self/fd/3";
  const reason =
    /current working directory is outside of container mount namespace root -- possible container breakout/;
  box.write((config) => {
    config.process.cwd = cwd;
    config.process.args = ["cat", "secret"];
  });
  assertMatch(box.refused(["run", "--preserve-fds", "1", box.id], { fds }).msg, reason);
  box.startSleeping();
  const exec = ["exec", "--preserve-fds", "1"];
  assertMatch(box.refused([...exec, "--cwd", cwd, box.id, "cat", "secret"], { fds }).msg, reason);
  // It is there for those who are meant to have it.
  assertEquals(box.must([...exec, box.id, "cat", `${cwd}/secret`], { fds }), "of the host\n");
  assertEquals(Deno.readTextFileSync(secret), "of the host\n");
  box.remove();
});

comparing("CVE-2024-21626: a process that sees all of an exec's descriptors does not reach the host by them", (box) => {
  const { secret } = hostDirectory(box);
  box.startSleeping(privileged);
  {
    using stopped = stopBehind(box, "keyctl", ["exec", box.id, "true"]);
    const tried = openNumbers(stopped.pid).length;
    const name = Deno.readTextFileSync(`/proc/${stopped.pid}/status`).match(/^NSpid:\t\d+\t(\d+)$/m)?.[1];
    const ways = [".", "..", "../..", "1/root", "self/root", "../1/root"].map((way) => `$fd/${way}${secret}`);
    const look = `for fd in /proc/${name}/fd/*; do readlink $fd > /dev/null && echo seen; cat ${
      ways.join(" ")
    } 2>/dev/null; done; cat /proc/${name}/root${secret} /proc/${name}/cwd${secret} 2>/dev/null; echo done`;
    assertEquals(box.must(["exec", box.id, "sh", "-c", look]), `${"seen\n".repeat(tried)}done\n`);
  }
  box.remove();
});

comparing("CVE-2024-21626: a working directory is not made on the host, behind whatever link of the image", (box) => {
  const { path, content } = hostDirectory(box);
  Deno.chmodSync(path, 0o777);
  const found = numberOfProc(box);
  for (const number of [found - 1, found, found + 1]) {
    for (const [way, up] of [["up", ".."], ["root", "1/root"], ["own", "self/root"]]) {
      const link = `${way}${number}`;
      Deno.symlinkSync(`/proc/self/fd/${number}/${up}${path}`, `${box.rootfs}/${link}`);
      const { msg } = box.runRefused((config) => {
        config.root.readonly = false;
        config.process.cwd = `/${link}/made`;
      });
      assertMatch(
        msg,
        /mkdir \/.*\/made: |cannot make sure that \/.*\/made exists: |chdir to cwd \(.*\/made"\) .* failed: /,
        link,
      );
    }
  }
  assertEquals(content(), ["secret"]);
});

// --- /proc --------------------------------------------------------------------------------------------------------------

comparing(
  "CVE-2025-54867, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: /proc and /sys are where they are called, or nowhere",
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
    // On the way too, where another place than the usual one is asked for.
    Deno.mkdirSync(`${box.rootfs}/fake/proc`);
    Deno.symlinkSync("fake", `${box.rootfs}/way`);
    const below: Change = (config) => config.mounts.push({ destination: "/way/proc", type: "proc", source: "proc" });
    assertMatch(box.runRefused(below).msg, /must be mounted on ordinary directory/);
    assertEquals([...Deno.readDirSync(`${box.rootfs}/fake`)].map(({ name }) => name), ["proc"]);
    assertEquals(box.sh("cat /proc/self/comm"), "cat\n");
  },
);

comparing(
  "CVE-2015-3631, CVE-2019-16884: a volume does not cover /proc, by its name or by a link of the image",
  (box) => {
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
  },
);

comparing(
  "CVE-2025-62596, CVE-2025-52881: what the runtime writes to /proc is written to the kernel's, whatever the container has there",
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
    config.root.readonly = false;
    config.linux.sysctl = { "kernel.shmmni": "1234" };
    config.linux.maskedPaths = [];
    config.linux.readonlyPaths = [];
  });
  assertEquals(seen, "untouched");
});

comparing("CVE-2025-52881: a file that is mounted on one of the host's /proc is not written to", (box) => {
  const trap = `${box.directory}/trap`;
  Deno.writeTextFileSync(trap, "untouched");
  const script = `mount --bind ${trap} /proc/sys/kernel/domainname && exec "$@"`;
  const prefix = ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", script, "sh"];
  box.write((config) => config.linux.sysctl = { "kernel.domainname": "inside" });
  const { msg, errno } = box.refused(["run", box.id], { prefix });
  assertMatch(msg, /error setting sysctl kernel\.domainname/);
  assertEquals([errno, Deno.readTextFileSync(trap)], ["EXDEV", "untouched"]);
  // Nothing else hinders it.
  assertEquals(box.must(["run", box.id]), "");
});

comparing(
  "CVE-2025-52881: an AppArmor profile is told to the kernel, not to a file that the image has there",
  (box) => {
    for (const file of ["self/attr/exec", "thread-self/attr/exec", "thread-self/attr/apparmor/exec"]) {
      Deno.mkdirSync(`${box.rootfs}/proc/${dirname(file)}`, { recursive: true });
      Deno.writeTextFileSync(`${box.rootfs}/proc/${file}`, "untouched", { mode: 0o666 });
    }
    const { msg, field } = box.runRefused((config) => {
      withoutMount("/proc")(config);
      config.linux.maskedPaths = [];
      config.linux.readonlyPaths = [];
      config.root.readonly = false;
      config.process.apparmorProfile = "no-such-profile";
    });
    // Written to one of the false files it would be accepted.
    assertMatch(msg, /apparmor failed to apply profile/);
    assertEquals(field, "/process/apparmorProfile");
    for (const file of ["self/attr/exec", "thread-self/attr/exec", "thread-self/attr/apparmor/exec"]) {
      assertEquals(Deno.readTextFileSync(`${box.rootfs}/proc/${file}`), "untouched", file);
    }
  },
);

comparing("CVE-2026-115521: what becomes read-only is no matter of links that the image has in /proc", (box) => {
  for (let number = 3; number < 100; number++) {
    Deno.mkdirSync(`${box.rootfs}/proc/self/fd`, { recursive: true });
    Deno.symlinkSync("/decoy", `${box.rootfs}/proc/self/fd/${number}`);
  }
  Deno.mkdirSync(`${box.rootfs}/decoy`);
  const change: Change = (config) => {
    withoutMount("/proc")(config);
    config.mounts.push({ destination: "/decoy", type: "tmpfs", source: "tmpfs" });
    config.linux.maskedPaths = [];
    config.linux.readonlyPaths = [];
    config.root.readonly = true;
  };
  const script = "for at in / /decoy; do touch $at/file && echo wrote $at; done 2>/dev/null; true";
  assertEquals(box.sh(script, change), "wrote /decoy\n");
  // By mount(2), which knows a mount by a path: where the calls for descriptors are refused. The other executor needs them.
  const names = ["open_tree", "move_mount", "mount_setattr", "fsopen", "fsconfig", "fsmount"] as const;
  writeDenying(`${box.directory}/refusing`, names, "ENOSYS");
  assertEquals(box.sh(script, change, { prefix: [`${box.directory}/refusing`] }), "wrote /decoy\n");
}, ["native"]);

comparing("a sysctl of the host is refused, by whatever name", (box) => {
  const names = ["kernel.core_pattern", "kernel/core_pattern", "fs.suid_dumpable", "net/../kernel/core_pattern"];
  for (const name of names) {
    // Were it written it would be what it is already.
    const file = name.includes("suid") ? "fs/suid_dumpable" : "kernel/core_pattern";
    const value = Deno.readTextFileSync(`/proc/sys/${file}`).trimEnd();
    const { msg, field } = box.runRefused((config) => config.linux.sysctl = { [name]: value });
    assertMatch(msg, /is not in a separate kernel namespace|is not a name below \/proc\/sys/, name);
    assertEquals(field, `/linux/sysctl/${name.replaceAll("/", "~1")}`);
  }
});

// --- /dev ---------------------------------------------------------------------------------------------------------------

comparing("CVE-2025-62161, CVE-2026-88265, CVE-2025-31133: nothing but the null device masks a path", (box) => {
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
    assertMatch(refused.msg, /container's \/dev\/null is invalid|open \/dev\/null: /, name);
    Deno.removeSync(`${box.rootfs}/dev/null`);
  }
  // With the null device in its place the same container starts.
  assertEquals(box.sh("wc -c < /proc/timer_list", ownDev), "0\n");
  assertEquals(Deno.readTextFileSync(secret), "of the host\n");
});

/** Runs a container that wants a terminal, at one. What it prints to it is lost. */
function runAtTerminal(box: Box): { code: number; stderr: string } {
  const { master, slave } = openPty(kernel);
  using _master = master;
  using _slave = slave;
  using running = box.start(["run", box.id], { stdin: slave, stdout: slave });
  return running.wait();
}

comparing("CVE-2026-88264, CVE-2025-52565: /dev/console is not mounted on what the image has in its place", (box) => {
  const { secret, content } = hostDirectory(box);
  const atTerminal: Change = (config) => {
    ownDev(config);
    config.process.terminal = true;
    config.process.args = ["sh", "-c", "cat /proc/self/mountinfo > /tmp/mounts"];
  };
  const targets = ["/etc/passwd", "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", ...linksTo(secret)];
  for (const target of targets) {
    Deno.symlinkSync(target, `${box.rootfs}/dev/console`);
    box.write(atTerminal);
    const { code, stderr } = runAtTerminal(box);
    assertEquals(code, 1, target);
    assertMatch(
      stderr,
      /cannot make \/dev\/console and bind the terminal on it: openat2: too many levels of symbolic links/,
      target,
    );
    Deno.removeSync(`${box.rootfs}/dev/console`);
  }
  // Without the link the same container has its terminal there.
  assertEquals(runAtTerminal(box), { code: 0, stdout: "", stderr: "" } as unknown);
  const mounted = contentOf(`${box.rootfs}/tmp/mounts`).split("\n").filter((line) => line.includes(" - devpts "));
  assertEquals(mounted.map((line) => line.split(" ")[4]).sort(), ["/dev/console", "/dev/pts"]);
  assertEquals([Deno.readTextFileSync(secret), content()], ["of the host\n", ["secret"]]);
});

comparing("CVE-2025-52565: a terminal is of the container's own devpts, or there is none", (box) => {
  const number = numberOfProc(box, (config) => config.process.terminal = true, () => runAtTerminal(box));
  const pts = `${box.rootfs}/dev/pts`;
  Deno.mkdirSync(pts);
  const attempts: [string, RegExp, () => void][] = [
    ["a file", /is not the multiplexor of a devpts/, () => Deno.writeTextFileSync(`${pts}/ptmx`, "", { mode: 0o666 })],
    [
      "a node of another file system",
      /is not the multiplexor of a devpts|no such file or directory/,
      () => void execute(["/usr/bin/mknod", "-m", "666", `${pts}/ptmx`, "c", "5", "2"]),
    ],
    ["a link", /too many levels of symbolic links/, () => Deno.symlinkSync("/dev/ptmx", `${pts}/ptmx`)],
    ...[number - 1, number, number + 1].map((fd): [string, RegExp, () => void] => [
      `a link to the host's devpts, by descriptor ${fd}`,
      /too many levels of symbolic links|no such file or directory|not a directory/,
      () => {
        Deno.removeSync(pts);
        Deno.symlinkSync(`/proc/self/fd/${fd}/1/root/dev/pts`, pts);
      },
    ]),
  ];
  for (const [name, reason, attack] of attempts) {
    attack();
    box.write((config) => {
      ownDev(config);
      withoutMount("/dev/pts")(config);
      config.process.terminal = true;
      config.process.args = ["sh", "-c", "tty"];
    });
    const { code, stderr } = runAtTerminal(box);
    assertEquals(code, 1, name);
    assertMatch(stderr, reason, name);
    assertMatch(stderr, /step="open a pty and unlock it"/, name);
    if (Deno.lstatSync(pts).isSymlink) Deno.removeSync(pts);
    else Deno.removeSync(`${pts}/ptmx`);
    if (name.startsWith("a link to")) Deno.mkdirSync(pts);
  }
});

comparing("CVE-2026-41579, CVE-2026-47766: a /dev that is a link fills the rootfs, not the host", (box) => {
  const { path, content } = hostDirectory(box);
  Deno.writeTextFileSync(`${path}/ptmx`, "");
  for (const target of linksTo(path)) {
    replaceByLink(box, "dev", target);
    const change: Change = (config) => {
      ownDev(config);
      for (const name of ["/dev/pts", "/dev/shm", "/dev/mqueue"]) withoutMount(name)(config);
      config.linux.devices = [{ path: "/dev/fuse", type: "c", major: 10, minor: 229 }];
    };
    // It leads to nothing in there.
    const { msg } = box.runRefused(change);
    assertEquals(content(), ["ptmx", "secret"], target);
    assertMatch(msg, /cannot open \/dev or make it: openat2: no such file or directory/, target);
    // Where it does, the rootfs is filled.
    Deno.mkdirSync(`${box.rootfs}${path}`, { recursive: true });
    assertEquals(box.sh(`test -c ${path}/fuse && test -c ${path}/null && echo made`, change), "made\n", target);
    assertEquals(content(), ["ptmx", "secret"], target);
    Deno.removeSync(`${box.rootfs}${path}`, { recursive: true });
  }
});

// --- files that are made on the way -------------------------------------------------------------------------------------

comparing(
  "CVE-2015-3629, CVE-2019-18837, CVE-2021-30465, CVE-2024-45310: what is made for a mount is made in the rootfs, through whatever links",
  (box) => {
    const { path, content } = hostDirectory(box);
    for (const target of linksTo(path)) {
      Deno.symlinkSync(target, `${box.rootfs}/volume`);
      const inside = `${box.rootfs}${path}`;
      const look = `for name in directory/deep file cwd/deep node; do test -e ${path}/$name && echo $name; done; pwd`;
      const { stdout, stderr } = box.run((config) => {
        config.root.readonly = false;
        config.process.args = ["sh", "-c", look];
        config.mounts.push(
          { destination: "/volume/directory/deep", type: "tmpfs", source: "tmpfs" },
          { destination: "/volume/file", type: "bind", source: "/etc/hostname", options: ["bind"] },
        );
        config.process.cwd = "/volume/cwd/deep";
        config.linux.devices = [{ path: "/volume/node", type: "c", major: 1, minor: 3 }];
      });
      assertEquals(content(), ["secret"], target);
      // All of it is in the rootfs, where the link leads inside.
      assertEquals(stdout, `directory/deep\nfile\ncwd/deep\nnode\n${path}/cwd/deep\n`, `${target}: ${stderr}`);
      Deno.removeSync(`${box.rootfs}/volume`);
      Deno.removeSync(inside, { recursive: true });
    }
  },
);

comparing("CVE-2025-24965: neither are the files that the runtime itself brings", (box) => {
  const { path, content } = hostDirectory(box);
  Deno.symlinkSync(linksTo(path)[1]!, `${box.rootfs}/run`);
  // The sd_notify proxy's socket goes to /run/notify, which is behind the link.
  const script = "echo $NOTIFY_SOCKET; test -S $NOTIFY_SOCKET && echo socket; readlink /run";
  const { stdout } = box.run((config) => config.process.args = ["sh", "-c", script], {
    env: { NOTIFY_SOCKET: `${box.directory}/nobody` },
  });
  assertEquals(content(), ["secret"]);
  assertEquals(stdout, `/run/notify/notify.sock\nsocket\n${linksTo(path)[1]}\n`);
});

// --- the rest -----------------------------------------------------------------------------------------------------------

comparing("CVE-2021-43784: nothing that is too long for one field is taken for another", (box) => {
  const long = box.runRefused((config) => {
    const network = config.linux.namespaces.find(({ type }) => type === "network")!;
    network.path = `/proc/self/ns/net/${"../net/".repeat(10_000)}`;
  });
  assertMatch(long.msg, /namespace path.*file name too long|file name too long/);
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
      withUserNamespace()(config);
    };
    const script =
      `for at in $(grep ' - cgroup' /proc/self/mountinfo | cut -d' ' -f5); do mkdir $at/${box.name} && echo made $at; ` +
      "echo 1 > $at/cgroup.procs && echo wrote $at; test -e $at/cgroup.procs && echo tried; done; echo end";
    Deno.chmodSync(box.rootfs, 0o755);
    const seen = box.sh(`{ ${script}; } 2>/dev/null`, change);
    assertMatch(seen, /^(tried\n)+end\n$/);
  },
);

Deno.test("cgroup paths stay below the hierarchy: cgroupsPath and exec --cgroup with ..", () => {
  inBox("native", (box) => {
    box.startSleeping((config) => config.linux.cgroupsPath = `/../../..${box.cgroup}/../..${box.cgroup}`);
    const mine = Deno.readTextFileSync(`/proc/${box.state().pid}/cgroup`).split("\n").filter((line) => line !== "");
    assert(mine.every((line) => !line.includes("..")), mine.join("\n"));
    assertEquals(mine.every((line) => line.endsWith(box.cgroup) || line.endsWith(":/")), true, mine.join("\n"));
    for (const sub of ["..", "../..", "/..", "a/../../.."]) {
      assertMatch(box.refused(["exec", "--cgroup", sub, box.id, "true"]).msg, /bad sub cgroup path: /, sub);
    }
    box.remove();
  });
});

comparing("host programs in the container do not make the runtime's own loadable from there", (box) => {
  // With the host's libraries a copy of Deno would even run: its /proc/self/exe must not be one.
  const change = addHostPrograms(box);
  assertEquals(box.sh("perl -e 'print qq(ran\\n)'", change), "ran\n");
  const { code, stdout } = box.run((config) => {
    change(config);
    config.process.args = ["/proc/self/exe", "--version"];
  });
  // What ran is the image again, which nobody speaks to.
  assertEquals([code, stdout], [1, ""]);
}, ["native"]);

comparing("an id is no path: no other directory is taken for a container's", (box) => {
  box.startSleeping();
  const config = Deno.readTextFileSync(`${box.bundle}/config.json`);
  for (const id of ["..", ".", "../bundle", `x/../${box.id}`, `/${box.id}`, ""]) {
    for (const command of [["delete", "--force"], ["state"], ["kill"], ["run"]]) {
      const { msg } = box.refused([...command, id]);
      assertMatch(msg, /invalid container ID format|container id cannot be empty/, `${command} ${id}`);
    }
  }
  assertEquals(Deno.readTextFileSync(`${box.bundle}/config.json`), config);
  assertEquals(box.state().status, "running");
  box.remove();
});

comparing("CVE-2026-135844: an image's /etc/passwd does not make the runtime read without end", (box) => {
  const noHome: Change = (config) =>
    config.process.env = config.process.env.filter((entry) => !entry.startsWith("HOME="));
  const passwd = `${box.rootfs}/etc/passwd`;
  Deno.truncateSync(passwd, 17 * 1024 * 1024);
  assertMatch(box.runRefused(noHome).msg, /\/etc\/passwd is over 16 MiB/);
  Deno.truncateSync(passwd, 15 * 1024 * 1024);
  assertEquals(box.sh("echo $HOME", noHome).length > 1, true);
});
