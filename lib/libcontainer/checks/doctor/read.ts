/**
 * Reads the facts about the host, by trying things out where that changes nothing. Runs in: parent.
 *
 * @module
 */

import { dirname } from "../../../std/path.ts";
import { type CgroupLayout, directoryOf, readCgroupLayout } from "../../../cgroups/layout.ts";
import { resctrlRoot } from "../../../cgroups/rdt/resctrl.ts";
import { isThere, isWritable } from "../../../ffi/files.ts";
import { alloc, cString, type Kernel } from "../../../ffi/kernel.ts";
import { canOpenLibrary } from "../../../ffi/libraries/installed.ts";
import { isFiltered, unavailableCalls } from "../../../ffi/process/refused_calls.ts";
import { type Config, type NamespaceType, namespaceTypes } from "../../../specs/config.ts";
import { inUserNamespace } from "../../config/facts.ts";
import { namespaceKinds } from "../../config/namespaces.ts";
import { idmapErrno, procMountErrno, unshareErrno } from "../read/child_probe.ts";
import { deviceFilterErrno } from "../read/device_filter.ts";
import {
  accountsSwap,
  appArmorFacts,
  callerFacts,
  controllersOf,
  DEFAULT_PATH,
  landlockVersion,
  parentOf,
  seccompFacts,
  subordinateFacts,
} from "../read/host_facts.ts";
import { fileFacts, programIn, readText } from "../read/host_files.ts";
import { coversOf, enabledControllers, mountLines, userName } from "../read/parse_host.ts";
import type { DoctorFacts, ProgramStart } from "./facts.ts";
import { distributionOf } from "./packages.ts";

/** What the reader must know already. */
export interface DoctorInput {
  readonly kernel: Kernel;
  readonly program: ProgramStart;
  /** The state directory, which need not exist. */
  readonly root: string;
  readonly environment: (name: string) => string | undefined;
  /** Absolute; with its config: more paths to try id-mapped mounts on. */
  readonly bundle?: { readonly path: string; readonly config: Config };
}

const numberIn = (path: string, otherwise: number): number => Number(readText(path)?.trim() ?? otherwise);

/** Reads all facts. */
export function readDoctorFacts(input: DoctorInput): DoctorFacts {
  const { kernel, program, environment } = input;
  const path = environment("PATH") ?? DEFAULT_PATH;
  const seccomp = seccompFacts(kernel);
  const caller = callerFacts(kernel);
  const tools = toolsIn(kernel, path);
  return {
    program,
    caller,
    seccomp,
    libseccompVersion: seccomp.version,
    appArmor: appArmorFacts(),
    selinux: isThere(kernel, "/sys/fs/selinux/enforce"),
    fileAt: fileFacts,
    distribution: distributionOf(readText("/etc/os-release") ?? ""),
    user: {
      name: userName(readText("/etc/passwd") ?? "", caller.uid) ?? String(caller.uid),
      subordinate: subordinateFacts(kernel, path),
    },
    kernelRelease: readText("/proc/sys/kernel/osrelease")?.trim() ?? "",
    unavailableCalls: [...unavailableCalls(kernel)],
    isFiltered: isFiltered(kernel),
    inUserNamespace: inUserNamespace(),
    namespaceErrnos: Object.fromEntries(
      namespaceTypes.map((type) => [type, unshareErrno(kernel, namespaceKinds[type].flag)]),
    ) as Record<NamespaceType, number | undefined>,
    userNamespaceLimit: numberIn("/proc/sys/user/max_user_namespaces", 0),
    userNamespaceRestrictions: restrictions(),
    idmapErrnos: idmapErrnos(input),
    memfdNoexec: numberIn("/proc/sys/vm/memfd_noexec", 0),
    keys: keyFacts(caller.uid),
    cgroups: cgroupFacts(kernel, caller.uid === 0),
    systemd: systemdFacts(kernel, environment, caller.uid),
    proc: procFacts(kernel),
    modules: readText("/sys/kernel/security/lsm")?.trim().split(",").filter((name) => name !== "") ?? [],
    landlockVersion: landlockVersion(kernel),
    tools,
    powerless: [tools.newuidmap, tools.newgidmap].flatMap((tool) => tool && !hasPrivilege(kernel, tool) ? [tool] : []),
    state: stateFacts(kernel, input.root),
    resctrl: resctrlRoot(kernel) !== undefined,
  };
}

function toolsIn(kernel: Kernel, path: string): DoctorFacts["tools"] {
  const find = (name: string) => programIn(kernel, path, name);
  return { criu: find("criu"), newuidmap: find("newuidmap"), newgidmap: find("newgidmap"), ps: find("ps") };
}

