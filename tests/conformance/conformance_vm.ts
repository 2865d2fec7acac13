/**
 * `deno task test:conformance --vm[=debian|full|qemu] [--systemd] [--rootless[=FEATURES]] FILE...`: files of runc's tests in the virtual
 * machine of tests/vm, one machine each, for what needs unified cgroup v2, systemd or a user.
 *
 * @module
 */

import { join } from "@std/path";
import { projectDir } from "../../tools/bundle.ts";
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
  /** A user runs them, who may do this. */
  readonly rootless?: readonly RootlessFeature[];
}

/** What the tests can make use of when a user runs them: what root does for that, and what they are told. */
const rootlessFeatures = {
  /** A certain cgroup, and others below it. */
  cgroup: {
    before: `
cd /sys/fs/cgroup
for controller in $(cat cgroup.controllers); do echo +$controller >cgroup.subtree_control; done
mkdir runc-cgroups-integration-test
chown tester cgroup.procs runc-cgroups-integration-test runc-cgroups-integration-test/cgroup.{procs,subtree_control}
`,
    env: [],
  },
  /** More ids than the user's own. The directory belongs to 1024 in the container, where the user's first additional id is 1000. */
  idmap: {
    before: `
echo tester:100000:65536 >/etc/subuid
echo tester:200000:65536 >/etc/subgid
mkdir /run/rootless
chown $((100000 + 1024 - 1000)) /run/rootless
`,
    env: [
      ...["ROOTLESS_UIDMAP_START=100000", "ROOTLESS_UIDMAP_LENGTH=65536"],
      ...["ROOTLESS_GIDMAP_START=200000", "ROOTLESS_GIDMAP_LENGTH=65536"],
      ...["ROOTLESS_AUX_DIR=/run/rootless", "ROOTLESS_AUX_UID=1024"],
    ],
  },
} as const;

/** One of them. runc 1.5.1, tests/rootless.sh */
export type RootlessFeature = keyof typeof rootlessFeatures;

/** The features of a list with commas; undefined where one does not exist. */
export function parseFeatures(list: string): readonly RootlessFeature[] | undefined {
  const names = list.split(",").filter((name) => name !== "");
  const known = names.filter((name): name is RootlessFeature => Object.hasOwn(rootlessFeatures, name));
  return known.length === names.length ? known : undefined;
}

/** Returns the exit status. */
export async function conformanceInMachine(run: MachineRun): Promise<number> {
  const { kind, work, tag, runtime, systemd, rootless = [] } = run;
  const machine = projectMachine(kind);
  // systemd delegates cgroups by itself.
  const features = rootless.filter((name) => name !== "cgroup" || !systemd);
  const env = [
    ...(systemd ? ["RUNC_USE_SYSTEMD=1"] : []),
    `ROOTLESS_FEATURES=${features.join(" ")}`,
    ...features.flatMap((name) => rootlessFeatures[name].env),
  ];
  const errand: Omit<Errand, "args"> = {
    user: run.rootless === undefined ? "root" : "tester",
    // Debian's sh has no braces.
    before: `exec bash -c '${features.map((name) => rootlessFeatures[name].before).join("")}'`,
    shares: [work, join(runtime, "..")],
    timeoutSeconds: 3000,
  };
  let failed = 0;
  for (const file of run.files) {
    const args = ["env", ...env, join(projectDir, "tests/conformance/in-machine"), work, tag, runtime, file];
    const status = await runInMachine(machine, { ...errand, args });
    if (status === undefined) console.error(`error: the virtual machine did not run ${file} to its end`);
    if (status !== 0) failed++;
  }
  return failed === 0 ? 0 : 1;
}
