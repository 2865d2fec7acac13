/**
 * Rules for `linux.sysctl`: only parameters of the container's own namespaces may be set; all others are the host's.
 *
 * @see namespaces(7), ipc_namespaces(7), /proc/sys in proc(5)
 * @module
 */

import type { Config, NamespaceType } from "../../../specs/config.ts";
import { pointerToken, type Problem } from "../../../specs/problem.ts";
import { hasNamespace } from "../namespaces.ts";
import { quote, type ValidationFacts } from "./facts.ts";

/** The parameters of one kind of namespace: exact names, or prefixes that end in a dot. */
interface Family {
  readonly names: readonly string[];
  readonly namespace: NamespaceType;
  /** The reason to reject them if the container has no such namespace. */
  readonly refusal: (name: string) => string;
}

const families: readonly Family[] = [
  {
    names: [
      "kernel.msgmax",
      "kernel.msgmnb",
      "kernel.msgmni",
      "kernel.sem",
      "kernel.shmall",
      "kernel.shmmax",
      "kernel.shmmni",
      "kernel.shm_rmid_forced",
      "fs.mqueue.",
    ],
    namespace: "ipc",
    refusal: (name) => `sysctl ${quote(name)} is not allowed in the hosts ipc namespace`,
  },
  {
    names: ["net."],
    namespace: "network",
    refusal: (name) => `sysctl ${quote(name)} not allowed in host network namespace`,
  },
  {
    names: ["kernel.domainname"],
    namespace: "uts",
    refusal: (name) => `sysctl ${quote(name)} is not in a separate kernel namespace`,
  },
  {
    // These limit the number of namespaces of each type, which is up to the host's administrator.
    names: ["user."],
    namespace: "user",
    refusal: (name) => `setting ucounts without a user namespace not allowed: ${name}`,
  },
];

/** Every parameter must belong to a namespace that the container does not share with the host. */
export function* sysctlsAreNamespaced(config: Config, facts: ValidationFacts): Iterable<Problem> {
  for (const [key, found] of Object.entries(config.linux?.sysctl ?? {})) {
    const message = refusal(dottedName(key), config, facts);
    if (message === undefined) continue;
    yield {
      at: `/linux/sysctl${pointerToken(key)}`,
      found,
      wanted: "a parameter of the container's namespaces",
      message,
    };
  }
}

function refusal(name: string, config: Config, { joinedNetwork }: ValidationFacts): string | undefined {
  if (name === "kernel.hostname" && hasNamespace(config, "uts")) {
    return `sysctl ${quote(name)} is not allowed as it conflicts with the OCI "hostname" field`;
  }
  const family = families.find(({ names }) => names.some((entry) => matches(entry, name)));
  if (family === undefined) return `sysctl ${quote(name)} is not in a separate kernel namespace`;
  if (!hasNamespace(config, family.namespace)) return family.refusal(name);
  // A network namespace by path may be our own.
  if (family.namespace !== "network" || joinedNetwork === undefined) return undefined;
  if ("error" in joinedNetwork) return `invalid netns path: ${joinedNetwork.error}`;
  return joinedNetwork.isOurs ? family.refusal(name) : undefined;
}

function matches(entry: string, name: string): boolean {
  return entry.endsWith(".") ? name.startsWith(entry) : name === entry;
}

/**
 * The parameter's name with dots. If a slash comes first, slashes separate, and a dot in the name becomes a slash:
 * `net/ipv4/conf/eno2.100` is `net.ipv4.conf.eno2/100`.
 *
 * @see sysctl(8)
 */
export function dottedName(key: string): string {
  const separator = key.match(/[./]/)?.[0];
  return separator === "/" ? key.replace(/[./]/g, (character) => character === "." ? "/" : ".") : key;
}
