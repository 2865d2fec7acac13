/**
 * Questions about users without root, security modules, seccomp and other programs.
 *
 * @module
 */

import { hasSeccomp } from "../../seccomp/filter.ts";
import { asksForLandlock } from "../../steps/landlock.ts";
import type { Config } from "../../../specs/config.ts";
import type { Question, Verdict } from "./answer.ts";
import type { DoctorFacts } from "./facts.ts";
import { allowCommand } from "./kernel.ts";
import { installCommand } from "./packages.ts";

const ok = (message: string): Verdict => ({ state: "ok", message });

/** Whether a config maps more than the caller's own ids, without root. */
function mapsSeveral({ linux }: Config, { caller }: DoctorFacts): boolean {
  const mappings = [...linux?.uidMappings ?? [], ...linux?.gidMappings ?? []];
  return caller.uid !== 0 && mappings.some(({ size }) => size > 1);
}

/** About users without root. */
export const userQuestions: readonly Question[] = [
  {
    id: "user-namespace-limit",
    area: "users",
    asks: "How many user namespaces may there be?",
    how: "user.max_user_namespaces",
    neededBy: ({ linux }) => linux?.namespaces?.some(({ type }) => type === "user") ?? false,
    judge({ userNamespaceLimit: limit }) {
      if (limit > 0) return ok(`a user may have ${limit} user namespaces`);
      const message = "user.max_user_namespaces is 0: nobody may make a user namespace";
      return { state: "off", message, fix: "sysctl -w user.max_user_namespaces=15000" };
    },
  },
  {
    id: "unprivileged-user-namespaces",
    area: "users",
    asks: "May users without root make user namespaces?",
    how:
      "kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns; without root also the attempt",
    neededBy: (_, { caller }) => caller.uid !== 0,
    judge({ userNamespaceRestrictions: restrictions }) {
      if (restrictions.length === 0) return ok("users without root may make user namespaces");
      const message = `users without root may not make user namespaces: ${restrictions.join(", ")}`;
      return { state: "off", message, fix: allowCommand(restrictions) };
    },
  },
  {
    id: "subordinate-ids",
    area: "users",
    asks: "Does the user have ids for user namespaces?",
    how: "/etc/subuid and /etc/subgid",
    neededBy: mapsSeveral,
    judge({ caller, user: { name, subordinate: { uid, gid } } }) {
      if (caller.uid === 0) return ok("root may map all ids");
      if (uid === undefined || gid === undefined) {
        return {
          state: "limited",
          message: "this user may not read /etc/subuid and /etc/subgid",
          fix: "chmod a+rx /etc",
        };
      }
      const lacking = Object.entries({ uid, gid }).filter(([, ranges]) => ranges.length === 0);
      const sum = uid.reduce((all, { size }) => all + size, 0);
      if (lacking.length === 0) return ok(`${name} may map ${sum} further ids`);
      const message = `no ids for ${name} in ${lacking.map(([kind]) => `/etc/sub${kind}`).join(" and ")}`;
      return { state: "off", message, fix: `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${name}` };
    },
  },
  {
    id: "mapping-tools",
    area: "users",
    asks: "Are newuidmap and newgidmap installed, with the right to map ids?",
    how: "PATH; the setuid bit or file capabilities",
    neededBy: mapsSeveral,
    judge({ tools, powerless, distribution }) {
      const missing = (["newuidmap", "newgidmap"] as const).filter((name) => tools[name] === undefined);
      if (missing.length > 0) {
        const fix = installCommand(distribution, "uidmap");
        return { state: "off", message: `${missing.join(" and ")} not installed`, fix };
      }
      if (powerless.length === 0) return ok("newuidmap and newgidmap are installed");
      const message = `${powerless.join(" and ")} have neither the setuid bit nor file capabilities`;
      return { state: "off", message, fix: `chmod u+s ${powerless.join(" ")}` };
    },
  },
];

