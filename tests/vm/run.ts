/**
 * `deno task test:vm`: boots virtual machines and runs tests/vm/guest in them, as root and as a user. With `--prepare` it makes the
 * machine and boots none. With other words, runs these as a command in one machine:
 *
 *     deno task test:vm [--machine=debian|full|qemu] [--prepare] [--user] [COMMAND...]
 *
 * @module
 */

import { giveUp } from "../../tools/bundle.ts";
import type { Job } from "./boot.ts";
import { projectMachine, runInMachine } from "./machine.ts";
import { type Kind, kinds, type Machine } from "./prepare.ts";

/** Tests below tests/vm/guest, and the machine that they want. */
interface Suite extends Pick<Job, "user" | "kernelArguments"> {
  readonly path: string;
}

const everything: readonly Suite[] = [
  { path: "root", user: "root" },
  { path: "tester", user: "tester" },
  // cgroup v1, managed by systemd, with a cgroup2 mount beside it.
  { path: "hybrid", user: "root", kernelArguments: ["systemd.unified_cgroup_hierarchy=0"] },
];

const suites: Readonly<Record<Kind, readonly Suite[]>> = {
  debian: everything,
  full: everything,
  // Ten to twenty times slower: what only this kernel has.
  qemu: [{ path: "root/controllers_test.ts", user: "root" }],
};

/** The words before the command, which start with dashes. */
interface Options {
  kind: Kind;
  prepare: boolean;
  user: Job["user"];
}

function parse(words: readonly string[]): Options & { command: readonly string[] } {
  const options: Options = { kind: "debian", prepare: false, user: "root" };
  const end = words.findIndex((word) => !word.startsWith("--"));
  const flags = end < 0 ? words : words.slice(0, end);
  for (const flag of flags) {
    const kind = kinds.find((kind) => flag === `--machine=${kind}`);
    if (kind !== undefined) options.kind = kind;
    else if (flag === "--prepare") options.prepare = true;
    else if (flag === "--user") options.user = "tester";
    else giveUp(`no such option: ${flag} (there are --machine=${kinds.join("|")}, --prepare and --user)`);
  }
  return { ...options, command: words.slice(flags.length) };
}

async function runTests(machine: Machine): Promise<number> {
  let failed = 0;
  for (const { path, ...how } of suites[machine.kind]) {
    console.log(`$ deno test tests/vm/guest/${path} (in a virtual machine, as ${how.user})`);
    const args = ["deno", "test", "--allow-all", "--no-check", `tests/vm/guest/${path}`];
    const timeoutSeconds = machine.kind === "qemu" ? 3600 : 900;
    const status = await runInMachine(machine, { ...how, args, timeoutSeconds });
    if (status === undefined) giveUp("the virtual machine did not run the tests");
    if (status !== 0) failed++;
  }
  return failed === 0 ? 0 : 1;
}

async function main(words: readonly string[]): Promise<number> {
  const { kind, prepare, user, command } = parse(words);
  const machine = projectMachine(kind);
  if (prepare) return 0;
  if (command.length === 0) return await runTests(machine);
  return await runInMachine(machine, { user, args: command }) ?? giveUp("the virtual machine did not run the command");
}

if (import.meta.main) Deno.exit(await main(Deno.args));
