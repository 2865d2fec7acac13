/** linux.seccomp in containers: what is denied, of whom, and by which filter; the agent; the filters that are kept. As root. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { encodeEntry, FilterCache } from "../../lib/libcontainer/seccomp/cache.ts";
import type { Seccomp } from "../../lib/specs/config.ts";
import { engineProfile } from "../fixtures/seccomp_profile.ts";
import { writeDenying } from "../fixtures/tiny_program.ts";
import { AuditArch, runBpf } from "../unit/bpf_machine.ts";
import {
  type Box,
  Box as TestBox,
  boxTest,
  type Change,
  comparing,
  everyone,
  execute,
  inBox,
  kernel,
  makeRootfs,
} from "../integration/harness.ts";
import { Agent, loadedFilter } from "../integration/seccomp_agent.ts";

/** Numbers on x86_64. */
const MKDIR = 83, READ = 0;
const ENETDOWN = 100;

const noMkdir: Seccomp = {
  defaultAction: "SCMP_ACT_ALLOW",
  architectures: ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
  syscalls: [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: ENETDOWN }],
};

const filtered = (seccomp: Seccomp, noNewPrivileges = false): Change => (config) => {
  config.process.noNewPrivileges = noNewPrivileges;
  config.linux.seccomp = structuredClone(seccomp) as typeof config.linux.seccomp;
};

/** Tries what {@link noMkdir} refuses, and tells what the kernel says of the process. */
const tryIt = "mkdir /tmp/x 2>&1; grep Seccomp /proc/self/status";
const denied = "mkdir: can't create directory '/tmp/x': Network is down\nSeccomp:\t2\nSeccomp_filters:\t1\n";

for (const noNewPrivileges of [false, true]) {
  comparing(
    `a call is refused with the errno of its rule, in exec too; noNewPrivileges ${noNewPrivileges}`,
    (box) => {
      const change = filtered(noMkdir, noNewPrivileges);
      assertEquals(box.sh(tryIt, change), denied);
      box.startSleeping(change);
      assertEquals(box.must(["exec", box.id, "sh", "-c", tryIt]), denied);
      box.remove();
    },
    everyone,
  );
}

comparing("create and start, as a user without capabilities, under a filter", (box) => {
  for (const noNewPrivileges of [false, true]) {
    box.write((config) => {
      filtered(noMkdir, noNewPrivileges)(config);
      config.process.user = { uid: 1000, gid: 1000 };
      config.process.capabilities = { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] };
      config.process.args = ["sh", "-c", `exec >/dev/null; ! mkdir /tmp/x && sleep 1000`];
    });
    box.must(["create", box.id]);
    box.must(["start", box.id]);
    assertEquals(box.state().status, "running");
    box.remove();
  }
}, everyone);

