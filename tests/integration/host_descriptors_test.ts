/**
 * Nothing of the host is within reach of a container's processes: not by what one of their neighbours has open, nor by its root, working
 * directory, program or memory. Whoever has CAP_SYS_PTRACE there sees a process that `exec` brings in from its first moment on. So all of
 * them are stopped before and after each system call, and looked at.
 */

import { assert, assertEquals } from "@std/assert";
import { openFlag } from "../../lib/ffi/constants.ts";
import type { Fd } from "../../lib/ffi/fd.ts";
import { open, openPath, writeAll } from "../../lib/ffi/files.ts";
import { alloc, cString } from "../../lib/ffi/kernel.ts";
import { readUntil } from "./foreground_harness.ts";
import { type Box, boxTest, type Change, inBox, kernel } from "./harness.ts";
import { cgroupsNamed, mounts } from "./leftovers.ts";
import { engineProfile } from "../fixtures/seccomp_profile.ts";
import { Tracer } from "./tracer.ts";

const O = openFlag(kernel.arch);

const identityOf = ({ dev, ino }: Deno.FileInfo): string => `${dev}:${ino}`;

function ifThere<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    // A process or a descriptor that is gone.
    return undefined;
  }
}

const statOf = (path: string) => ifThere(() => Deno.statSync(path));

/** Where `..` comes to an end from an open directory. */
function topOf(directory: Fd): string {
  let at = directory.number;
  for (;;) {
    const up = kernel.must("openat(..)", "openat", at, cString(".."), O.O_PATH | O.O_DIRECTORY | O.O_CLOEXEC);
    const [here, above] = [at, up].map((fd) => identityOf(Deno.statSync(`/proc/self/fd/${fd}`)));
    if (at !== directory.number) kernel.call("close", at);
    at = up;
    if (here !== above) continue;
    kernel.call("close", at);
    return here!;
  }
}

/** Whether nobody writes through the mount of an open file. ST_RDONLY in f_flags, at 80 of struct statfs. statfs(2) */
function isReadOnly(file: Fd): boolean {
  const statfs = alloc(120);
  kernel.must("fstatfs", "fstatfs", file.number, statfs);
  return (new DataView(statfs.buffer).getUint32(80, true) & 1) === 1;
}

/** The file systems that a process has mounts of, as `stat` numbers them. proc(5), new_encode_dev in include/linux/kdev_t.h */
function fileSystems(pid: number | "self"): ReadonlySet<number> {
  const lines = (ifThere(() => Deno.readTextFileSync(`/proc/${pid}/mountinfo`)) ?? "").trimEnd().split("\n");
  return new Set(lines.map((line) => {
    const [major = 0, minor = 0] = (line.split(" ")[2] ?? "").split(":").map(Number);
    return (minor & 0xff) + major * 0x100 + (minor & ~0xff) * 0x1000;
  }));
}

