/**
 * Handles the messages of stage and init while a container is created. Runs in: parent.
 *
 * `launch/conversation.ts` has already checked each message against its table of the allowed order.
 *
 * @module
 */

import type { CgroupManager } from "../../cgroups/manager.ts";
import type { RdtGroup } from "../../cgroups/rdt/group.ts";
import { inContext, RuncError } from "../../errors.ts";
import type { Resources } from "../../specs/config.ts";
import { inSpan } from "../../trace/tracer.ts";
import { copyTree, type Trees } from "../launch/copy_tree.ts";
import { runHooks } from "../launch/host_hooks.ts";
import { writeIdMaps } from "../launch/id_maps.ts";
import type { Launch, Message } from "../launch/launch.ts";
import { makeTarget } from "../launch/make_target.ts";
import { moveNetworkDevices } from "../launch/network_devices.ts";
import { homeOf } from "../launch/passwd.ts";
import type { Runtime } from "../runtime.ts";
import type { RuncState } from "../state/runc_state.ts";
import type { StateDirectory } from "../state/store.ts";
import { directoryOf } from "../steps/devices.ts";
import type { ParsedMount } from "../config/mounts.ts";
import { mountPrefix } from "../steps/mounts/messages.ts";
import { FIRST_DEVICE } from "../steps/protocol.ts";
import { handListener, restoreFileLimit, setRlimits } from "./container_process.ts";
import { creatingState, describeContainer, writeHookStates } from "./new_state.ts";
import type { PlannedContainer, PlanOptions } from "./planning.ts";
import type { HookStateFiles } from "./stage_descriptors.ts";

/** A container that is being created. */
export interface PendingContainer {
  readonly directory: StateDirectory;
  readonly state: RuncState;
  readonly cgroup: CgroupManager;
}

/** A creation whose stage or init sends messages. */
export interface Creating {
  readonly runtime: Runtime;
  readonly options: PlanOptions;
  readonly planned: PlannedContainer;
  readonly directory: StateDirectory;
  readonly launch: Launch;
  readonly hookStates: HookStateFiles;
  /** linux.resources, if it has limits. */
  readonly limits?: Resources;
  readonly rdtGroup?: RdtGroup;
  /** Called while init works alone for the longest time. */
  readonly onProcess: (container: PendingContainer) => void;
}

/** The progress so far. */
interface Progress {
  /** Undefined until the stage has reported init's pid. */
  state?: RuncState;
  isLimited: boolean;
}

type Kind = Message["kind"];
type MessageOf<K extends Kind> = Message & { readonly kind: K };
type Handlers = { readonly [K in Kind]: (creating: Creating, said: MessageOf<K>, progress: Progress) => void };

/** Handles the messages of stage and init until the container is created. @throws {RuncError} */
export function converse(creating: Creating): RuncState {
  const progress: Progress = { isLimited: false };
  for (;;) {
    const said = creating.launch.next();
    handle(said.kind, creating, said, progress);
    if (said.kind === "created") return stateOf(progress);
  }
}

function handle<K extends Kind>(kind: K, creating: Creating, said: MessageOf<K>, progress: Progress): void {
  handlers[kind](creating, said, progress);
}

/** The handlers, in the order of the messages. */
const handlers: Handlers = {
  mapping(creating) {
    inSpan(creating.runtime.trace, "write the id maps", () => mapIds(creating));
    creating.launch.go();
  },

  child({ runtime, options, planned, launch, hookStates, rdtGroup }, _said, progress) {
    const pid = launch.initPid;
    writeHookStates(hookStates, creatingState(options, pid), options.spec.config);
    const what = { pid, cgroup: planned.cgroup, rdtGroup };
    const describe = () => describeContainer(runtime, options, what);
    progress.state = inSpan(runtime.trace, "describe the container", describe);
  },

  network({ runtime, options, launch }) {
    const devices = options.spec.config.linux!.netDevices!;
    inSpan(runtime.trace, "move network devices", () => moveNetworkDevices(runtime, devices, launch.initPid));
    launch.go();
  },

  target(creating, said) {
    using _root = said.root;
    inSpan(creating.runtime.trace, "make the place of a mount", () => makePlace(creating, said));
    creating.launch.go();
  },

  copyUp(creating, said) {
    using _from = said.from;
    using _to = said.to;
    inSpan(creating.runtime.trace, "copy up", () => copyUp(creating, said));
    creating.launch.go();
  },

  copied() {
    // Launch.fill receives the answer for each file itself.
    throw new RuncError("internal", "init copied a file that nobody waits for");
  },

  hooks(creating, _said, progress) {
    const { planned: { cgroup }, directory, launch, onProcess } = creating;
    limit(creating, progress);
    runHostHooks(creating);
    launch.go();
    // From here on, init works alone for the longest time.
    onProcess({ directory, cgroup, state: stateOf(progress) });
  },

  ready(creating, _said, progress) {
    const { runtime, options, directory, launch } = creating;
    const process = options.spec.config.process!;
    limit(creating, progress);
    setRlimits(runtime, launch.initPid, process);
    inSpan(runtime.trace, "save the state", () => directory.save(runtime.kernel, stateOf(progress)));
    launch.go(homeOf(process.user.uid, launch.passwd));
  },

  seccomp({ runtime, options, launch }, { fd }) {
    handListenerOf(runtime, options, launch, fd);
  },

  created({ runtime }) {
    runtime.log("debug", "init: closing the pipe to signal completion");
  },
};