/** The setuid bit, or file capabilities. @see capabilities(7), "File capabilities" */
function hasPrivilege(kernel: Kernel, path: string): boolean {
  if (((fileFacts(path)?.mode ?? 0) & 0o4000) !== 0) return true;
  return kernel.call("getxattr", cString(path), cString("security.capability"), alloc(64), 64) > 0;
}

/** Debian's and Ubuntu's switches. Other kernels do not have these files. */
function restrictions(): readonly string[] {
  const switches = [["kernel.unprivileged_userns_clone", "0"], ["kernel.apparmor_restrict_unprivileged_userns", "1"]];
  return switches.filter(([name, value]) => readText(`/proc/sys/${name!.replaceAll(".", "/")}`)?.trim() === value)
    .map(([name, value]) => `${name}=${value}`);
}

function idmapErrnos({ kernel, bundle }: DoctorInput): DoctorFacts["idmapErrnos"] {
  const mounts =
    bundle?.config.mounts?.filter(({ uidMappings, options = [] }) =>
      uidMappings !== undefined || options.includes("idmap") || options.includes("ridmap")
    ) ?? [];
  const sources = mounts.flatMap(({ source = "" }) => source.startsWith("/") ? [source] : `${bundle!.path}/${source}`);
  const paths = sources.length > 0 ? sources : ["/"];
  return Object.fromEntries(paths.map((path) => [path, idmapErrno(kernel, path)]));
}

/** Lines of /proc/key-users: `uid: usage nkeys/nikeys qnkeys/maxkeys qnbytes/maxbytes`. @see keyrings(7) */
function keyFacts(uid: number): DoctorFacts["keys"] {
  const line = readText("/proc/key-users")?.split("\n").find((one) => one.trim().startsWith(`${uid}:`));
  const [, used, most] = /(\d+)\/(\d+) \d+\/\d+\s*$/.exec(line ?? "") ?? [];
  if (most === undefined) return { used: 0, most: numberIn("/proc/sys/kernel/keys/maxkeys", 200) };
  return { used: Number(used), most: Number(most) };
}

/** The directories in which the container's cgroups would be made. */
function cgroupParents({ mode, hierarchies }: CgroupLayout): readonly string[] {
  return hierarchies.map((hierarchy) =>
    mode === "v2" ? parentOf(hierarchy) : directoryOf(hierarchy, hierarchy.ownPath)
  );
}

function cgroupFacts(kernel: Kernel, isRoot: boolean): DoctorFacts["cgroups"] {
  const layout = readCgroupLayout(kernel);
  const { mode, hierarchies } = layout;
  return {
    mode: hierarchies.length === 0 ? undefined : mode,
    controllers: controllersOf(layout, isRoot),
    hostControllers: mode === "v2" ? controllersOf(layout, true) : enabledControllers(readText("/proc/cgroups") ?? ""),
    closed: cgroupParents(layout).filter((path) => !isWritable(kernel, path)),
    swap: accountsSwap(kernel, layout),
    deviceFilterErrno: mode === "v2" ? deviceFilterErrno(kernel) : undefined,
  };
}

function systemdFacts(kernel: Kernel, environment: DoctorInput["environment"], uid: number): DoctorFacts["systemd"] {
  const runtimeDirectory = environment("XDG_RUNTIME_DIR") ?? `/run/user/${uid}`;
  const bus = uid === 0 ? "/run/dbus/system_bus_socket" : `${runtimeDirectory}/bus`;
  return {
    isRunning: fileFacts("/run/systemd/system")?.kind === "directory",
    hasLibrary: canOpenLibrary(kernel, "libsystemd.so.0"),
    hasBus: fileFacts(bus)?.kind === "socket",
  };
}

function procFacts(kernel: Kernel): DoctorFacts["proc"] {
  const mounts = mountLines(readText("/proc/self/mountinfo") ?? "");
  const proc = mounts.findLast(({ mountPoint, type }) => mountPoint === "/proc" && type === "proc");
  const hidepid = proc?.superOptions.find((one) => one.startsWith("hidepid="))?.slice("hidepid=".length) ?? "";
  return {
    covers: proc === undefined ? [] : coversOf(mounts, proc),
    hidepid: ["0", "off"].includes(hidepid) ? "" : hidepid,
    mountErrno: procMountErrno(kernel),
  };
}

function stateFacts(kernel: Kernel, root: string): DoctorFacts["state"] {
  const nearest = (path: string): string => path === "/" || isThere(kernel, path) ? path : nearest(dirname(path));
  const directory = nearest(root);
  return { directory, isWritable: isWritable(kernel, directory) };
}