comparing("a process that makes a call with SCMP_ACT_KILL dies of SIGSYS", (box) => {
  const killing = { ...noMkdir, syscalls: [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_KILL_PROCESS" }] };
  const { code } = box.run((config) => {
    filtered(killing)(config);
    config.process.rlimits = [{ type: "RLIMIT_CORE", soft: 0, hard: 0 }];
    config.process.args = ["mkdir", "/tmp/x"];
  });
  assertEquals(code, 128 + 31);
}, everyone);

comparing("a startContainer hook runs under the filter", (box) => {
  const { msg } = box.runRefused((config) => {
    filtered(noMkdir)(config);
    config.hooks = { startContainer: [{ path: "/bin/sh", args: ["sh", "-c", "mkdir /tmp/x"] }] };
  });
  assertMatch(msg, /startContainer hook.*Network is down/s);
});

boxTest("a profile that allows nothing but what a static program calls is enough with noNewPrivileges", (box) => {
  const names =
    ("read write close openat execve exit_group brk arch_prctl set_tid_address set_robust_list rseq uname " +
      "readlink readlinkat prlimit64 getrandom mprotect getuid ioctl newfstatat fstat").split(" ");
  const strict = { defaultAction: "SCMP_ACT_ERRNO", syscalls: [{ names, action: "SCMP_ACT_ALLOW" }] };
  box.write((config) => {
    filtered(strict, true)(config);
    config.process.args = ["echo", "hello"];
  });
  const result = box.runc(["run", box.id]);
  box.must(["create", "second"]);
  box.must(["start", "second"]);
  box.remove("second");
  assertEquals(result, { code: 0, stdout: "hello\n", stderr: "" });
});

const nothing: Seccomp = { defaultAction: "SCMP_ACT_ERRNO" };
const noExit: Seccomp = {
  defaultAction: "SCMP_ACT_ALLOW",
  syscalls: [{ names: ["exit_group"], action: "SCMP_ACT_ERRNO" }],
};

for (
  const [name, profile, noNewPrivileges] of [
    ["every call", nothing, false],
    ["every call, with noNewPrivileges", nothing, true],
    ["exit_group", noExit, false],
    ["exit_group, with noNewPrivileges", noExit, true],
  ] as const
) {
  boxTest(`a profile that refuses ${name} ends a start that fails, and nobody spins`, (box) => {
    const { code, msg, hint } = box.runRefused((config) => {
      filtered(profile, noNewPrivileges)(config);
      // Before the filter, or under it: the command cannot be found.
      config.process.args = ["/bin/missing"];
    });
    const isTold = profile === noExit || noNewPrivileges;
    if (isTold) assertEquals(code, "command-failed");
    else {
      assertEquals(code, "step-failed");
      assertMatch(msg, /container init ended before it was ready: signal: illegal instruction$/);
      assertMatch(hint!, /refuses exit_group/);
    }
  });
}

boxTest("a profile that refuses every call ends the start of a program that there is", (box) => {
  for (const noNewPrivileges of [false, true]) {
    const { msg } = box.runRefused(filtered(nothing, noNewPrivileges));
    assertMatch(msg, /container init ended before it was ready: signal: illegal instruction$/);
  }
});

comparing("calls of the mount API and close_range(2) that answer ENOSYS do not hinder the start", (box) => {
  const names = [
    "close_range",
    "fsopen",
    "fsconfig",
    "openat2",
    "open_tree",
    "move_mount",
    "mount_setattr",
    "faccessat2",
  ];
  const old = { defaultAction: "SCMP_ACT_ALLOW", syscalls: [{ names, action: "SCMP_ACT_ERRNO", errnoRet: 38 }] };
  return box.sh("echo hello", filtered(old));
}, everyone);

/** What a filter says about the calls that {@link engineProfile} tells apart. */
function answers(filter: Uint8Array): readonly number[] {
  const values = [0n, 1n, 8n, 40n, 0x20000n, 0x40000n, 0x10000000n, 0x3d0f00n, 0xffffffffn, -1n];
  const numbers = [0, 0x40000000].flatMap((base) => Array.from({ length: 700 }, (_, index) => base + index));
  return Object.values(AuditArch).flatMap((arch) =>
    numbers.flatMap((nr) => values.map((value) => runBpf(filter, { arch, nr, args: [value] })))
  );
}

Deno.test("an engine's profile says the same about every call as with Debian's runc, in exec too", () => {
  const [first, ...others] = everyone.flatMap((runtime) =>
    inBox(runtime, (box) => {
      const init = answers(loadedFilter(box.startSleeping(filtered(engineProfile))));
      box.must(["exec", "--detach", "--pid-file", `${box.directory}/pid`, box.id, "sleep", "1000"]);
      const exec = answers(loadedFilter(Number(Deno.readTextFileSync(`${box.directory}/pid`))));
      box.remove();
      return [init, exec];
    })
  );
  // Lists of 56,000 numbers: the place says enough.
  for (const other of others) assertEquals(other.findIndex((answer, index) => answer !== first![index]), -1);
});

Deno.test("Debian's runc goes on with a filtered container of ours, and we with one of its", () => {
  for (const [maker, user] of [["native", "debian"], ["debian", "native"]] as const) {
    inBox(maker, (box) => {
      box.startSleeping(filtered(noMkdir));
      const other = new TestBox(user);
      try {
        const argv = other.argv("exec", box.id, "sh", "-c", tryIt).map((word) => word === other.root ? box.root : word);
        assertEquals(execute(argv), { code: 0, stdout: denied, stderr: "" });
      } finally {
        Deno.removeSync(other.directory, { recursive: true });
      }
      box.remove();
    });
  }
});

const refusals: readonly [name: string, seccomp: Seccomp, message: RegExp][] = [
  ["an action", { defaultAction: "SCMP_ACT_X" }, /string SCMP_ACT_X is not a valid action for seccomp/],
  ["an architecture", { ...noMkdir, architectures: ["X"] }, /string X is not a valid arch for seccomp/],
  ["a flag", { ...noMkdir, flags: ["X"] }, /seccomp flag X is not known to runc/],
  ["notify of write", {
    ...noMkdir,
    listenerPath: "/x",
    syscalls: [{ names: ["write"], action: "SCMP_ACT_NOTIFY" }],
  }, /SCMP_ACT_NOTIFY cannot be used for the write syscall/],
  [
    "notify by default",
    { defaultAction: "SCMP_ACT_NOTIFY", listenerPath: "/x" },
    /SCMP_ACT_NOTIFY cannot be used as default action/,
  ],
  [
    "notify without an agent",
    { ...noMkdir, syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_NOTIFY" }] },
    /seccomp listenerPath is not set/,
  ],
];

for (const [name, seccomp, message] of refusals) {
  boxTest(`refused by name: ${name}`, (box) => {
    assertMatch(box.runRefused(filtered(seccomp)).msg, message);
  });
}

boxTest("without libseccomp a container with a profile is refused, and one without runs", (box) => {
  const library = [...Deno.readDirSync("/usr/lib")].map(({ name }) => `/usr/lib/${name}/libseccomp.so.2`).find(exists);
  assert(library !== undefined, "no libseccomp.so.2: install what tools/test_packages.txt names");
  const { prefix } = inOwnRun(box, `mount --bind /dev/null ${library}`);
  box.write(filtered(noMkdir));
  const error = box.refused(["run", box.id], { prefix });
  assertStringIncludes(error.msg, "cannot open libseccomp.so.2");
  assertMatch(error.hint!, /libseccomp2 \(Debian, Ubuntu\), libseccomp \(Fedora, Alpine\)/);
  assertEquals([error.code, error.field], ["host-lacks", "/linux/seccomp"]);
  box.write();
  box.must(["run", box.id], { prefix });
});

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

boxTest("plan prints how the filter is loaded, and keeps nothing", (box) => {
  box.write(filtered(noMkdir));
  const plan = box.must(["plan"]);
  assertMatch(
    plan,
    /load the seccomp filter {2}\(\/linux\/seccomp\)\n.*SECCOMP_FILTER_FLAG_SPEC_ALLOW, \{len: \d+, filter: \[\d+ instr/,
  );
  assertEquals(cached(box), []);
});

// The agent.

const asking: Seccomp = {
  defaultAction: "SCMP_ACT_ALLOW",
  listenerMetadata: "some text",
  syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_NOTIFY" }],
};

for (const noNewPrivileges of [false, true]) {
  comparing(
    `an agent is given the listener and the container's state; noNewPrivileges ${noNewPrivileges}`,
    (box) => {
      const listenerPath = `${box.directory}/agent.sock`;
      using agent = new Agent(listenerPath, new Map([[MKDIR, ENETDOWN]]));
      box.write((config) => {
        filtered({ ...asking, listenerPath }, noNewPrivileges)(config);
        config.process.args = ["sh", "-c", tryIt];
      });
      using running = box.start(["run", box.id]);
      const { message, calls } = agent.serve(running);
      assertEquals(running.wait(), { code: 0, stdout: denied, stderr: "" });
      const { pid, state, ...rest } = message;
      assertEquals([state.pid, state.id, state.status, state.bundle], [pid, box.id, "creating", box.bundle]);
      return { ...rest, ociVersion: rest.ociVersion.slice(0, 2), calls };
    },
    everyone,
  );
}

comparing("an agent is asked about exec too, and told that the container runs", (box) => {
  const listenerPath = `${box.directory}/agent.sock`;
  using agent = new Agent(listenerPath, new Map([[MKDIR, ENETDOWN]]));
  box.write((config) => {
    filtered({ ...asking, listenerPath })(config);
    config.process.args = ["sleep", "1000"];
  });
  {
    using running = box.start(["run", "--detach", box.id]);
    agent.serve(running);
    assertEquals(running.wait().code, 0);
  }
  using running = box.start(["exec", box.id, "sh", "-c", tryIt]);
  const { message } = agent.serve(running);
  assertEquals(running.wait(), { code: 0, stdout: denied, stderr: "" });
  const { pid } = box.state();
  assertEquals([message.state.pid, message.state.status, message.pid === pid], [pid, "running", false]);
  box.remove();
}, everyone);

comparing("an agent that is asked about what init itself calls", (box) => {
  const listenerPath = `${box.directory}/agent.sock`;
  for (const noNewPrivileges of [false, true]) {
    using agent = new Agent(`${listenerPath}${noNewPrivileges}`, new Map());
    const names = ["execve", "openat", "open", "read", "close", "fcntl"];
    box.write((config) => {
      filtered({
        ...asking,
        listenerPath: `${listenerPath}${noNewPrivileges}`,
        syscalls: [{ names, action: "SCMP_ACT_NOTIFY" }],
      }, noNewPrivileges)(config);
    });
    using running = box.start(["run", box.id]);
    assert(agent.serve(running).calls.includes(READ));
    assertEquals(running.wait(), { code: 0, stdout: "", stderr: "" });
  }
});

for (const noNewPrivileges of [false, true]) {
  comparing(
    `without its agent a container is not created, and nothing is left of it; noNewPrivileges ${noNewPrivileges}`,
    (box) => {
      const { msg, field } = box.runRefused(filtered({ ...asking, listenerPath: "/no/agent" }, noNewPrivileges));
      assertMatch(
        msg,
        /container init: failed to connect with seccomp agent specified in the seccomp profile: .*no such file or directory/,
      );
      assertEquals([field, box.containers()], ["/linux/seccomp/listenerPath", []]);
    },
  );

  boxTest(`a filter that the kernel does not take is an error; noNewPrivileges ${noNewPrivileges}`, (box) => {
    const program = `${box.directory}/deny`;
    writeDenying(program, ["seccomp"], "EPERM");
    const refused = (...args: readonly string[]) => {
      const { msg, field, call } = box.refused(args, { prefix: [program] });
      assertStringIncludes(
        msg,
        "error loading seccomp filter into kernel: error loading seccomp filter: operation not permitted",
      );
      assertStringIncludes(msg, "unable to start container process");
      assertEquals([field, call?.split("(")[0]], ["/linux/seccomp", "seccomp"]);
    };
    box.write((config) => {
      filtered(noMkdir, noNewPrivileges)(config);
      config.process.args = ["sleep", "1000"];
    });
    refused("run", box.id);
    refused("create", box.id);
    assertEquals(box.containers(), []);
    box.must(["run", "--detach", box.id]);
    refused("exec", box.id, "true");
    box.remove();
  });
}

// The filters that are kept.

/** The box's own /run, so that the machine's filters stay as they are, and where the filters are kept in it. */
const runOf = (box: Box) => `${box.directory}/run`;
const cacheOf = (box: Box) => `${runOf(box)}/runc-seccomp`;

/** Starts the runtime where {@link runOf} is its /run. */
function inOwnRun(box: Box, commands = ":"): { readonly prefix: readonly string[] } {
  Deno.mkdirSync(runOf(box), { recursive: true });
  const script = `mount --bind "$0" /run; ${commands}; exec "$@"`;
  return { prefix: ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", script, runOf(box)] };
}

/** Names of the filters that are kept. */
function cached(box: Box): string[] {
  try {
    return [...Deno.readDirSync(cacheOf(box))].map(({ name }) => name);
  } catch {
    return [];
  }
}

/** Whether the container of {@link noMkdir} may not make a directory. */
const isDenied = (box: Box) => box.sh(tryIt, filtered(noMkdir), inOwnRun(box)) === denied;

/** Runs the container once, and puts a filter that allows everything in the place of the one that it has left. Returns the path. */
function forge(box: Box): string {
  assert(isDenied(box));
  const [name = "", ...others] = cached(box);
  assertEquals(others, []);
  const path = `${cacheOf(box)}/${name}`;
  assertEquals([cacheOf(box), path].map((one) => Deno.statSync(one).mode! & 0o777), [0o700, 0o600]);
  const entry = Deno.readFileSync(path);
  const keyLength = new DataView(entry.buffer).getUint32(16, true);
  const key = new TextDecoder().decode(entry.subarray(24, 24 + keyLength));
  // ret ALLOW
  const allow = new Uint8Array([0x06, 0, 0, 0, 0, 0, 0xff, 0x7f]);
  Deno.writeFileSync(path, encodeEntry(key, allow));
  assertEquals(new FilterCache(kernel, cacheOf(box)).read(key), allow);
  return path;
}

boxTest("a filter that is kept is the one that is loaded, and is not written again", (box) => {
  const path = forge(box);
  const before = Deno.statSync(path);
  assertEquals(isDenied(box), false);
  const after = Deno.statSync(path);
  assertEquals([after.ino, after.mtime], [before.ino, before.mtime]);
});

const untrusted: readonly [name: string, spoil: (box: Box, path: string) => void][] = [
  ["others may write to", (_, path) => Deno.chmodSync(path, 0o602)],
  ["another user owns", (_, path) => Deno.chownSync(path, 65534, 65534)],
  ["is a symlink", (box, path) => {
    Deno.renameSync(path, `${box.directory}/entry`);
    Deno.symlinkSync(`${box.directory}/entry`, path);
  }],
  ["is cut", (_, path) => Deno.truncateSync(path, 40)],
  ["is empty", (_, path) => Deno.truncateSync(path, 0)],
  ["is a directory", (_, path) => {
    Deno.removeSync(path);
    Deno.mkdirSync(path);
  }],
  ["is a fifo", (_, path) => {
    Deno.removeSync(path);
    execute(["/usr/bin/mkfifo", path]);
  }],
  ["lies where others may write", (box) => Deno.chmodSync(cacheOf(box), 0o770)],
  ["lies where another user owns the directory", (box) => Deno.chownSync(cacheOf(box), 65534, 65534)],
  ["lies where a symlink leads", (box) => {
    Deno.renameSync(cacheOf(box), `${runOf(box)}/elsewhere`);
    Deno.symlinkSync("elsewhere", cacheOf(box));
  }],
];

for (const [name, spoil] of untrusted) {
  boxTest(`a kept filter that ${name} is not used`, (box) => {
    const path = forge(box);
    spoil(box, path);
    assertEquals(isDenied(box), true);
  });
}

boxTest("of containers that start at the same time each has its filter, which is kept once", (box) => {
  const starts = Array.from({ length: 4 }, (_, index) => {
    const bundle = `${box.directory}/bundle-${index}`;
    makeRootfs(`${bundle}/rootfs`);
    box.write((config) => {
      filtered(noMkdir)(config);
      config.linux.cgroupsPath = `${box.cgroup}-${index}`;
      config.process.args = ["sh", "-c", tryIt];
    });
    Deno.renameSync(`${box.bundle}/config.json`, `${bundle}/config.json`);
    return box.start(["run", "--bundle", bundle, `box-${index}`], inOwnRun(box));
  });
  for (const one of starts) {
    using start = one;
    assertEquals(start.wait(), { code: 0, stdout: denied, stderr: "" });
  }
  assertEquals(cached(box).length, 1);
});

boxTest("what is kept is not where the state is, and stays bounded", (box) => {
  for (let errnoRet = 1; errnoRet <= 20; errnoRet++) {
    box.run(
      filtered({
        defaultAction: "SCMP_ACT_ALLOW",
        syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_ERRNO", errnoRet }],
      }),
      inOwnRun(box),
    );
  }
  assertEquals(cached(box).length, 16);
  assertEquals([...Deno.readDirSync(box.root)], []);
  assertEquals(box.must(["list", "--quiet"]), "");
});

boxTest("what a process that died left half written goes, too", (box) => {
  Deno.mkdirSync(cacheOf(box), { recursive: true, mode: 0o700 });
  const old = Array.from({ length: 16 }, (_, index) => `${String(index).padStart(16, "0")}.0123456789abcdef`);
  for (const name of old) {
    Deno.writeTextFileSync(`${cacheOf(box)}/${name}`, "half");
    Deno.utimeSync(`${cacheOf(box)}/${name}`, 1, 1);
  }
  Deno.writeTextFileSync(`${cacheOf(box)}/notes`, "somebody's");
  assert(isDenied(box));
  const left = cached(box);
  assertEquals([left.length, left.includes("notes")], [17, true]);
  assertEquals(left.filter((name) => /^[0-9a-f]{16}$/.test(name)).length, 1, left.join());
});

/** Why nothing can be kept: shell commands that make it so before the runtime starts. */
const unusable: readonly [name: string, commands: string, reason: RegExp][] = [
  ["is a file", "touch /run/runc-seccomp", /ENOTDIR|ot a directory/],
  ["is a dangling symlink", "ln -sfn nowhere /run/runc-seccomp", /ENOTDIR|ot a directory|symbolic links/],
  ["is another user's", "mkdir -p /run/runc-seccomp; chown 65534 /run/runc-seccomp", /belongs to another user/],
  ["may be written by others", "mkdir -p /run/runc-seccomp; chmod 777 /run/runc-seccomp", /others may write to/],
  ["cannot be made", "mount --options remount,bind,ro /run", /o such file/],
];

for (const [name, commands, reason] of unusable) {
  boxTest(`where the directory for filters ${name} each is compiled anew, without a word but at debug level`, (box) => {
    const options = inOwnRun(box, commands);
    assertEquals(box.sh(tryIt, filtered(noMkdir), options), denied);
    const log = `${box.directory}/log`;
    box.must(["--debug", "--log", log, "run", box.id], options);
    assertMatch(Deno.readTextFileSync(log), /level=debug msg="the seccomp filter is not cached: /);
    const line = Deno.readTextFileSync(log).split("\n").find((one) => one.includes("is not cached"))!;
    assertMatch(line, reason);
  });
}

boxTest("root in a user namespace keeps filters in the session's own directory", (box) => {
  const session = `${box.directory}/session`;
  Deno.mkdirSync(session, { mode: 0o700 });
  const { prefix } = inOwnRun(box);
  const inside = [...prefix, "/usr/bin/unshare", "--user", "--map-root-user"];
  box.write(filtered(noMkdir));
  // The container may not be made there; the filter is compiled before.
  box.runc(["run", box.id], { prefix: inside, env: { XDG_RUNTIME_DIR: session, USER: "someone" } });
  assertEquals(cached(box), []);
  assertEquals([...Deno.readDirSync(`${session}/runc-seccomp`)].length, 1);
});