/** Sends the seccomp listener of a new container's init to the agent. `fd`: its number in init. */
export function handListenerOf(runtime: Runtime, options: PlanOptions, launch: Launch, fd: number): void {
  handListener(runtime, launch, { seccomp: options.seccomp, fd, hookState: creatingState(options, launch.initPid) });
}

function stateOf({ state }: Progress): RuncState {
  if (state === undefined) throw new RuncError("internal", "stage has not told who init is");
  return state;
}

function mapIds({ options, planned: { facts }, launch }: Creating): void {
  const { uidMappings = [], gidMappings = [] } = options.spec.config.linux ?? {};
  writeIdMaps(launch.stagePid, { uid: uidMappings, gid: gidMappings }, { uid: facts.euid, gid: Deno.gid() ?? 0 });
}

/** Sets the limits, once. */
function limit({ options, planned: { cgroup }, limits, rdtGroup }: Creating, progress: Progress): void {
  if (progress.isLimited) return;
  // Device rules come first, so that they are in force even if a limit is refused.
  cgroup.setDevices(options.spec.config.linux?.resources?.devices ?? []);
  if (limits !== undefined) inContext("error setting cgroup config for procHooks process", () => cgroup.set(limits));
  rdtGroup?.limit();
  progress.isLimited = true;
}

function runHostHooks({ runtime, options, launch }: Creating): void {
  const { config: { hooks }, bundle } = options.spec;
  const state = creatingState(options, launch.initPid);
  runHooks(runtime, "prestart", hooks?.prestart, state, { cwd: bundle });
  runHooks(runtime, "createRuntime", hooks?.createRuntime, state, { cwd: bundle });
  if (hooks?.createContainer?.length) restoreFileLimit(runtime, launch.initPid);
}

function makePlace(creating: Creating, { root, mount, isFile }: MessageOf<"target">): void {
  const { path, prefix } = placeOf(creating, mount);
  inContext(prefix, () => makeTarget(creating.runtime.kernel, root, { path, isFile, ...ownerOf(creating) }));
}

function copyUp(creating: Creating, { from, to, mount: number }: MessageOf<"copyUp">): void {
  const { runtime, launch } = creating;
  const { mount } = mountOf(creating, number);
  const trees: Trees = { from, to, ...ownerOf(creating) };
  inContext(`${mountPrefix(mount)}: tmpcopyup: failed to copy`, () => {
    copyTree(runtime.kernel, trees, (source, copy) => launch.fill(source, copy));
  });
}

/** The host's ids of the container's root. */
function ownerOf({ planned: { facts } }: Creating): { uid: number; gid: number } {
  return { uid: facts.rootUid, gid: facts.rootGid };
}

/** The path that init names by a number: the target of a mount, or the directory of a device. */
function placeOf(creating: Creating, number: number): { path: string; prefix: string } {
  const device = creating.options.spec.config.linux?.devices?.[number - FIRST_DEVICE];
  if (device !== undefined) return { path: directoryOf(device), prefix: `cannot make ${device.path}` };
  const { mount, destination } = mountOf(creating, number);
  return { path: destination, prefix: mountPrefix(mount) };
}

/** The mount that init names by its number. */
function mountOf({ planned: { mounts } }: Creating, number: number): ParsedMount {
  const mount = mounts[number];
  if (mount === undefined) throw new RuncError("internal", `init asked for mount ${number}, which there is not`);
  return mount;
}
