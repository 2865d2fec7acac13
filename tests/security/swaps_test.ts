/**
 * Starts while somebody exchanges a directory for a link to the host, all the time: another container on the same volume
 * can do that. `deno task swap` has a thousand starts of each kind.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { criuTest } from "../integration/criu_harness.ts";
import { type Box, type Change, execute, inBox, type Result, type TestConfig } from "../integration/harness.ts";
import { numberOfProc, openNumbers, stopBehind } from "./stopped.ts";
import { hostDirectory, linksTo, Swapper } from "./swapper.ts";

/** Of each kind. */
const STARTS = Number(Deno.env.get("SWAP_STARTS") ?? 25);
/** A restore takes as long as ten starts. */
const RESTORES = Number(Deno.env.get("SWAP_STARTS") ?? 8);

/** Where the attacker swaps, and what must not be reached. */
interface Arena {
  readonly box: Box;
  /** A directory of the host, and a file in it. */
  readonly host: ReturnType<typeof hostDirectory>;
  /** A volume that the attacker has too; in the container it is /volume, unless the kind says otherwise. */
  readonly volume: string;
  /** The descriptor of the host's /proc in a process that sets a container up. */
  readonly proc: number;
}

/** What is started, and how the outcome is judged. */
interface Kind {
  readonly name: string;
  /** Prepares the volume. Returns the two names, which exist then. */
  readonly prepare: (arena: Arena) => readonly [string, string];
  /** Changes the config of a start. */
  readonly change: (config: TestConfig, arena: Arena, round: number) => void;
  /** What a start prints that comes through. */
  readonly prints: string;
  /** What the others say: the race makes a start fail, and nothing else. */
  readonly refusal: RegExp;
  /** Of the process that the kind is about, if that is not the one that sets a container up. */
  readonly proc?: (box: Box) => number;
  /** Instead of `run`. */
  readonly start?: (arena: Arena, round: number) => Result;
  /** What else must be as before after each start. */
  readonly check?: (arena: Arena) => void;
}

/** A directory, and a link to `target`. */
function directoryAndLink({ volume }: Arena, target: string): readonly [string, string] {
  Deno.mkdirSync(`${volume}/swap`);
  Deno.symlinkSync(target, `${volume}/link`);
  return [`${volume}/swap`, `${volume}/link`];
}

const toHost = (arena: Arena) => directoryAndLink(arena, linksTo(arena.host.path)[1]!);

/** As cheap a container as can be. */
const cheap: Change = (config) => {
  config.root.readonly = false;
  config.linux.namespaces = [{ type: "mount" }, { type: "pid" }];
  config.linux.maskedPaths = [];
  config.linux.readonlyPaths = [];
  delete config.hostname;
  config.mounts = [{ destination: "/proc", type: "proc", source: "proc" }];
};

const withVolume = (config: TestConfig, { volume }: Arena, destination = "/volume") =>
  config.mounts.push({ destination, type: "bind", source: volume, options: ["rbind"] });

/** In the directory of descriptors of the runtime, were it the host's /proc; where it is not, a directory of the same name. */
function descriptorsAndDirectories(arena: Arena): readonly [string, string] {
  const names = directoryAndLink(arena, "/proc/self/fd");
  for (const number of tried(arena)) Deno.mkdirSync(`${arena.volume}/swap/${number}/1/root`, { recursive: true });
  return names;
}

/** Numbers around that of the host's /proc: those of a process that is looked at may be others. */
const tried = ({ proc }: Arena) => [proc, proc - 1, proc + 1, proc - 2];
const numberOf = (arena: Arena, round: number) => tried(arena)[round % 4]!;

/** The host's /proc has processes, and directories of the attacker have none. */
const look = ({ host }: Arena) => {
  const script = `cat 1/root${host.secret}; test -e 1/stat && echo "the host's /proc"; echo looked`;
  return ["sh", "-c", `{ ${script}; } 2>/dev/null`];
};

