/**
 * Runs in a room: whole runs, one after the other. Prints a line of JSON for each.
 *
 *     inside.ts PROGRAM SEED CGROUP FROM TO STEP
 *
 * @module
 */

import { UmountFlag } from "../../../lib/ffi/constants.ts";
import { cString } from "../../../lib/ffi/kernel.ts";
import { kill } from "../../../lib/ffi/process/process.ts";
import type { ExitStatus } from "../../../lib/ffi/process/process.ts";
import { poll } from "../../../lib/ffi/poll.ts";
import { contentOf, kernel } from "../../integration/foreground_harness.ts";
import { makeRootfs, Running } from "../../integration/harness.ts";
import { mounts } from "../../integration/leftovers.ts";
import { type Case, caseOf, ID, type Step } from "./cases.ts";
import { namesOwnCgroups, type Place } from "./confine.ts";

/** What came of one run. */
export interface Outcome {
  readonly index: number;
  readonly kind: string;
  /** What is wrong. */
  readonly faults: readonly string[];
  /** Codes of the errors, and exit statuses: `run 0`, `run config-invalid`. */
  readonly ends: readonly string[];
}

/** More than any command takes, on a machine that does other things, too. */
const HANG_MS = 10_000;
/** For what ends a moment later. */
const PATIENCE_MS = 5_000;

/** A program whose status is kept as the kernel tells it. */
class Watched extends Running {
  status: ExitStatus | undefined;

  override hasEnded(status: ExitStatus): void {
    this.status = status;
    super.hasEnded(status);
  }

  /** Waits for its end. Returns false if it had to be killed. */
  ends(limitMs: number): boolean {
    const deadline = performance.now() + limitMs;
    let pauseMs = 1;
    while (!this.isOver) {
      if (performance.now() > deadline) {
        kill(kernel, this.pid, 9);
        return false;
      }
      poll(kernel, [], pauseMs);
      pauseMs = Math.min(20, pauseMs + 1);
    }
    return true;
  }
}

const [program = "", seed = "", cgroups = "", from = "", to = "", step = ""] = Deno.args;
const place: Place = { bundle: "/tmp/bundle", cgroups };
const root = "/run/fuzz";
const log = "/tmp/log";

const hierarchies = mounts().filter(({ type }) => type === "cgroup" || type === "cgroup2").map(({ place }) => place);

/** Directories of cgroups that are there. */
const ownCgroups = (): readonly string[] =>
  hierarchies.flatMap((hierarchy) => namesIn(`${hierarchy}${cgroups}`).map((name) => `${hierarchy}${cgroups}/${name}`));

function namesIn(path: string): readonly string[] {
  try {
    return [...Deno.readDirSync(path)].filter(({ isDirectory }) => isDirectory).map(({ name }) => name);
  } catch {
    return [];
  }
}

const processes = (): readonly string[] =>
  [...Deno.readDirSync("/proc")].map(({ name }) => name).filter((name) => /^\d+$/.test(name));
const mountLines = (): readonly string[] => mounts().map(({ place, type }) => `${place} ${type}`);

const before = { processes: new Set(processes()), mounts: mountLines().join("\n") };

/** What a run has left. */
function leftovers(): readonly string[] {
  const others = processes().filter((pid) => !before.processes.has(pid) && contentOf(`/proc/${pid}/stat`) !== "");
  const now = mountLines();
  return [
    ...namesIn(root).map((name) => `the state of ${name}`),
    ...ownCgroups().map((path) => `the cgroup ${path}`),
    ...others.map((pid) => `the process ${contentOf(`/proc/${pid}/stat`).slice(0, 60)}`),
    ...(now.join("\n") === before.mounts
      ? []
      : [`mounts: ${now.filter((line) => !before.mounts.includes(line)).join("; ")}`]),
  ];
}

/** The same, once there is nothing or patience is at its end. */
function leftAfterAll(): readonly string[] {
  for (const deadline = performance.now() + PATIENCE_MS;;) {
    const left = leftovers();
    if (left.length === 0 || performance.now() > deadline) return left;
    poll(kernel, [], 5);
  }
}

/** What JavaScript says where the program has a bug, and no container does. */
const BUG = /\b(?:TypeError|RangeError|ReferenceError|SyntaxError|InternalError|Uncaught|code=internal|panicked)\b/;

function logged(): readonly { readonly level: string; readonly msg: string; readonly code?: string }[] {
  const lines = contentOf(log).split("\n").filter((line) => line !== "");
  return lines.flatMap((line) => {
    try {
      return [JSON.parse(line)];
    } catch {
      return [{ level: "error", msg: `a record of the log is no JSON: ${line.slice(0, 200)}`, code: "internal" }];
    }
  });
}

/** What one command did. */
interface Ran {
  readonly faults: readonly string[];
  readonly end: string;
  readonly failed: boolean;
}

