/**
 * `deno task test:conformance --vm[=debian|full|qemu] [--systemd] [--rootless] FILE...`: files of runc's tests in the virtual machine of tests/vm, one
 * machine each, for what needs unified cgroup v2, systemd or a user.
 *
 * @module
 */

import { join } from "@std/path";
import { giveUp, projectDir } from "../../tools/bundle.ts";
import { type Errand, projectMachine, runInMachine } from "../vm/machine.ts";
import type { Kind } from "../vm/prepare.ts";

/** What the laid out tests are, and what they test. */
export interface MachineRun {
  /** The machine. */
  readonly kind: Kind;
  /** Where `prepare` laid them out. */
  readonly work: string;
  readonly tag: string;
  readonly runtime: string;
  readonly files: readonly string[];
  /** The runtime is told to have systemd manage the cgroups. */
  readonly systemd: boolean;
  /** A user runs them, with a cgroup that is delegated to that user. */
  readonly rootless: boolean;
}

/** What the tests expect of a user who may use a certain cgroup. runc 1.5.1, tests/rootless.sh */
const delegateCgroup = `
cd /sys/fs/cgroup
for controller in $(cat cgroup.controllers); do echo +$controller >cgroup.subtree_control; done
mkdir runc-cgroups-integration-test
chown tester cgroup.procs runc-cgroups-integration-test runc-cgroups-integration-test/cgroup.{procs,subtree_control}
`;

/** Returns the exit status. */
export async function conformanceInMachine(run: MachineRun): Promise<number> {
  const { kind, work, tag, runtime, systemd, rootless } = run;
  const machine = projectMachine(kind);
  const env = [
    ...(systemd ? ["RUNC_USE_SYSTEMD=1"] : []),
    // systemd delegates by itself.
    ...(rootless && !systemd ? ["ROOTLESS_FEATURES=cgroup"] : []),
  ];
  const errand: Omit<Errand, "args"> = {
    user: rootless ? "tester" : "root",
    // Debian's sh has no braces.
    before: rootless && !systemd ? `exec bash -c '${delegateCgroup}'` : "",
    shares: [work, join(runtime, "..")],
    timeoutSeconds: 1500,
  };
  let failed = 0;
  for (const file of run.files) {
    const args = ["env", ...env, join(projectDir, "tests/conformance/in-machine"), work, tag, runtime, file];
    const status = await runInMachine(machine, { ...errand, args });
    if (status === undefined) giveUp(`the virtual machine did not run ${file} to its end`);
    if (status !== 0) failed++;
  }
  return failed === 0 ? 0 : 1;
}
