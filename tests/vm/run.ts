/**
 * `deno task test:vm`: boots virtual machines and runs tests/vm/guest in them, as root and as a user. With `--prepare` it makes the
 * machine and boots none. With other arguments, runs these as a command in one machine: `deno task test:vm [--user] COMMAND...`.
 *
 * @module
 */

import { giveUp } from "../../tools/bundle.ts";
import type { Job } from "./boot.ts";
import { projectMachine, runInMachine } from "./machine.ts";

/** A directory below tests/vm/guest, and the machine that its tests want. */
interface Suite extends Pick<Job, "user" | "kernelArguments"> {
  readonly name: string;
}

const suites: readonly Suite[] = [
  { name: "root", user: "root" },
  { name: "tester", user: "tester" },
  // cgroup v1, managed by systemd, with a cgroup2 mount beside it.
  { name: "hybrid", user: "root", kernelArguments: ["systemd.unified_cgroup_hierarchy=0"] },
];

async function main(words: readonly string[]): Promise<number> {
  const machine = projectMachine();
  if (words[0] === "--prepare") return 0;
  if (words.length > 0) {
    const errand = words[0] === "--user"
      ? { user: "tester", args: words.slice(1) } as const
      : { user: "root", args: words } as const;
    return await runInMachine(machine, errand) ?? giveUp("the virtual machine did not run the command");
  }
  let failed = 0;
  for (const { name, ...how } of suites) {
    console.log(`$ deno test tests/vm/guest/${name} (in a virtual machine, as ${how.user})`);
    const args = ["deno", "test", "--allow-all", "--no-check", `tests/vm/guest/${name}`];
    const status = await runInMachine(machine, { ...how, args });
    if (status === undefined) giveUp("the virtual machine did not run the tests");
    if (status !== 0) failed++;
  }
  return failed === 0 ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
