/**
 * Keeps an exec, so that the next one with the same request needs no engine: see state/known_exec.ts. Runs in: parent,
 * while init executes its program.
 *
 * Only what is usual is kept. Whatever is not known to be the same the next time is looked at by the front of the program:
 * the container's state and the program itself, the request, the caller's namespaces, capabilities and streams.
 *
 * @module
 */

import { FileType } from "../../../ffi/constants.ts";
import { fileError } from "../../../ffi/file_error.ts";
import { alloc, type Kernel } from "../../../ffi/kernel.ts";
import { isFiltered } from "../../../ffi/process/refused_calls.ts";
import { fstat } from "../../../ffi/stat.ts";
import type { IoMode } from "../../../ffi/channel.ts";
import type { Process } from "../../../specs/config.ts";
import { bytes, slot } from "../../../plan/build.ts";
import { encode } from "../../../plan/native/encode.ts";
import { CAPABILITY_VERSION } from "../../config/facts.ts";
import { mayHaveToStack } from "../../config/launch_request.ts";
import { placesOf } from "../../launch/kept_images.ts";
import { homeOf } from "../../launch/passwd.ts";
import { planMonitor } from "../../plans/monitor/plan.ts";
import type { Reexec } from "../../plans/monitor/reexec.ts";
import type { Act } from "../../plans/parent/act.ts";
import { usualExec } from "../../plans/parent/known_exec.ts";
import type { Runtime } from "../../runtime.ts";
import {
  callersNamespaces,
  CAPABILITY_BYTES,
  type KnownExec,
  KnownFlag,
  type KnownFor,
  monitorNumbers,
  REQUEST_LIMIT,
} from "../../state/known_exec.ts";
import { initOf, namespacesOf, type RuncState } from "../../state/runc_state.ts";
import { identityAt, type StateDirectory } from "../../state/store.ts";

/** What only the command line knows of an exec. */
export interface Kept extends Pick<KnownExec, "argv" | "root" | "log" | "format" | "request" | "requestPath"> {
  /** How the monitor executes the runtime again. Absent: the process is detached, and has none. */
  readonly again?: Reexec;
  /** The owner of the process's pipes. */
  readonly owner: KnownExec["owner"];
}

/** What was planned. */
export interface PlannedParts {
  /** What the parent does. */
  readonly parent: readonly Act[];
  readonly process: Process;
  /** It enters the cgroup of init, which has left the container's. */
  readonly followsInit: boolean;
}

/** What was launched. */
export interface LaunchedImage {
  readonly image: Uint8Array;
  /** The numbers of the stage's descriptors, by name. */
  readonly numbers: Readonly<Record<string, number>>;
  /** What init has sent. */
  readonly passwd: Uint8Array;
}

/** Keeps the exec, if it is a usual one. Where that is not possible, the next one is as this one. */
export function keepExec(
  { kernel }: Pick<Runtime, "kernel">,
  { state, directory }: { readonly state: RuncState; readonly directory: StateDirectory },
  planned: PlannedParts,
  launched: LaunchedImage,
  kept: Kept,
): void {
  const known = knownExec(kernel, state, planned, launched, kept);
  const head = known && readHead(kernel);
  if (head !== undefined) directory.keepExec(kernel, head, known!);
}