/** Judges what the processes of one container hold. */
class Judge {
  readonly #box: Box;
  readonly #root: string;
  readonly #hostRoot = identityOf(Deno.statSync("/"));
  readonly #hostProc = Deno.statSync("/proc").dev;
  readonly #host = fileSystems("self");
  readonly #hostNamespaces = new Set(
    [...Deno.readDirSync("/proc/self/ns")].map(({ name }) => Deno.readLinkSync(`/proc/self/ns/${name}`)),
  );
  /** How many descriptors and links were judged. */
  judged = 0;

  constructor(box: Box) {
    this.#box = box;
    this.#root = identityOf(Deno.statSync(box.rootfs));
  }

  /** Whether the process is in the container's file system, and no longer in the host's. */
  isInRoot(pid: number): boolean {
    const root = statOf(`/proc/${pid}/root`);
    return root !== undefined && identityOf(root) === this.#root;
  }

  /** What a process has of the host. */
  findings(pid: number): readonly string[] {
    const numbers = ifThere(() => [...Deno.readDirSync(`/proc/${pid}/fd`)].map(({ name }) => name)) ?? [];
    // Standard streams are the caller's.
    const names = ["root", "cwd", "exe", ...numbers.filter((name) => Number(name) > 2).map((name) => `fd/${name}`)];
    return [...names, ...this.#mapped(pid)].flatMap((name) => {
      const reason = this.#reasonAgainst(pid, name);
      return reason === undefined ? [] : [`${name}: ${reason}`];
    });
  }

  #reasonAgainst(pid: number, name: string): string | undefined {
    const path = `/proc/${pid}/${name}`;
    const link = ifThere(() => Deno.readLinkSync(path));
    if (link === undefined) return undefined;
    this.judged++;
    if (this.#hostNamespaces.has(link)) return `${link}, a namespace of the host`;
    // Nobody's files, and no way to any.
    if (/^(socket|pipe|anon_inode|mnt|net|pid|uts|ipc|user|cgroup|time):/.test(link)) return undefined;
    if (/^\/memfd:(runc-init|state|hook stdout|hook stderr) \(deleted\)$/.test(link)) return undefined;
    // The container's own. It is no directory, so nothing is above it.
    if (link === `${this.#box.root}/${this.#box.id}/exec.fifo`) return undefined;
    const stat = statOf(path);
    if (stat === undefined) return undefined;
    if (stat.dev === this.#hostProc) return `${link} of the host's /proc`;
    if (!stat.isDirectory) return this.#isInside(pid, link, stat) ? undefined : `${link}, a file of the host`;
    using directory = openPath(kernel, path);
    const top = topOf(directory);
    if (top === this.#root) return undefined;
    const reason = `${link}, which leads up to ${top}`;
    if (top === this.#hostRoot) return reason;
    // Of a file system that only the container has, mounted nowhere.
    if (!this.#host.has(stat.dev) && top.startsWith(`${stat.dev}:`)) return undefined;
    const isOwnCgroup = cgroupsNamed(this.#box.name).some((cgroup) => {
      const found = statOf(cgroup);
      return found !== undefined && identityOf(found) === top;
    });
    return isOwnCgroup && isReadOnly(directory) ? undefined : reason;
  }

  /** A file of the rootfs, or of a file system that only the container has. */
  #isInside(pid: number, link: string, stat: Deno.FileInfo): boolean {
    const inRootfs = statOf(`${this.#box.rootfs}${link}`);
    if (inRootfs !== undefined && identityOf(inRootfs) === identityOf(stat)) return true;
    return !this.#host.has(stat.dev) && fileSystems(pid).has(stat.dev);
  }

  /** Files that are part of its memory. */
  #mapped(pid: number): readonly string[] {
    const names = ifThere(() => [...Deno.readDirSync(`/proc/${pid}/map_files`)].map(({ name }) => name)) ?? [];
    return names.map((name) => `map_files/${name}`);
  }
}

/** Stops the container's processes at each system call of some commands, and has them judged. */
class Watch implements Disposable {
  readonly #judge: Judge;
  readonly #tracer: Tracer;
  readonly #untraced: readonly number[];
  /** What somebody in the container could have reached. */
  readonly found = new Set<string>();
  /** How often a process was judged while the container had others, and how often where nobody could see it. */
  readonly stops = { seen: 0, alone: 0 };

  /** `untraced`: processes that the container has already. */
  constructor(box: Box, untraced: readonly number[] = []) {
    this.#judge = new Judge(box);
    this.#untraced = untraced;
    this.#tracer = new Tracer((pid, inside) => this.#look(pid, [...inside, ...this.#untraced]));
  }

  /** One has been stopped; the others may be anywhere, and are judged as they are. */
  #look(pid: number, inside: readonly number[]): void {
    const inRoot = inside.filter((one) => this.#judge.isInRoot(one));
    for (const one of inside) {
      // Before the root is entered the container's first process is alone but for programs of the host's, createContainer hooks.
      const isSeen = inRoot.some((other) => other !== one);
      if (one === pid) this.stops[isSeen ? "seen" : "alone"]++;
      const findings = this.#judge.findings(one);
      if (isSeen) findings.forEach((finding) => this.found.add(finding));
    }
  }

  /** Descriptors and links that were judged. */
  get judged(): number {
    return this.#judge.judged;
  }

  /** Processes that were judged. */
  get processes(): number {
    return this.#tracer.seen.size;
  }