/** About security modules and seccomp. */
export const securityQuestions: readonly Question[] = [
  {
    id: "lsm",
    area: "security",
    asks: "Which security modules are active?",
    how: "/sys/kernel/security/lsm",
    neededBy: () => false,
    judge({ modules }) {
      if (modules.length > 0) return ok(`active security modules: ${modules.join(", ")}`);
      const message = "the active security modules are unknown";
      return { state: "limited", message, fix: "mount -t securityfs securityfs /sys/kernel/security" };
    },
  },
  {
    id: "apparmor",
    area: "security",
    asks: "Is AppArmor enabled?",
    how: "/sys/module/apparmor/parameters/enabled",
    neededBy: ({ process }) => !["", "unconfined"].includes(process?.apparmorProfile ?? ""),
    judge({ appArmor: { isEnabled, profiles } }) {
      if (isEnabled) {
        return ok(
          `AppArmor is enabled${
            profiles === undefined ? "" : `, with ${profiles.filter((name) => name !== "").length} profiles`
          }`,
        );
      }
      return { state: "off", message: "AppArmor is not enabled", fix: "boot with apparmor=1 security=apparmor" };
    },
  },
  {
    id: "selinux",
    area: "security",
    asks: "Is SELinux enabled?",
    how: "/sys/fs/selinux/enforce",
    neededBy: ({ process, linux }) => (process?.selinuxLabel ?? "") !== "" || (linux?.mountLabel ?? "") !== "",
    judge({ selinux }) {
      if (selinux) return ok("SELinux is enabled");
      return { state: "off", message: "SELinux is not enabled", fix: "boot with selinux=1 security=selinux" };
    },
  },
  {
    id: "landlock",
    area: "security",
    asks: "Is Landlock available?",
    how: "landlock_create_ruleset(2) is asked for its version",
    neededBy: ({ annotations = {} }) => asksForLandlock(annotations),
    judge({ landlockVersion }) {
      if (landlockVersion > 0) return ok(`Landlock is available, version ${landlockVersion}`);
      const message = "Landlock is not available";
      return { state: "off", message, fix: "boot a kernel with CONFIG_SECURITY_LANDLOCK=y and lsm=landlock,..." };
    },
  },
  {
    id: "seccomp",
    area: "security",
    asks: "Does the kernel have seccomp filters?",
    how: "seccomp(2) is given an invalid filter; /proc/sys/kernel/seccomp/actions_avail",
    neededBy: hasSeccomp,
    judge({ seccomp: { actions } }) {
      if (actions === undefined) {
        return {
          state: "off",
          message: "the kernel has no seccomp filters",
          fix: "boot a kernel with CONFIG_SECCOMP_FILTER=y",
        };
      }
      return ok(`seccomp actions: ${actions.join(", ")}`);
    },
  },
  {
    id: "libseccomp",
    area: "security",
    asks: "Is libseccomp installed?",
    how: "dlopen(3)",
    neededBy: hasSeccomp,
    judge({ libseccompVersion, distribution }) {
      if (libseccompVersion !== undefined) return ok(`libseccomp ${libseccompVersion} is installed`);
      const fix = installCommand(distribution, "libseccomp");
      return { state: "off", message: "libseccomp is not installed", fix };
    },
  },
];

/** About other programs. */
export const toolQuestions: readonly Question[] = [
  {
    id: "ps",
    area: "tools",
    asks: "Is ps installed, which `runc ps` calls?",
    how: "PATH",
    neededBy: () => false,
    judge({ tools, distribution }) {
      if (tools.ps !== undefined) return ok(`ps is ${tools.ps}`);
      return { state: "off", message: "ps is not installed", fix: installCommand(distribution, "procps") };
    },
  },
  {
    id: "criu",
    area: "tools",
    asks: "Is CRIU installed, which checkpoints need?",
    how: "PATH",
    neededBy: () => false,
    judge({ tools, distribution }) {
      if (tools.criu !== undefined) return ok(`CRIU is ${tools.criu}`);
      return { state: "off", message: "CRIU is not installed", fix: installCommand(distribution, "criu") };
    },
  },
];
