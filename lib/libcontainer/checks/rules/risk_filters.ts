/**
 * Warnings for missing filters: seccomp and security modules; and for ids and scheduling.
 *
 * @module
 */

import { hasSeccomp } from "../../seccomp/filter.ts";
import type { CheckRule } from "../rule.ts";

const filters: readonly CheckRule[] = [
  {
    id: "no-seccomp",
    severity: "warning",
    field: "",
    finds: "no seccomp profile",
    why: "the container may make every system call, also those that only attacks use",
    fix: "set linux.seccomp, for example to the default profile of an engine",
    *find(config) {
      if (hasSeccomp(config)) return;
      yield { at: "/linux/seccomp", wanted: "a profile", message: "there is no seccomp profile" };
    },
  },
  {
    id: "seccomp-permissive",
    severity: "warning",
    field: "linux.seccomp",
    finds: "a seccomp profile that allows or only logs system calls that it does not name",
    why: "a new system call of the kernel is allowed at once",
    fix: "set defaultAction to SCMP_ACT_ERRNO, and allow what the program needs",
    *find(config) {
      const found = config.linux?.seccomp?.defaultAction ?? "";
      if (!hasSeccomp(config) || !["SCMP_ACT_ALLOW", "SCMP_ACT_LOG"].includes(found)) return;
      const message = "system calls that no rule names are allowed";
      yield { at: "/linux/seccomp/defaultAction", found, wanted: "SCMP_ACT_ERRNO", message };
    },
  },
  {
    id: "seccomp-spec-allow",
    severity: "warning",
    field: "linux.seccomp.flags",
    finds: "the flag SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    why: "it turns off the protection against speculative store bypass (Spectre v4)",
    fix: "remove the flag",
    *find({ linux }) {
      const found = "SECCOMP_FILTER_FLAG_SPEC_ALLOW";
      const index = (linux?.seccomp?.flags ?? []).indexOf(found);
      if (index < 0) return;
      const message = "the protection against speculative store bypass is off";
      yield { at: `/linux/seccomp/flags/${index}`, found, wanted: "nothing", message };
    },
  },
  {
    id: "apparmor-unconfined",
    severity: "warning",
    field: "process",
    finds: "no AppArmor profile, or `unconfined`, on a host with AppArmor",
    why: "AppArmor does not restrict the container",
    fix: "set process.apparmorProfile to a loaded profile, such as docker-default",
    *find({ process }, { appArmor, selinux }) {
      const found = process?.apparmorProfile ?? "";
      if (!appArmor.isEnabled || selinux || !["", "unconfined"].includes(found)) return;
      const message = "AppArmor does not restrict the container";
      yield { at: "/process/apparmorProfile", found: process?.apparmorProfile, wanted: "a profile", message };
    },
  },
  {
    id: "selinux-unconfined",
    severity: "warning",
    field: "process",
    finds: "no SELinux label, or spc_t, on a host with SELinux",
    why: "SELinux does not separate the container from the host",
    fix: "set process.selinuxLabel to a label of type container_t with its own categories",
    *find({ process }, { selinux }) {
      const found = process?.selinuxLabel ?? "";
      if (!selinux || !(found === "" || found.includes(":spc_t:") || found.includes(":unconfined_t:"))) return;
      const message = "SELinux does not separate the container from the host";
      yield { at: "/process/selinuxLabel", found: process?.selinuxLabel, wanted: "a label of container_t", message };
    },
  },
];

const others: readonly CheckRule[] = [
  {
    id: "host-root-mapped",
    severity: "warning",
    field: "linux.uidMappings",
    finds: "a user namespace that maps the host's root",
    why: "root in the container owns the files of the host's root",
    fix: "map ids that nobody else uses, such as 100000 to 165535",
    *find(config, { caller }) {
      if (caller.uid !== 0) return;
      for (const [index, found] of (config.linux?.uidMappings ?? []).entries()) {
        if (found.hostID !== 0 || found.size === 0) continue;
        const message = "the user namespace contains the host's root";
        yield { at: `/linux/uidMappings/${index}`, found, wanted: "a hostID other than 0", message };
      }
    },
  },
  {
    id: "oom-protected",
    severity: "warning",
    field: "process.oomScoreAdj",
    finds: "an `oomScoreAdj` of -999 or less",
    why: "when the host runs out of memory, other processes are killed instead, however much the container uses",
    fix: "use a value of 0 or more, and set a memory limit",
    *find({ process }) {
      const found = process?.oomScoreAdj ?? 0;
      if (found > -999 || found < -1000) return;
      const message = "the OOM killer spares the container";
      yield { at: "/process/oomScoreAdj", found, wanted: "0 or more", message };
    },
  },
  {
    id: "realtime",
    severity: "warning",
    field: "process.scheduler",
    finds: "a real-time scheduling policy without a limit of real-time CPU time",
    why: "a loop in the container can take a whole processor away from the host",
    fix: "set linux.resources.cpu.realtimeRuntime (cgroup v1), or use SCHED_OTHER",
    *find({ process, linux }) {
      const found = process?.scheduler?.policy ?? "";
      if (!["SCHED_FIFO", "SCHED_RR"].includes(found)) return;
      if (linux?.resources?.cpu?.realtimeRuntime !== undefined) return;
      const message = `${found} has no limit of CPU time`;
      yield { at: "/process/scheduler/policy", found, wanted: "SCHED_OTHER", message };
    },
  },
];

/** Warnings about what does not restrict the container. */
export const filterRisks: readonly CheckRule[] = [...filters, ...others];
