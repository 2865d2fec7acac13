/**
 * Takes out of a changed config or state what could reach the host around the room that it runs in. Pure.
 *
 * The room (./room.ts) has mounts, processes, a network, IPC and a host name of its own, and all that it writes goes to
 * memory. What it shares with the host are the kernel, the devices' numbers and the cgroups.
 *
 * @module
 */

import type { Config, Hook, Hooks, LinuxDevice, Mount, Namespace } from "../../../lib/specs/config.ts";
import { exactInteger } from "../../../lib/specs/json.ts";
import { parseConfig } from "../../../lib/specs/parse.ts";
import { resolve } from "../../../lib/std/path.ts";

/** Where a case runs. */
export interface Place {
  /** Absolute. */
  readonly bundle: string;
  /** The cgroup below which all others are: `/name`. */
  readonly cgroups: string;
}

/** Programs that hooks may run: they do nothing. */
const harmless: readonly string[] = ["/bin/true", "/bin/false"];

/** Parameters that are of a namespace, whichever the container has. */
const ownSysctls =
  /^(?:net[./]ipv4[./](?:ip_forward|ping_group_range|ip_unprivileged_port_start)|kernel[./](?:shm|msg|sem|domainname|hostname)\w*|fs[./]mqueue[./]\w+)$/;
/** Parameters that no kernel has. */
const noSysctls = /^(?!abi|debug|dev|fs|kernel|net|sunrpc|user|vm|crypto)/;

const isBelow = (path: string, directory: string) => path === directory || path.startsWith(`${directory}/`);

/** A cgroup with a name of its own, directly below the one of the fuzzer. */
function cgroupsPath(path: string | undefined, { cgroups }: Place): string {
  const name = (path ?? "").split("/").findLast((part) => part !== "" && part !== "." && part !== "..") ?? "box";
  return `${cgroups}/${name}`;
}

/** `path` if it is in the bundle, or is no file's; else another one. */
function inBundle(path: string | undefined, otherwise: string, { bundle }: Place): string {
  const absolute = resolve(bundle, path ?? "");
  if (isBelow(absolute, bundle) || absolute === "/dev/null" || absolute.startsWith("/none/")) return path ?? "";
  return otherwise;
}

function mounts(given: readonly Mount[], place: Place): readonly Mount[] {
  const made: Mount[] = [];
  for (const mount of given) {
    // What is made in a mount of cgroups or of the bundle is made outside of the container.
    const isInside = made.some(({ type, destination }) =>
      type?.startsWith("cgroup") && isBelow(resolve("/", mount.destination), resolve("/", destination))
    );
    if (isInside) continue;
    const isNew = mount.source === undefined || !mount.source.includes("/");
    made.push(isNew ? mount : { ...mount, source: inBundle(mount.source, "rootfs/tmp", place) });
  }
  return made;
}

/** /dev/null, zero, full, random, urandom. */
const devices: readonly number[] = [3, 5, 7, 8, 9];

const device = (given: LinuxDevice): LinuxDevice =>
  given.type === "c" && given.major === 1 && devices.includes(given.minor)
    ? given
    : { ...given, type: "c", major: 1, minor: 3 };

function hooks(given: Hooks): Hooks {
  const safe = (list: readonly Hook[] = []) =>
    list.map((hook) =>
      harmless.includes(hook.path) || hook.path.startsWith("/none") ? hook : { ...hook, path: "/bin/true" }
    );
  return Object.fromEntries(Object.entries(given).map(([name, list]) => [name, safe(list)]));
}

/** A mount namespace of its own: without one, a container's mounts are its caller's, and stay. */
function namespaces(given: readonly Namespace[]): readonly Namespace[] {
  return [...given.filter(({ type }) => type !== "mount"), { type: "mount" }];
}

/** A changed config as it may run. What cannot be parsed stays as it is: the runtime cannot, either. */
export function confinedConfig(text: string, place: Place): string {
  let config: Config;
  try {
    config = parseConfig(text);
  } catch {
    return text;
  }
  const { linux } = config;
  const sysctl = Object.fromEntries(
    Object.entries(linux?.sysctl ?? {}).filter(([key]) => ownSysctls.test(key) || noSysctls.test(key)),
  );
  const safe: Config = {
    ...config,
    ...(config.root === undefined
      ? {}
      : { root: { ...config.root, path: inBundle(config.root.path, "rootfs", place) } }),
    ...(config.mounts === undefined ? {} : { mounts: mounts(config.mounts, place) }),
    ...(config.hooks === undefined ? {} : { hooks: hooks(config.hooks) }),
    linux: {
      ...linux,
      ...(linux?.sysctl === undefined ? {} : { sysctl }),
      ...(linux?.devices === undefined ? {} : { devices: linux.devices.map(device) }),
      netDevices: undefined,
      namespaces: namespaces(linux?.namespaces ?? []),
      cgroupsPath: cgroupsPath(linux?.cgroupsPath, place),
    },
  };
  return JSON.stringify(safe, exactInteger);
}

/** Whether a text names no cgroup but those of the fuzzer: a state is believed about what is its own. */
export function namesOwnCgroups(text: string, { cgroups }: Place): boolean {
  // A mount's place is in the container.
  const paths = text.replaceAll('"destination":"/sys/fs/cgroup"', "").match(/\/sys\/fs\/cgroup[^"\0\n]*/g) ?? [];
  // On v1 below the name of a hierarchy, on v2 at the top.
  return paths.every((path) => resolve("/", path).split("/").slice(4, 6).includes(cgroups.slice(1)));
}