const kinds: readonly Kind[] = [
  {
    name: "CVE-2021-30465, CVE-2024-45310: targets of mounts",
    prepare: toHost,
    change: (config, arena, round) => {
      withVolume(config, arena);
      // Directories and files are both made where they are missing.
      for (const [name, source] of [["directory", arena.host.path], ["file", "/etc/hostname"]] as const) {
        const destination = `/volume/swap/${name}-${round}`;
        config.mounts.push({ destination, type: "bind", source, options: ["bind", "ro"] });
      }
      // A mount that is not below the container's root is not in its table: both have to be.
      config.process.args = ["sh", "-c", `grep -c -e '-${round} ' /proc/self/mountinfo; true`];
    },
    prints: "2\n",
    refusal: /error mounting|mkdirat|openat/,
  },
  {
    name: "CVE-2026-133553: what tmpcopyup copies, and where to",
    prepare: (arena) => {
      const names = toHost(arena);
      Deno.writeTextFileSync(`${arena.volume}/swap/image`, "of the image\n");
      return names;
    },
    change: (config, arena) => {
      withVolume(config, arena);
      const options = ["tmpcopyup"];
      config.mounts.push({ destination: "/volume/swap", type: "tmpfs", source: "copied", options });
      // Where it is not below the container's root, it is not in its table.
      const script = "cat /volume/*/secret; grep -c 'tmpfs copied' /proc/self/mountinfo; true";
      config.process.args = ["sh", "-c", `{ ${script}; } 2>/dev/null`];
    },
    prints: "1\n",
    refusal: /error mounting|tmpcopyup|openat/,
  },
  {
    name: "CVE-2025-31133, CVE-2025-62161, CVE-2026-88265: the null device that masks paths",
    prepare: ({ volume }) => {
      execute(["/usr/bin/mknod", "-m", "666", `${volume}/null`, "c", "1", "3"]);
      Deno.writeTextFileSync(`${volume}/file`, "of the image\n");
      return [`${volume}/null`, `${volume}/file`];
    },
    change: (config, arena) => {
      withVolume(config, arena, "/dev");
      config.linux.maskedPaths = ["/proc/timer_list"];
      config.process.args = ["stat", "-c", "%t:%T", "/proc/timer_list"];
    },
    prints: "1:3\n",
    refusal: /\/dev\/null/,
  },
  {
    name: "CVE-2026-41579, CVE-2026-47766: places of devices",
    prepare: toHost,
    change: (config, arena, round) => {
      withVolume(config, arena);
      config.linux.devices = [{ path: `/volume/swap/node-${round}`, type: "c", major: 1, minor: 3 }];
      config.process.args = ["echo", "started"];
    },
    prints: "started\n",
    refusal: /mkdirat|openat|mknod|device|node/,
  },
  {
    name: "CVE-2024-21626: the working directory, where there is one",
    prepare: descriptorsAndDirectories,
    change: (config, arena, round) => {
      withVolume(config, arena);
      config.process.cwd = `/volume/swap/${numberOf(arena, round)}`;
      config.process.args = look(arena);
    },
    prints: "looked\n",
    refusal: /cwd|mkdir|working directory/,
  },
  {
    name: "CVE-2024-21626: the working directory, where it is made",
    prepare: descriptorsAndDirectories,
    change: (config, arena, round) => {
      withVolume(config, arena);
      config.process.cwd = `/volume/swap/${numberOf(arena, round)}/1/root${arena.host.path}/made-${round}`;
      config.process.args = ["echo", "started"];
    },
    prints: "started\n",
    refusal: /cwd|mkdir|working directory|cannot make sure that .* exists/,
  },
  {
    name: "CVE-2019-19921, CVE-2025-52881, CVE-2025-62596: what is written to /proc",
    prepare: ({ box }) => {
      for (const file of ["sys/kernel/shmmni", "self/attr/exec", "thread-self/attr/exec"]) {
        const path = `${box.rootfs}/fake/${file}`;
        Deno.mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true });
        Deno.writeTextFileSync(path, "untouched", { mode: 0o666 });
      }
      Deno.symlinkSync("fake", `${box.rootfs}/link`);
      return [`${box.rootfs}/proc`, `${box.rootfs}/link`];
    },
    change: (config, _arena, round) => {
      config.linux.namespaces.push({ type: "ipc" });
      if (round % 2 === 0) config.linux.sysctl = { "kernel.shmmni": "1234" };
      else config.process.apparmorProfile = "no-such-profile";
      // By a procfs of its own, as the container's is swapped too.
      const all = ["CAP_SYS_ADMIN"];
      config.process.capabilities = { bounding: all, effective: all, permitted: all };
      config.process.args = ["sh", "-c", "mount -t proc proc /tmp && cat /tmp/sys/kernel/shmmni"];
    },
    prints: "1234\n",
    // The profile is not there: it is the kernel that says so, not a file of the image.
    check: ({ box }) => {
      for (const file of ["sys/kernel/shmmni", "self/attr/exec", "thread-self/attr/exec"]) {
        assertEquals(Deno.readTextFileSync(`${box.rootfs}/fake/${file}`), "untouched", file);
      }
    },
    refusal: /must be mounted on ordinary directory|apparmor failed to apply profile/,
  },
  {
    name: "the program of a startContainer hook",
    prepare: (arena) => {
      const names = toHost(arena);
      for (const [directory, whose] of [[`${arena.volume}/swap`, "the image"], [arena.host.path, "the host"]]) {
        const script = `#!/bin/sh\necho program of ${whose} > ${arena.volume}/result\n`;
        Deno.writeTextFileSync(`${directory}/hook`, script, { mode: 0o755 });
      }
      return names;
    },
    // The volume has the same path on both sides.
    change: (config, arena) => {
      withVolume(config, arena, arena.volume);
      config.hooks = { startContainer: [{ path: `${arena.volume}/swap/hook`, args: ["hook"] }] };
      config.process.args = ["cat", `${arena.volume}/result`];
    },
    prints: "program of the image\n",
    refusal: /error running startContainer hook/,
  },
  {
    name: "CVE-2024-21626: the working directory of exec",
    proc: (box) => {
      box.startSleeping(cheap);
      try {
        using stage = stopBehind(box, "setns", ["exec", box.id, "true"]);
        return openNumbers(stage.pid).find((number) =>
          Deno.readLinkSync(`/proc/${stage.pid}/fd/${number}`) === "/proc"
        )!;
      } finally {
        box.remove();
      }
    },
    prepare: (arena) => {
      const names = descriptorsAndDirectories(arena);
      arena.box.startSleeping((config) => {
        cheap(config);
        withVolume(config, arena);
      });
      return names;
    },
    change: () => {},
    start: (arena, round) => {
      const cwd = `/volume/swap/${numberOf(arena, round)}`;
      // As the one that was looked at: a runtime that is traced has other numbers.
      const prefix = ["/usr/bin/strace", "--follow-forks", "--trace=setns", "--output=/dev/null"];
      return arena.box.runc(["exec", "--cwd", cwd, arena.box.id, ...look(arena)], { prefix });
    },
    prints: "looked\n",
    refusal: /cwd|working directory/,
  },
];

