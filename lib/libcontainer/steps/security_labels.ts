/**
 * AppArmor profiles and SELinux labels, for the process at execve and for its mounts.
 *
 * Labels are written through the host's procfs: the container's is not trusted (CVE-2019-16884, CVE-2025-52881).
 *
 * @module
 */

import { FsMagic } from "../../ffi/constants.ts";
import type { Arch } from "../../ffi/syscalls.ts";
import { buffer, call, fail, load, slot, step, when } from "../../plan/build.ts";
import type { Step } from "../../plan/op.ts";
import type { Process } from "../../specs/config.ts";
import { writeProc } from "./host_writes.ts";
import { openInRoot } from "./root/in_root.ts";
import { type HostFacts, mayHaveToStack } from "../config/launch_request.ts";
import { isBind, type ParsedMount } from "../config/mounts.ts";

/** Options of {@link appArmorSteps}. */
type ProfiledProcess = Pick<Process, "apparmorProfile" | "noNewPrivileges">;

/**
 * process.apparmorProfile, which takes effect at the next execve. Runs in: stage or init, as the process itself,
 * because AppArmor accepts it from no other process.
 *
 * With no_new_privs, execve may only reduce rights. So a confined process keeps its profile and stacks this one on it:
 * both must allow an action. Changing the profile, as runc requests in this case too, fails with EPERM.
 *
 * @see aa_change_onexec(2), aa_stack_onexec(2), apparmor_bprm_creds_for_exec() in security/apparmor/domain.c
 */
export function appArmorSteps(process: ProfiledProcess, { arch, isConfined }: HostFacts): readonly Step[] {
  const { apparmorProfile: profile } = process;
  if (!profile) return [];
  const stacked = isConfined && mayHaveToStack(process);
  const file = (path: string) =>
    `unable to apply apparmor profile: apparmor failed to apply profile: write /proc/thread-self/${path}`;
  const hint = {
    EINVAL: "AppArmor is not enabled on this host: cat /sys/module/apparmor/parameters/enabled",
    ENOENT: "the profile must be loaded: apparmor_parser(8) loads it, aa-status(8) lists what is loaded",
  };
  return [
    step(
      `set the AppArmor profile of the next execve to ${profile}${stacked ? ", beside the one of this runtime" : ""}`,
      "/process/apparmorProfile",
      writeProc("thread-self/attr/apparmor/exec", `${stacked ? "stack" : "exec"} ${profile}`, arch, {
        meaning: { "*": file("attr/apparmor/exec") },
        hint,
        // Before Linux 5.8 all security modules shared one file.
        older: { path: "thread-self/attr/exec", meaning: { "*": file("attr/exec") } },
      }),
    ),
  ];
}

/**
 * process.selinuxLabel, which takes effect at the next execve; a forked child inherits it. Runs in: stage or init. @see
 * setexeccon(3)
 */
export function execLabelSteps(label: string | undefined, arch: Arch): readonly Step[] {
  if (!label) return [];
  return [
    step(
      `set the SELinux label of the next execve to ${label}`,
      "/process/selinuxLabel",
      writeProc("thread-self/attr/exec", label, arch, { meaning: { "*": "can't set process label" } }),
    ),
  ];
}

/**
 * The label for keys created from now on, for the session keyring. execve resets it. Runs in: stage or init, before the
 * keyring is created.
 *
 * @see setkeycreatecon(3)
 */
export function keyLabelSteps(label: string | undefined, arch: Arch): readonly Step[] {
  if (!label) return [];
  return [
    step(
      `label new keys ${label}`,
      "/process/selinuxLabel",
      // A kernel without this file labels no keys.
      writeProc("self/attr/keycreate", label, arch, { endStepOn: ["ENOENT"] }),
    ),
  ];
}

/**
 * A message queue file system has no such mount option: its directory gets the label. Runs in: init, after the mounts.
 */
export function queueLabelSteps(
  mounts: readonly ParsedMount[],
  label: string | undefined,
  arch: Arch,
): readonly Step[] {
  if (!label) return [];
  const [target, type, statfs] = [slot("target"), slot("type"), buffer("statfs", 120)];
  const size = new TextEncoder().encode(label).length + 1;
  return mounts.flatMap((parsed) => {
    const { mount, from, path } = parsed;
    return mount.type !== "mqueue" || isBind(parsed) ? [] : [
      step(`label ${mount.destination} ${label}`, from, [
        openInRoot(path, target, { arch, directory: true }),
        // It must not be another directory that has got the name meanwhile, because a label grants access.
        call("fstatfs", [target, statfs]),
        load(statfs, 4, type),
        when(type, "!=", FsMagic.MQUEUE, [fail(0, `${mount.destination} is no longer the message queue file system`)]),
        call("fchdir", [target]),
        // The host has no SELinux.
        call("setxattr", [".", "security.selinux", label, size, 0], { tolerate: ["EOPNOTSUPP"] }),
        call("close", [target]),
      ]),
    ];
  });
}
