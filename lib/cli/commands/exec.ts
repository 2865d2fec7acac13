/**
 * `runc exec`.
 *
 * @module
 */

import { resolve } from "../../std/path.ts";
import { RuncError } from "../../errors.ts";
import { runWaits } from "../../ffi/waits.ts";
import { readConfig } from "../../libcontainer/container/bundle.ts";
import { ContainerHandle } from "../../libcontainer/container/handle.ts";
import type { Kept } from "../../libcontainer/container/exec/keep.ts";
import type { ProcessHandle } from "../../libcontainer/container/container_process.ts";
import { runAct } from "../../libcontainer/launch/run_acts.ts";
import type { Reexec } from "../../libcontainer/plans/monitor/reexec.ts";
import { pidFileAct } from "../../libcontainer/plans/parent/create.ts";
import type { Process } from "../../specs/config.ts";
import { ignoredText, parseProcess } from "../../specs/parse.ts";
import type { Runtime } from "../../libcontainer/runtime.ts";
import type { ToolRoot } from "../../libcontainer/steps/root/tool_root.ts";
import type { SeccompFilter } from "../../libcontainer/seccomp/filter.ts";
import { inSpan } from "../../trace/tracer.ts";
import type { Command, Context } from "../context.ts";
import type { Invocation } from "../parse.ts";
import { foregroundOf, type MakeForeground, type MonitoredProcess } from "../foreground.ts";
import { Interruptible } from "../interruption.ts";
import { knownArgv } from "../words/known.ts";
import {
  checkTerminal,
  inheritedDescriptors,
  pidfdSocket,
  type ProcessIo,
  processIo,
  writePidFile,
} from "../process_io.ts";
import { makeRuntime } from "../runtime.ts";
import { parseSubCgroups } from "../words/sub_cgroup.ts";
import { withSystemErrors } from "../system_error.ts";

/** The options that override the config's process. */
interface Overrides {
  readonly cwd?: string;
  readonly env: readonly string[];
  readonly tty: boolean;
  readonly user?: string;
  readonly "additional-gids": readonly number[];
  readonly cap: readonly string[];
  readonly "no-new-privs": boolean;
  readonly apparmor?: string;
  readonly "process-label"?: string;
}

/** The kernel's ids are 32-bit. */
const MAX_ID = 0xffffffff;

/** Parses an id. Strictly decimal, like Go's Atoi; names are not accepted. */
function parseNumericId(kind: "uid" | "gid", text: string): number {
  if (/^[+-]?\d+$/.test(text) && Number(text) >= 0 && Number(text) <= MAX_ID) return Number(text);
  throw new RuncError("usage", `bad ${kind}: strconv.Atoi: parsing ${JSON.stringify(text)}: invalid syntax`, {
    hint: "give --user as numbers: uid or uid:gid",
  });
}

function overrideUser(user: Process["user"], options: Overrides): Process["user"] {
  const groups = options["additional-gids"];
  const negative = groups.find((gid) => gid < 0);
  if (negative !== undefined) throw new RuncError("usage", `additional-gids must be a positive number ${negative}`);
  const large = groups.find((gid) => gid > MAX_ID);
  if (large !== undefined) throw new RuncError("usage", `additional-gids: ${large} is larger than ${MAX_ID}`);
  const additionalGids = [...(user.additionalGids ?? []), ...groups];
  if (!options.user) return { ...user, additionalGids };
  const colon = options.user.indexOf(":");
  const gid = colon < 0 ? user.gid : parseNumericId("gid", options.user.slice(colon + 1));
  const uid = parseNumericId("uid", colon < 0 ? options.user : options.user.slice(0, colon));
  return { ...user, uid, gid, additionalGids };
}

/**
 * Adds the capabilities of --cap. Never to the inheritable set, and to the ambient set only if the config already has
 * inheritable ones (CVE-2022-29162). A process without capabilities in its config already has all of the caller's.
 */
function addCapabilities(capabilities: Process["capabilities"], names: readonly string[]): Process["capabilities"] {
  if (names.length === 0 || capabilities === undefined) return capabilities;
  const add = (set: readonly string[] | undefined) => [...(set ?? []), ...names];
  return {
    ...capabilities,
    bounding: add(capabilities.bounding),
    effective: add(capabilities.effective),
    permitted: add(capabilities.permitted),
    ...(capabilities.inheritable === undefined ? {} : { ambient: add(capabilities.ambient) }),
  };
}

/** The config's process with the overrides of the command line. */
function processFromConfig(
  bundle: string,
  args: readonly string[],
  options: Overrides,
  given: ReadonlySet<string>,
  { runtime, onText }: { readonly runtime: Runtime; readonly onText?: OnText },
): Process {
  withSystemErrors(`chdir ${bundle}`, () => Deno.chdir(bundle));
  const { process } = readConfig(bundle, runtime.log, (text) => onText?.(text, `${bundle}/config.json`));
  if (args.length === 0) throw new RuncError("usage", "exec args cannot be empty");
  if (process === undefined) {
    throw new RuncError("config-invalid", "process property must not be empty", { field: "/process" });
  }
  return {
    ...process,
    args,
    terminal: options.tty,
    cwd: options.cwd || process.cwd,
    env: options.env.length === 0 ? process.env : [...(process.env ?? []), ...options.env],
    user: overrideUser(process.user, options),
    apparmorProfile: options.apparmor || process.apparmorProfile,
    selinuxLabel: options["process-label"] || process.selinuxLabel,
    capabilities: addCapabilities(process.capabilities, options.cap),
    noNewPrivileges: given.has("no-new-privs") ? options["no-new-privs"] : process.noNewPrivileges,
  };
}