  run(box: Box, ...args: readonly string[]): void {
    assertEquals(this.#tracer.run(box.argv(...args), box.bundle), 0, args.join(" "));
  }

  /** Until the container's last process has ended. */
  finish(): void {
    this.#tracer.finish();
  }

  [Symbol.dispose](): void {
    this.#tracer[Symbol.dispose]();
  }
}

const withoutProc: Change = (config) => {
  config.mounts = config.mounts.filter(({ destination }) => destination !== "/proc");
  config.linux.maskedPaths = config.linux.readonlyPaths = [];
};

boxTest("exec: its process never holds anything of the host, from its first moment on", (box) => {
  using watch = new Watch(box, [box.startSleeping()]);
  watch.run(box, "exec", box.id, "true");
  watch.run(box, "exec", "--user", "1000", "--cwd", "/tmp", "--cap", "CAP_SYS_PTRACE", box.id, "true");
  assertEquals([...watch.found], []);
  assertEquals([watch.processes, watch.stops.alone], [2, 0]);
  // Some 90 calls each, before and after.
  assert(watch.stops.seen > 200 && watch.judged > 5 * watch.stops.seen, JSON.stringify([watch.stops, watch.judged]));
  box.remove();
});

for (const [what, change] of [["", () => {}], [" without /proc", withoutProc]] as const) {
  boxTest(`create, exec, start${what}: neither what waits nor what comes in holds anything of the host`, (box) => {
    box.write((config) => {
      change(config);
      config.process.args = ["sleep", "1000"];
    });
    {
      using watch = new Watch(box);
      watch.run(box, "create", box.id);
      assertEquals([watch.processes, watch.stops.seen], [1, 0]);
      assert(watch.stops.alone > 400, String(watch.stops.alone));
      watch.run(box, "exec", box.id, "true");
      watch.run(box, "start", box.id);
      watch.run(box, "exec", box.id, "true");
      assertEquals([...watch.found], []);
      assertEquals(watch.processes, 3);
      assert(watch.stops.seen > 200, String(watch.stops.seen));
    }
    box.remove();
  });

  boxTest(`hooks in the container${what}: neither they nor what waits for them hold anything of the host`, (box) => {
    const hook = { path: "/bin/sh", args: ["sh", "-c", "cat; true"] };
    box.write((config) => {
      change(config);
      config.hooks = { createContainer: [hook], startContainer: [hook, { ...hook, timeout: 60 }] };
    });
    for (const commands of [["create", "start"], ["run"]]) {
      using watch = new Watch(box);
      for (const command of commands) watch.run(box, command, box.id);
      watch.finish();
      assertEquals([...watch.found], [], commands[0]);
      // Init; each hook, and its `cat`.
      assertEquals(watch.processes, 7, commands[0]);
      assert(watch.stops.seen > 100, String(watch.stops.seen));
      if (commands.length > 1) box.remove();
    }
  });
}
/** The attack, by a shell in the container: whenever it is asked, it looks for the host's file above all that any process but itself and init holds. */
const attack = (secret: string): string => {
  const ups = Array.from({ length: 10 }, (_, depth) => `$fd/${"../".repeat(depth)}${secret.slice(1)}`);
  const ways = [...ups, `$fd/1/root${secret}`, `$fd/self/root${secret}`].join(" ");
  return `exec 3<>/mnt/ask 4<>/mnt/answer
while read -r line <&3; do
  seen=0; paths=
  for process in /proc/[0-9]*; do
    case $process in /proc/1|/proc/$$) continue;; esac
    for fd in $process/fd/* $process/cwd $process/root; do
      [ -e $fd ] || continue
      seen=$((seen + 1)); paths="$paths ${ways}"
    done
  done
  echo "$seen $(cat $paths </dev/null 2>/dev/null)" >&4
done`;
};

Deno.test({
  name: "exec where the outer sandbox refuses a mount of the cgroup enters it all the same (needs cgroup2)",
  ignore: !mounts().some(({ type }) => type === "cgroup2"),
  fn: () => inBox("native", enterWithoutMount),
});

function enterWithoutMount(box: Box): void {
  box.startSleeping();
  const own = box.must(["exec", box.id, "cat", "/proc/1/cgroup"]);
  const log = `${box.directory}/calls`;
  for (const refused of ["open_tree:error=ENOSYS", "open_tree:error=EPERM", "mount_setattr:error=ENOSYS"]) {
    const strace = ["/usr/bin/strace", "-f", "-qq", "-o", log, "-e", "trace=open_tree,mount_setattr,clone,clone3"];
    const prefix = [...strace, "-e", `inject=${refused}`];
    assertEquals(box.must(["exec", box.id, "cat", "/proc/self/cgroup"], { prefix }), own, refused);
    const calls = Deno.readTextFileSync(log);
    assert(calls.includes("(INJECTED)"), calls);
    assert(!calls.includes("CLONE_INTO_CGROUP"), calls);
  }
  box.remove();
}

const dockersCapabilities =
  "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
    .split(" ").map((name) => `CAP_${name}`);

const attackers: readonly (readonly [who: string, change: Change])[] = [
  ["with nothing but CAP_SYS_PTRACE", (config) => {
    const capabilities = ["CAP_SYS_PTRACE"];
    config.process.capabilities = { bounding: capabilities, effective: capabilities, permitted: capabilities };
  }],
  ["with Docker's capabilities and profile, and CAP_SYS_PTRACE", (config) => {
    const capabilities = [...dockersCapabilities, "CAP_SYS_PTRACE"];
    config.process.capabilities = { bounding: capabilities, effective: capabilities, permitted: capabilities };
    config.linux.seccomp = structuredClone(engineProfile) as typeof config.linux.seccomp;
  }],
];
/** A container whose shell attacks at every system call of other processes of its pid namespace. */
class Attacker implements Disposable {
  readonly #box: Box;
  readonly #fifos: { readonly ask: Fd; readonly answer: Fd };
  /** What each round saw of other processes, and what of the host it got. */
  readonly rounds: { readonly seen: number; readonly reached: string }[] = [];

