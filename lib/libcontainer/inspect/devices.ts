/**
 * Compares device nodes, and the rules of the v1 device controller. Pure.
 *
 * @see mknod(2), Documentation/admin-guide/cgroup-v1/devices.rst
 * @module
 */

import {
  containerDeviceFilter,
  type DeviceFilter,
  formatRule,
  parseDevicesList,
  sameFilter,
  type SpecDeviceRule,
} from "../../cgroups/devices/rules.ts";
import { FileType } from "../../ffi/constants.ts";
import { defaultDevices } from "../../specs/default_devices.ts";
import { deviceRulesOf, mappingsOfState, type RuncDevice, type RuncState } from "../state/runc_state.ts";
import { compare, type Comparison, type InspectFinding, judge } from "./finding.ts";
import { type FoundFile, isAbsent, type KernelView } from "./kernel_view.ts";

/** A finding for each device node, and one for the rules. */
export function deviceFindings(state: RuncState, view: KernelView): readonly InspectFinding[] {
  return [...nodeFindings(state, view), ruleFinding(state, view)];
}

function nodeFindings(state: RuncState, view: KernelView): readonly InspectFinding[] {
  const { devices, mounts } = state.config;
  // A bind mount at /dev brings its own nodes.
  if ((mounts ?? []).some(({ destination, device }) => destination === "/dev" && device === "bind")) return [];
  const defaults = (devices ?? []).filter((node) => isDefault(node)).length;
  const isMapped = mappingsOfState(state).uidMappings.length > 0;
  return (devices ?? []).map((node, index) => {
    const field = isDefault(node) ? undefined : `/linux/devices/${index - defaults}`;
    const common: Comparison = { topic: "devices", name: node.path, field, config: wantedText(node, isMapped) };
    const file = view.process?.files[node.path];
    if (file === undefined) return compare(common);
    if ("error" in file) {
      return compare({ ...common, ...(isAbsent(file) ? { kernel: "does not exist" } : { note: file.error }) });
    }
    return compare({ ...common, kernel: shownText(file, isMapped) });
  });
}

/** The default nodes come first in state.json; one that is also in the config is there only once, without a rule. */
function isDefault({ path, allow }: RuncDevice): boolean {
  return allow && defaultDevices.some((device) => device.path === path);
}

/** In a user namespace a node is a bind mount of the host's, with its owner and mode. */
function wantedText({ type, major, minor, file_mode, uid = 0, gid = 0 }: RuncDevice, isMapped: boolean): string {
  return nodeText(String.fromCharCode(type), { major, minor }, isMapped ? undefined : { mode: file_mode, uid, gid });
}

function shownText({ mode, uid, gid, device }: FoundFile, isMapped: boolean): string {
  const types: Readonly<Record<number, string>> = {
    [FileType.S_IFCHR]: "c",
    [FileType.S_IFBLK]: "b",
    [FileType.S_IFIFO]: "p",
  };
  const type = types[mode & FileType.S_IFMT];
  if (type === undefined) return "no device";
  return nodeText(type, device, isMapped ? undefined : { mode: mode & 0o7777, uid, gid });
}

/** `c 1:3, mode 0666, owner 0:0`. A fifo has no numbers. */
function nodeText(
  type: string,
  { major, minor }: FoundFile["device"],
  owner: { readonly mode: number; readonly uid: number; readonly gid: number } | undefined,
): string {
  const numbers = type === "p" ? "p" : `${type} ${major}:${minor}`;
  if (owner === undefined) return numbers;
  return `${numbers}, mode ${owner.mode.toString(8).padStart(4, "0")}, owner ${owner.uid}:${owner.gid}`;
}

function ruleFinding(state: RuncState, view: KernelView): InspectFinding {
  const wanted = containerDeviceFilter(deviceRulesOf(state).map(toSpecRule));
  const common = {
    topic: "devices",
    name: "access",
    field: "/linux/resources/devices",
    config: filterText(wanted),
  } as const;
  const list = view.cgroups.files["devices/devices.list"];
  if (list === undefined) {
    const isV2 = view.cgroups.paths[""] !== undefined && view.cgroups.paths.devices === undefined;
    return compare({
      ...common,
      note: isV2 ? "cgroup v2 decides by a BPF program, which cannot be read back" : undefined,
    });
  }
  const shown = parseDevicesList(list);
  // A filter that allows by default lists only the default.
  const isSame = shown.allowsByDefault === wanted.allowsByDefault &&
    (wanted.allowsByDefault || sameFilter(shown, wanted));
  return judge({ ...common, kernel: filterText(shown) }, isSame);
}

function toSpecRule(
  { type, major, minor, permissions, allow }: ReturnType<typeof deviceRulesOf>[number],
): SpecDeviceRule {
  return { allow, type: String.fromCharCode(type), major, minor, access: permissions };
}

function filterText({ allowsByDefault, exceptions }: DeviceFilter): string {
  const rules = exceptions.map((exception) => formatRule({ allow: !allowsByDefault, ...exception })).join(", ");
  if (rules === "") return allowsByDefault ? "all" : "none";
  return allowsByDefault ? `all but ${rules}` : rules;
}