function runStep({ words, must }: Step): Ran {
  Deno.writeTextFileSync(log, "");
  const argv = [program, "--root", root, "--log", log, "--log-format", "json", ...words];
  using running = new Watched(argv, { cwd: place.bundle });
  const what = `runc ${words.join(" ").slice(0, 200)}`;
  if (!running.ends(HANG_MS)) return { faults: [`${what} does not end`], end: `${words[0]} hangs`, failed: true };
  const { code = 0, signal = 0 } = running.status as { code?: number; signal?: number };
  const records = logged();
  const errors = records.filter(({ level }) => level === "error");
  const internal = records.filter(({ code }) => code === "internal");
  const { stderr } = running;
  const faults = [
    ...(signal === 0 ? [] : [`${what} ended by signal ${signal}`]),
    ...internal.map(({ msg }) => `${what}: internal: ${msg.slice(0, 300)}`),
    ...(internal.length === 0 && BUG.test(stderr) ? [`${what}: ${stderr.slice(0, 500)}`] : []),
    ...(must && code !== 0 ? [`${what} has to succeed: ${stderr.slice(0, 300)}`] : []),
  ];
  return { faults, end: `${words[0]} ${errors[0]?.code ?? code}`, failed: code !== 0 || signal !== 0 };
}

/** Changes a file of the container's state, unless the result would name what is not its own. */
function changeState({ stateChange }: Case): void {
  const path = `${root}/${ID}/${stateChange!.file}`;
  let content: Uint8Array<ArrayBuffer>;
  try {
    content = Deno.readFileSync(path);
  } catch {
    return;
  }
  const changed = stateChange!.change(content);
  // The front believes a file only about the state.json that it was made from; so it stays where it is.
  if (namesOwnCgroups(new TextDecoder().decode(changed), place)) Deno.writeFileSync(path, changed);
}

function makeBundle(files: Case["files"]): void {
  Deno.mkdirSync(place.bundle);
  makeRootfs(`${place.bundle}/rootfs`);
  // Sources of mounts in the configs.
  Deno.mkdirSync(`${place.bundle}/data`);
  for (const [name, text] of Object.entries(files)) Deno.writeTextFileSync(`${place.bundle}/${name}`, text);
}

/** Removes what is left, so that the next run begins with nothing. */
function clear(): void {
  for (const id of namesIn(root)) {
    using running = new Watched([program, "--root", root, "delete", "--force", id]);
    running.ends(HANG_MS);
    Deno.removeSync(`${root}/${id}`, { recursive: true });
  }
  for (const pid of processes().filter((pid) => !before.processes.has(pid))) kill(kernel, Number(pid), 9);
  for (const line of mountLines().filter((line) => !before.mounts.split("\n").includes(line)).reverse()) {
    kernel.call("umount2", cString(line.split(" ")[0]!), UmountFlag.MNT_DETACH);
  }
  for (const deadline = performance.now() + PATIENCE_MS; performance.now() < deadline && ownCgroups().length > 0;) {
    for (const path of ownCgroups()) removeCgroup(path);
    poll(kernel, [], 5);
  }
}

function removeCgroup(path: string): void {
  for (const name of namesIn(path)) removeCgroup(`${path}/${name}`);
  try {
    Deno.removeSync(path);
  } catch {
    // Its processes are ending.
  }
}

function runCase(which: Case): Outcome {
  makeBundle(which.files);
  const faults: string[] = [];
  const ends: string[] = [];
  for (const [number, each] of which.steps.entries()) {
    if (which.stateChange?.before === number) changeState(which);
    const ran = runStep(each);
    faults.push(...ran.faults);
    ends.push(ran.end);
    if (each.must && ran.failed) break;
    // What fails leaves nothing, without anybody removing it.
    const isStart = number === 0 && ["run", "create"].includes(each.words[0]!) && !each.must;
    if (
      isStart && ran.failed && ran.end !== `run 3` && ran.end !== "run 137" && namesIn(root).includes(ID) &&
      !each.words.includes("--keep")
    ) {
      faults.push(`${each.words[0]} has failed (${ran.end}) and left the container`);
    }
  }
  // A container that runs, or was kept, is removed; with a changed state that may take more than its own runtime.
  if (which.stateChange === undefined) {
    for (const id of namesIn(root)) {
      runStep({ words: ["delete", "--force", id] });
    }
  }
  const left = which.stateChange === undefined ? leftAfterAll() : [];
  faults.push(...left.map((what) => `left behind: ${what}`));
  if (left.length > 0 || which.stateChange !== undefined) clear();
  Deno.removeSync(place.bundle, { recursive: true });
  return { index: which.index, kind: which.kind, faults, ends };
}

if (import.meta.main) {
  for (const hierarchy of hierarchies) Deno.mkdirSync(`${hierarchy}${cgroups}`, { recursive: true });
  try {
    for (let index = Number(from); index < Number(to); index += Number(step)) {
      console.log(JSON.stringify(runCase(caseOf(Number(seed), index, place))));
    }
  } finally {
    for (const hierarchy of hierarchies) removeCgroup(`${hierarchy}${cgroups}`);
  }
}
