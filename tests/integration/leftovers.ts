/** What a test could leave behind: looked for after each test, and removed so that the next one starts clean. */

import { basename, join } from "@std/path";
import { Prctl } from "../../lib/ffi/constants.ts";
import { poll } from "../../lib/ffi/poll.ts";
import { kill, reapAny } from "../../lib/ffi/process/process.ts";
import { contentOf, kernel } from "./foreground_harness.ts";

/** The mounts of this process's namespace: what of mountinfo stays the same, and where each is. proc(5) */
export function mounts(pid: number | "self" = "self"): { line: string; place: string; type: string }[] {
  return Deno.readTextFileSync(`/proc/${pid}/mountinfo`).trimEnd().split("\n").map((line) => {
    const [before = "", after = ""] = line.split(" - ");
    return { line, place: before.split(" ")[4]!, type: after.split(" ")[0]! };
  });
}

/** The mounts of the host that a test named `name` is answerable for: another test's, at the same time, are below /tmp. */
export function mountsOf(name: string): { line: string; place: string; type: string }[] {
  return mounts().filter(({ line, place }) => line.includes(name) || !place.startsWith("/tmp/"));
}

/** Directories below every cgroup hierarchy with `name` in their names, parents first. */
export function cgroupsNamed(name: string): string[] {
  const hierarchies = mounts().filter(({ type }) => type === "cgroup" || type === "cgroup2");
  return hierarchies.flatMap(({ place }) => directoriesBelow(place)).filter((path) => basename(path).includes(name));
}

/** Removes them. They must be empty. */
export function removeCgroupsNamed(name: string): void {
  for (const path of cgroupsNamed(name).reverse()) Deno.removeSync(path);
}

/** Others make and remove cgroups meanwhile: one that is gone has nothing below it. */
function directoriesBelow(path: string): string[] {
  try {
    const paths = [...Deno.readDirSync(path)].filter((entry) => entry.isDirectory).map((entry) =>
      join(path, entry.name)
    );
    return paths.flatMap((child) => [child, ...directoriesBelow(child)]);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** Descriptors of this process with what they are open on. */
function descriptors(): string[] {
  return [...Deno.readDirSync("/proc/self/fd")].flatMap(({ name }) => {
    try {
      return [`${name} ${Deno.readLinkSync(`/proc/self/fd/${name}`)}`];
    } catch {
      // The directory's own descriptor, closed by now.
      return [];
    }
  });
}

interface Child {
  readonly pid: number;
  readonly isZombie: boolean;
  readonly name: string;
}

/** Processes whose parent we are. */
function children(): Child[] {
  return [...Deno.readDirSync("/proc")].flatMap(({ name }) => {
    if (!/^\d+$/.test(name)) return [];
    // pid (name) state ppid ...: the name may hold blanks and parentheses.
    const [, command, state, parent] = /^\d+ \(([^]*)\) (\S) (\d+)/.exec(contentOf(`/proc/${name}/stat`)) ?? [];
    return Number(parent) === Deno.pid ? [{ pid: Number(name), isZombie: state === "Z", name: command! }] : [];
  });
}

/** Reaps what has ended; returns our children that live. */
function livingChildren(): Child[] {
  while (reapAny(kernel) !== undefined);
  return children().filter(({ isZombie }) => !isZombie);
}

/** What a killed process may take to end: it takes milliseconds. And what somebody else may have mounted meanwhile, outside of /tmp. */
const PATIENCE_MS = 10_000;

/** What `look` finds, once there is nothing or patience is at its end. */
function waitForNone<Item>(look: () => readonly Item[], intervalMs: number): readonly Item[] {
  const deadline = performance.now() + PATIENCE_MS;
  let found = look();
  while (found.length > 0 && performance.now() < deadline) {
    poll(kernel, [], intervalMs);
    found = look();
  }
  return found;
}

/** Waits for the end of our children. Returns those that live on. */
function waitForChildren(): readonly Child[] {
  return waitForNone(livingChildren, 2);
}

/** Whether orphaned descendants become our children. @see PR_SET_CHILD_SUBREAPER(2const) */
function setSubreaper(on: boolean): void {
  kernel.must("prctl(PR_SET_CHILD_SUBREAPER)", "prctl", Prctl.PR_SET_CHILD_SUBREAPER, on ? 1 : 0, 0, 0, 0);
}

/**
 * Looks at the host before a test and after it. Orphans become our children, so that no process gets lost.
 *
 * `name`: in the names of all cgroups that belong to the test.
 */
export class Watchman {
  readonly #name: string;
  readonly #mounts: ReadonlySet<string>;
  readonly #descriptors = new Set(descriptors());

  constructor(name: string) {
    this.#name = name;
    this.#mounts = new Set(mountsOf(name).map(({ line }) => line));
    setSubreaper(true);
  }

  /** One line for each thing that was not there before. Processes that have been killed get time to end. */
  find(): string[] {
    return [
      ...waitForChildren().map(({ pid, name }) => `process ${pid} (${name})`),
      ...cgroupsNamed(this.#name).map((path) => `cgroup ${path}`),
      // One that was ours would stay.
      ...waitForNone(() => this.#newMounts(), 100).map(({ line }) => `mount ${line}`),
      ...descriptors().filter((one) => !this.#descriptors.has(one)).map((one) => `descriptor ${one}`),
    ];
  }

  #newMounts(): readonly { line: string; place: string }[] {
    return mountsOf(this.#name).filter(({ line }) => !this.#mounts.has(line));
  }

  /** Ends the processes that are left. */
  endProcesses(): void {
    for (const { pid } of livingChildren()) kill(kernel, pid, 9);
    waitForChildren();
  }

  /** Removes what {@link find} finds, but for descriptors and for mounts elsewhere, which may be somebody else's. */
  clear(): void {
    this.endProcesses();
    for (const { line, place } of this.#newMounts().toReversed()) {
      if (!line.includes(this.#name)) continue;
      new Deno.Command("umount", { args: ["-l", place] }).outputSync();
    }
    removeCgroupsNamed(this.#name);
    setSubreaper(false);
  }
}