/** Whether a start came through. @throws where it did what it must not. */
function isThrough({ code, stdout, stderr }: Result, { prints, refusal }: Kind): boolean {
  if (code === 0) {
    assertEquals(stdout, prints);
    return true;
  }
  assertEquals(stdout, "");
  assertMatch(stderr, refusal);
  return false;
}

function race(box: Box, kind: Kind): void {
  const host = hostDirectory(box);
  const before = host.content().length;
  const volume = `${box.directory}/volume`;
  Deno.mkdirSync(volume);
  const arena = { box, host, volume, proc: kind.proc?.(box) ?? numberOfProc(box, cheap) };
  const names = kind.prepare(arena);
  const content = host.content();
  assert(content.length >= before);
  using swapper = new Swapper(...names);
  let through = 0;
  // One that comes through shows what the others would have been: by chance, few starts have none.
  let round = 0;
  for (; round < STARTS || (through === 0 && round < 10 * STARTS); round++) {
    const result = kind.start?.(arena, round) ?? box.run((config) => {
      cheap(config);
      kind.change(config, arena, round);
    });
    assertEquals(host.content(), content, "the host's directory");
    kind.check?.(arena);
    if (isThrough(result, kind)) through++;
  }
  console.log(`${round} starts, ${through} came through, ${swapper.count} exchanges`);
  assert(through > 0, "some came through");
  assert(swapper.count >= round, "and there were exchanges all the time");
  if (kind.start !== undefined) box.remove();
}

for (const kind of kinds) {
  Deno.test(`${kind.name}: ${STARTS} starts while somebody swaps`, () => inBox("native", (box) => race(box, kind)));
}

criuTest(`${RESTORES} restores while a place that they make is swapped`, (box) => {
  const host = hostDirectory(box.box);
  const volume = `${box.box.directory}/volume`;
  Deno.mkdirSync(`${volume}/swap`, { recursive: true });
  Deno.symlinkSync(linksTo(host.path)[0]!, `${volume}/link`);
  box.startCounting(({ mounts }) => {
    mounts.push({ destination: "/volume", type: "bind", source: volume, options: ["rbind"] });
    mounts.push({ destination: "/volume/swap/place", type: "bind", source: "/etc/hostname", options: ["bind"] });
  });
  box.checkpoint();
  using swapper = new Swapper(`${volume}/swap`, `${volume}/link`);
  let through = 0;
  for (let round = 0; round < RESTORES; round++) {
    for (const name of ["swap", "link"]) removeIfThere(`${volume}/${name}/place`);
    const { code } = box.runc(["restore", "--detach", "--image-path", box.images, box.id]);
    if (code === 0) {
      through++;
      box.box.remove();
    }
    assertEquals([host.content(), box.box.containers()], [["secret"], []]);
  }
  console.log(`${RESTORES} restores, ${through} came through, ${swapper.count} exchanges`);
  assert(swapper.count >= RESTORES, "there were exchanges all the time");
});

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
