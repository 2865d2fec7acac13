/**
 * The plan of a further process in a running container.
 *
 * @module
 */

import { Prctl } from "../../ffi/constants.ts";
import { call, fixedFd, step, text } from "../../plan/build.ts";
import type { Plan, Step } from "../../plan/op.ts";
import type { NamespaceType, Process } from "../../specs/config.ts";
import { closeSteps, environment, execSteps, listenEntries } from "../steps/command.ts";
import { consoleSteps } from "../steps/console.ts";
import { tell } from "../steps/protocol.ts";
import { finalAffinitySteps, initialAffinitySteps, resetAffinitySteps } from "../steps/cpu_affinity.ts";
import type { CgroupEntry, HostFacts } from "../config/launch_request.ts";
import {
  closeForeignStep,
  earlyJoined,
  enterCgroupSteps,
  forkSteps,
  joinSteps,
  lateJoinSteps,
} from "../steps/namespaces.ts";
import { restrictSteps } from "../steps/landlock.ts";
import { appArmorSteps, execLabelSteps, keyLabelSteps } from "../steps/security_labels.ts";
import type { SeccompFilter } from "../seccomp/filter.ts";
import { type FilterPlaces, placeFilter } from "../steps/seccomp.ts";
import { type ToolRoot, toolRootSteps } from "../steps/root/tool_root.ts";
import { keyringSteps, noNewPrivilegesSteps, oomScoreSteps, pidfdSteps } from "../steps/small_steps.ts";
import { attributeSteps, becomeUserSteps, type ContainerAttributes } from "./become_user.ts";

/** The inputs of `exec` besides the process. */
export interface ExecRequest extends ContainerAttributes {
  readonly id: string;
  /** The container's namespaces. The fixed descriptor `ns-<type>` is init's namespace, which is joined. */
  readonly namespaces: readonly NamespaceType[];
  readonly cgroup: CgroupEntry;
  readonly noNewKeyring: boolean;
  /** Absent: the caller's. */
  readonly umask?: number;
  readonly inheritedFds: number;
  readonly listenFds: number;
  readonly pidfdSocket: boolean;
  /** The container's, which may request Landlock. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** The container's linux.seccomp, compiled. */
  readonly seccomp?: SeccompFilter;
  /** Of a debugger: the process gets these programs as its root, in a mount namespace of its own. */
  readonly tools?: ToolRoot;
}

function umaskSteps(umask: number | undefined): readonly Step[] {
  if (umask === undefined) return [];
  return [step(`set the umask to 0${umask.toString(8)}`, "/process/user/umask", [call("umask", [umask])])];
}

/**
 * Reports to the parent that the process is ready. Under a filter, makes only calls that runc makes there: runc does
 * not write, it closes its socket. So init closes its socket too, and sends a message only if no filter is in force.
 */
function createdSteps(filter: FilterPlaces): readonly Step[] {
  const found = "tell the parent that the command was found";
  const closed = "close the socket to the parent, which tells it that";
  const close = call("close", [fixedFd("sync")]);
  if (filter.early.length > 0) return [step(`${closed} the command was found`, "", [close])];
  if (filter.late.length === 0) return [step(`${found} and close the socket to it`, "", [tell("created"), close])];
  return [
    step(found, "", [tell("created")]),
    ...filter.late,
    step(`${closed} the filter is loaded`, "", [close]),
  ];
}

/** The plan that runs `process` in the container. Pure. @throws {RuncError} for errors that only planning finds. */
export function planExec(process: Process, facts: HostFacts, request: ExecRequest): Plan {
  const env = environment(process.env, listenEntries(request.listenFds));
  const joined = request.namespaces.map((type) => ({ type, from: "", path: "of the container's init" }));
  const userNamespace = request.namespaces.includes("user");
  const filter = placeFilter(request.seccomp, process, closeSteps(request.inheritedFds));
  return {
    stage: [
      // First, so that the configured CPUs apply to all following steps.
      ...initialAffinitySteps(process.execCPUAffinity),
      closeForeignStep(request.inheritedFds),
      ...oomScoreSteps(process, facts.arch),
      ...enterCgroupSteps(request.cgroup, facts.arch),
      ...resetAffinitySteps(process.execCPUAffinity, facts),
      // While the host's /proc is available. The forked child inherits all of these.
      ...(request.noNewKeyring ? [] : keyLabelSteps(process.selinuxLabel, facts.arch)),
      ...execLabelSteps(process.selinuxLabel, facts.arch),
      ...appArmorSteps(process, facts),
      ...(request.tools === undefined
        ? joinSteps(earlyJoined(joined, request.cgroup))
        : toolRootSteps(request.tools, earlyJoined(joined, request.cgroup), facts)),
      step("take the process name runc:[2:INIT] and close the host's /proc", "", [
        call("prctl", [Prctl.PR_SET_NAME, text("runc:[2:INIT]"), 0, 0, 0]),
        // No file of the host may be open when the container's files are looked up (CVE-2024-21626).
        call("close", [fixedFd("proc")]),
      ]),
      ...forkSteps(request.cgroup),
    ],
    init: [
      ...lateJoinSteps(joined, request.cgroup),
      // Entering a cgroup may have changed the stage's CPU affinity.
      ...finalAffinitySteps(process.execCPUAffinity),
      step("start a session", "", [call("setsid", [], { tolerate: ["EPERM"] })]),
      ...(request.noNewKeyring ? [] : keyringSteps({ id: request.id, init: false, userNamespace })),
      ...consoleSteps(process, facts.arch, { devConsole: false }),
      ...(request.pidfdSocket ? pidfdSteps("setns") : []),
      ...noNewPrivilegesSteps(process),
      ...umaskSteps(request.umask),
      ...attributeSteps(process, request),
      ...becomeUserSteps(process, facts, { env, filter, annotations: request.annotations }),
      ...createdSteps(filter),
      ...restrictSteps(request.annotations ?? {}),
      ...filter.close,
      ...execSteps(process, env),
    ],
  };
}