/** Receives what the process was read from. `path`: of config.json; empty for the file of --process. */
type OnText = (text: string, path: string) => void;

/** The process that the command line asks for: from a file, or the config's with other arguments. */
export function readProcess(
  runtime: Runtime,
  container: ContainerHandle,
  { args, options, given }: Pick<Invocation<"exec">, "args" | "options" | "given">,
  onText?: OnText,
): Process {
  const { process: name = "" } = options;
  const parse = () => {
    const text = withSystemErrors(`open ${name}`, () => Deno.readTextFileSync(name));
    onText?.(text, "");
    return parseProcess(text, {
      file: name,
      onIgnored: (ignored) => runtime.log("debug", `${name}: ${ignoredText(ignored)}`),
    });
  };
  const read = () =>
    name === "" ? processFromConfig(container.bundle, args, options, given, { runtime, onText }) : parse();
  return inSpan(runtime.trace, "read the process", read);
}

/** Runs another process in a container. */
export const run: Command<"exec"> = (context, { args: [id = "", ...args], options, given }) => {
  const makeForeground = options.detach ? undefined : foregroundOf(context);
  const pidFile = options["pid-file"] ? resolve(options["pid-file"]) : undefined;
  const runtime = makeRuntime(context);
  const container = ContainerHandle.load(runtime, id);
  runWaits(runtime, container.refuseExec({ ignorePaused: options["ignore-paused"] }));
  let source: Source | undefined;
  const process = readProcess(runtime, container, { args, options, given }, (text, path) => source = { text, path });
  const seccomp = container.compileSeccomp();
  using interruptible = new DisposableStack();
  if (options.detach) interruptible.use(new Interruptible(context.kernel, context.interruption));
  const keep = (again?: Reexec) => source && keptOf(context, source, { again, owner: container.rootOwner });
  return execute(runtime, { makeForeground, container, keep }, process, { ...options, pidFile, seccomp });
};

/** What the process was read from. */
interface Source {
  readonly text: string;
  readonly path: string;
}

/** What the front of the program compares the next command line with; undefined if it would not know it. */
function keptOf(
  { words, global, root, trace, programKind }: Context,
  { text, path }: Source,
  more: Pick<Kept, "again" | "owner">,
): Kept | undefined {
  const argv = knownArgv(words);
  if (argv === undefined || programKind() !== "snapshot" || trace !== undefined || global.debug) return undefined;
  const { log = "", "log-format": format } = global;
  // The monitor has its absolute path.
  if (more.again !== undefined && log !== "" && !log.startsWith("/")) return undefined;
  return { ...more, argv, root, log, format, request: new TextEncoder().encode(text), requestPath: path };
}

/** Starts the process, and in the foreground becomes its monitor. */
export function execute(
  runtime: Runtime,
  { makeForeground, container, keep }: {
    readonly makeForeground: MakeForeground | undefined;
    readonly container: ContainerHandle;
    /** What is kept of the exec. `again`: of the monitor, in the foreground. */
    readonly keep?: (again?: Reexec) => Kept | undefined;
  },
  process: Process,
  options: {
    readonly detach: boolean;
    readonly pidFile?: string;
    readonly "console-socket"?: string;
    readonly "pidfd-socket"?: string;
    readonly "preserve-fds": number;
    readonly "ignore-paused": boolean;
    readonly cgroup: readonly string[];
    readonly seccomp?: SeccompFilter;
    readonly tools?: ToolRoot;
  },
): number {
  const { kernel, trace } = runtime;
  const { detach, pidFile } = options;
  const terminal = process.terminal ?? false;
  checkTerminal({ terminal, detach, consoleSocket: options["console-socket"] });
  const { inheritedFds } = inheritedDescriptors(kernel, options["preserve-fds"], () => undefined, kernel.pid);
  using foreground = makeForeground?.(runtime, { terminal });
  const streams = { terminal, detach, consoleSocket: options["console-socket"], owner: container.rootOwner };
  using io: ProcessIo = inSpan(trace, "open the standard streams", () => processIo(runtime, streams));
  using pidfd = pidfdSocket(runtime, options["pidfd-socket"]);
  const monitored = (pid: number): MonitoredProcess => ({ pid, id: container.id, removal: { kind: "none" } });
  const starting = container.exec({
    // The program runs as soon as it is created: its terminal has the right size from the start.
    process: { ...process, consoleSize: process.consoleSize ?? foreground?.consoleSize },
    ignorePaused: options["ignore-paused"],
    seccomp: options.seccomp,
    tools: options.tools,
    subCgroups: parseSubCgroups(options.cgroup),
    stdio: io.stdio,
    consoleSocket: io.consoleSocket,
    pidfdSocket: pidfd,
    inheritedFds,
    kept: keep?.(foreground?.again),
    onProcess: (pid) => foreground?.prepare(monitored(pid), io),
  });
  using started: ProcessHandle = runWaits(runtime, starting);
  io.closeTheirs();
  try {
    if (pidFile !== undefined) {
      runWaits(runtime, runAct(pidFileAct(pidFile), runtime, () => writePidFile(pidFile, started.pid)));
    }
    return foreground === undefined ? 0 : foreground.run(monitored(started.pid), io);
  } catch (error) {
    runWaits(runtime, started.abort());
    throw error;
  }
}