function knownExec(
  kernel: Kernel,
  state: RuncState,
  { parent, process, followsInit }: PlannedParts,
  { image, numbers, passwd }: LaunchedImage,
  kept: Kept,
): KnownExec | undefined {
  const acts = usualExec(parent);
  if (acts === undefined || followsInit || process.terminal) return undefined;
  // Whether the profile has to be stacked depends on the caller's own.
  if (mayHaveToStack(process)) return undefined;
  if (kept.request.length > REQUEST_LIMIT) return undefined;
  // One that is ours, too, may be another one the next time.
  if (acts.namespaces.length !== namespacesOf(state).length) return undefined;
  const monitor = kept.again === undefined ? noMonitor : monitorOf(kernel, kept.again);
  if (monitor === undefined) return undefined;
  const { uid } = process.user;
  const home = new TextEncoder().encode(`${homeOf(uid, new TextDecoder().decode(passwd))}\0`);
  const names = Object.keys(numbers).filter((name) => !/^(last|next) foreign$/.test(name));
  return {
    ...kept,
    ...monitor,
    flags: (kept.again === undefined ? KnownFlag.detached : 0) | (acts.created ? KnownFlag.created : 0) |
      (acts.end ? KnownFlag.end : 0),
    passwd,
    home,
    rlimits: acts.rlimits,
    init: initOf(state).pid,
    ownArguments: kept.again?.ownArguments ?? 0,
    namespaces: acts.namespaces.map(({ fd, path }) => ({ number: numbers[fd]!, file: path.replace(/^.*\//, "") })),
    numbers: {
      lowest: Math.min(...names.map((name) => numbers[name]!)),
      sync: numbers.sync!,
      proc: numbers.proc!,
    },
    image,
  };
}

/** Types of streams that need no descriptor of their own. @see sharedChannel of ffi/channel.ts */
const manners: Readonly<Record<number, IoMode>> = {
  [FileType.S_IFIFO]: "pipe",
  [FileType.S_IFSOCK]: "socket",
  [FileType.S_IFREG]: "nonblocking",
  [FileType.S_IFCHR]: "blocking",
};

/** The device number of /dev/null: major 1, minor 3. Of devices, only this one is known to be no terminal. */
export const NULL_DEVICE = 0x103;

/** The type of a standard stream; undefined if such a stream is not kept. */
function streamOf(kernel: Kernel, fd: number): number | undefined {
  const status = fstat(kernel, fd);
  if (typeof status === "number") return undefined;
  const type = status.mode & FileType.S_IFMT;
  if (type === FileType.S_IFCHR && status.rdev !== NULL_DEVICE) return undefined;
  return manners[type] === undefined ? undefined : type;
}

/** Stands for the pid in the monitor's image. */
const PID_WORD = new TextEncoder().encode("<THEPID>");

type KnownMonitor = Pick<KnownExec, "monitor" | "pidPlace" | "streams">;

const noMonitor: KnownMonitor = { monitor: new Uint8Array(), pidPlace: 0, streams: [0, 0, 0] };

/**
 * A monitor that reads the pid of its process from its own image, where the front writes it. Undefined if the standard
 * streams need descriptors of their own.
 */
function monitorOf(kernel: Kernel, again: Reexec): KnownMonitor | undefined {
  const [input, output, errors] = [0, 1, 2].map((fd) => streamOf(kernel, fd));
  if (input === undefined || output === undefined || errors === undefined) return undefined;
  const [stdin, stdout, stderr] = [manners[input]!, manners[output]!, manners[errors]!];
  const { arch } = kernel;
  const plan = planMonitor({
    arch,
    pid: slot("of exec"),
    pidWord: bytes(PID_WORD, "<pid>"),
    stdio: { kind: "pipes", manners: { stdin, stdout, stderr } },
    removal: { kind: "none" },
    id: "",
    again,
    debug: false,
  });
  const fds = { ...monitorNumbers, stdin: 0, stdout: 1, stderr: 2, "caught signals": -1, sync: -1 };
  const { image } = encode(plan, { arch, fds, fold: false });
  return { monitor: image, pidPlace: placesOf(image, PID_WORD)[0]!, streams: [input, output, errors] };
}

/** What has to be the same the next time; undefined where that cannot be known. */
function readHead(kernel: Kernel): Omit<KnownFor, "identity"> | undefined {
  // A filter may refuse calls, and images are without them.
  if (isFiltered(kernel)) return undefined;
  const program = identityAt(kernel, "/proc/self/exe");
  const namespaces = callersNamespaces.map((file) => inodeOf(`/proc/self/ns/${file}`));
  const capabilities = alloc(CAPABILITY_BYTES);
  const header = alloc(8);
  new DataView(header.buffer).setUint32(0, CAPABILITY_VERSION, true);
  const isKnown = program !== undefined && !namespaces.includes(undefined) &&
    kernel.call("capget", header, capabilities) >= 0;
  return isKnown ? { program, namespaces: namespaces as readonly bigint[], capabilities } : undefined;
}

function inodeOf(path: string): bigint | undefined {
  try {
    const { ino } = Deno.statSync(path);
    return ino === null ? undefined : BigInt(ino);
  } catch (error) {
    if (fileError(error) === undefined) throw error;
    return undefined;
  }
}