  constructor(box: Box, change: Change) {
    this.#box = box;
    const secret = `${box.directory}/secret`;
    const shared = `${box.directory}/shared`;
    Deno.writeTextFileSync(secret, "of the host");
    Deno.mkdirSync(shared);
    for (const name of ["ask", "answer"]) kernel.must("mkfifo", "mkfifo", cString(`${shared}/${name}`), 0o600);
    this.#fifos = {
      ask: open(kernel, `${shared}/ask`, O.O_RDWR),
      answer: open(kernel, `${shared}/answer`, O.O_RDWR),
    };
    box.write((config) => {
      config.process.args = ["sh", "-c", attack(secret)];
      config.mounts.push({ destination: "/mnt", type: "bind", source: shared, options: ["bind"] });
      change(config);
    });
    box.must(["run", "--detach", box.id]);
  }

  #attack(): void {
    const { ask, answer } = this.#fifos;
    writeAll(kernel, ask.number, Uint8Array.of(10));
    const [, seen, reached = "no answer"] = /^(\d+) (.*)\n$/s.exec(readUntil(answer, (text) => text.endsWith("\n"))) ??
      [];
    this.rounds.push({ seen: Number(seen), reached });
  }

  /** Runs a command that brings one process in. */
  during(...args: readonly string[]): void {
    using tracer = new Tracer(() => this.#attack());
    assertEquals(tracer.run(this.#box.argv(...args), this.#box.bundle), 0, args.join(" "));
    assertEquals(tracer.seen.size, 1);
  }

  [Symbol.dispose](): void {
    this.#fifos.ask.close();
    this.#fifos.answer.close();
  }
}

for (const [who, change] of attackers) {
  boxTest(`an attacker ${who} does not get to the host by a process that exec brings in`, (box) => {
    using attacker = new Attacker(box, change);
    attacker.during("exec", box.id, "true");
    const { rounds } = attacker;
    // Some 90 calls, before and after; a process that is about to end has nothing any more.
    assert(rounds.length > 100, `${rounds.length} rounds`);
    const chances = rounds.filter(({ seen }) => seen > 5).length;
    assert(chances > 100, `saw the process in ${chances} rounds of ${rounds.length}`);
    assertEquals(rounds.filter(({ reached }) => reached !== ""), []);
    box.remove();
  });
}

boxTest(
  "whoever shares a pid namespace with a container that is being made sees nothing of it without CAP_SYS_PTRACE",
  (box) => {
    const capabilities = [...dockersCapabilities, "CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH"];
    using attacker = new Attacker(box, (config) => {
      config.process.capabilities = { bounding: capabilities, effective: capabilities, permitted: capabilities };
    });
    const { pid } = box.state();
    box.write((config) => {
      config.linux.cgroupsPath = `${box.cgroup}-two`;
      config.linux.namespaces.find(({ type }) => type === "pid")!.path = `/proc/${pid}/ns/pid`;
    });
    attacker.during("run", "two");
    // Until it is its program, and is seen.
    const hidden = attacker.rounds.findIndex(({ seen }) => seen > 0);
    assert(hidden > 400, `unseen in ${hidden} rounds of ${attacker.rounds.length}`);
    assertEquals(attacker.rounds.filter(({ reached }) => reached !== ""), []);
    box.remove();
  },
);
