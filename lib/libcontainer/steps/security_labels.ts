/**
 * AppArmor profiles and SELinux labels: what the process becomes at execve, and what its mounts are labelled.
 *
 * Labels are written through the host's procfs: the container's may be anything by then (CVE-2019-16884, CVE-2025-52881).
 *
 * @module
 */

import { FsMagic } from "../../ffi/constants.ts";
import type { Arch } from "../../ffi/syscalls.ts";
import { buffer, call, fail, load, slot, step, when } from "../../plan/build.ts";
import type { Step } from "../../plan/op.ts";
import type { Config, Mount, Process } from "../../specs/config.ts";
import { writeProc } from "./host_writes.ts";
import { cleanPath, openInRoot } from "./in_root.ts";
import { type HostFacts, mayHaveToStack } from "../config/launch_request.ts";
import { withContext } from "./mounts/mount_options.ts";
import { isBind } from "./mounts/mounts.ts";

/** What {@link appArmorSteps} is about. */
type ProfiledProcess = Pick<Process, "apparmorProfile" | "noNewPrivileges">;

/**
 * process.apparmorProfile, taken on at the next execve. Runs in: stage or init, as the process itself: AppArmor lets nobody else.
 *
 * With no_new_privs execve may only take rights away. A process that is confined keeps its profile, so, and has this one beside it: both
 * have to allow what it does. To change from one to the other, as runc asks in this case too, is EPERM.
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

/** process.selinuxLabel, taken on at the next execve; a fork takes it along. Runs in: stage or init. @see setexeccon(3) */
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
 * The label of keys that are made from now on, the session keyring's; execve ends it. Runs in: stage or init, before the keyring is made.
 *
 * @see setkeycreatecon(3)
 */
export function keyLabelSteps(label: string | undefined, arch: Arch): readonly Step[] {
  if (!label) return [];
  return [
    step(
      `label new keys ${label}`,
      "/process/selinuxLabel",
      // Where the kernel has no such file it labels no keys.
      writeProc("self/attr/keycreate", label, arch, { endStepOn: ["ENOENT"] }),
    ),
  ];
}

/** These have labels of their own, by the policy. */
const unlabelledTypes: readonly (string | undefined)[] = ["proc", "sysfs", "mqueue", "cgroup"];

function withMountContext(mount: Mount, label: string): Mount {
  if (isBind(mount) || unlabelledTypes.includes(mount.type)) return mount;
  return { ...mount, options: [...(mount.options ?? []), withContext("", label)] };
}

/** `config` with linux.mountLabel as an option of every mount that takes one. */
export function labelMounts(config: Config): Config {
  const label = config.linux?.mountLabel;
  if (!label) return config;
  return { ...config, mounts: config.mounts?.map((mount) => withMountContext(mount, label)) };
}

/** A message queue's file system knows no mount option: its directory gets the label. Runs in: init, after the mounts. */
export function queueLabelSteps(config: Config, arch: Arch): readonly Step[] {
  const label = config.linux?.mountLabel;
  if (!label) return [];
  const [target, type, statfs] = [slot("target"), slot("type"), buffer("statfs", 120)];
  const size = new TextEncoder().encode(label).length + 1;
  return (config.mounts ?? []).flatMap((mount, index) =>
    mount.type !== "mqueue" || isBind(mount) ? [] : [
      step(`label ${mount.destination} ${label}`, `/mounts/${index}`, [
        openInRoot(cleanPath(mount.destination), target, { arch, directory: true }),
        // Not another directory that has got the name meanwhile: a label gives access.
        call("fstatfs", [target, statfs]),
        load(statfs, 4, type),
        when(type, "!=", FsMagic.MQUEUE, [fail(0, `${mount.destination} is not the message queues any more`)]),
        call("fchdir", [target]),
        // There is no SELinux.
        call("setxattr", [".", "security.selinux", label, size, 0], { tolerate: ["EOPNOTSUPP"] }),
        call("close", [target]),
      ]),
    ]
  );
}
