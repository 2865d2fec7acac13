/**
 * `deno task test:vm`: boots virtual machines and runs tests/vm/guest in them, as root and as a user. With `--prepare` it makes the
 * machine and boots none. With other words, runs these as a command in one machine:
 *
 *     deno task test:vm [--machine=debian|full|qemu] [--prepare] [--crash]
 *     deno task test:vm [--machine=debian|full|qemu] [--user] [--snapshot] [--minutes=N] COMMAND...
 *
 * @module
 */

import { giveUp, projectDir } from "../../tools/bundle.ts";
import { inLanes } from "../../tools/lanes.ts";
import type { Job } from "./boot.ts";
import { projectMachine, quote, runInMachine } from "./machine.ts";
import { type Kind, kinds, type Machine } from "./prepare.ts";

/** Tests below tests/vm/guest, and the machine that they want. */
interface Suite extends Pick<Job, "user" | "kernelArguments"> {
  readonly paths: readonly string[];
  /** Arguments of the tests. */
  readonly words?: readonly string[];
  /** Absent: a quarter of an hour. */
  readonly timeoutSeconds?: number;
}

/** The one that takes longest comes first. */
const everything: readonly Suite[] = [
  { paths: ["root/systemd_test.ts"], user: "root" },
  {
    paths: [
      "root/apparmor_test.ts",
      "root/cgroup2_test.ts",
      "root/controllers_test.ts",
      "root/crash_test.ts",
      "root/limits_test.ts",
    ],
    user: "root",
  },
  { paths: ["tester"], user: "tester" },
  // cgroup v1, managed by systemd, with a cgroup2 mount beside it.
  { paths: ["hybrid"], user: "root", kernelArguments: ["systemd.unified_cgroup_hierarchy=0"] },
];

/** Every command is killed before its acts, on cgroup v2 with both drivers and as a user. */
const crashes: readonly Suite[] = (["root", "tester"] as const).map((user) => (
  { paths: [`${user}/crash_test.ts`], user, words: ["--", "all"], timeoutSeconds: 2 * 3600 }
));

const suites: Readonly<Record<Kind, readonly Suite[]>> = {
  debian: everything,
  full: everything,
  // Ten to twenty times slower: what only this kernel has.
  qemu: [{ paths: ["root/controllers_test.ts"], user: "root" }],
};

/** The words before the command, which start with dashes. */
interface Options {
  kind: Kind;
  prepare: boolean;
  crash: boolean;
  user: Job["user"];
  /** Whether the program is built in the machine, too. */
  snapshot: boolean;
  minutes: number;
}

const others = "--prepare, --crash, --user, --snapshot and --minutes=N";

function parse(words: readonly string[]): Options & { command: readonly string[] } {
  const options: Options = {
    kind: "debian",
    prepare: false,
    crash: false,
    user: "root",
    snapshot: false,
    minutes: 10,
  };
  const end = words.findIndex((word) => !word.startsWith("--"));
  const flags = end < 0 ? words : words.slice(0, end);
  for (const flag of flags) {
    const kind = kinds.find((kind) => flag === `--machine=${kind}`);
    if (kind !== undefined) options.kind = kind;
    else if (flag === "--prepare") options.prepare = true;
    else if (flag === "--crash") options.crash = true;
    else if (flag === "--user") options.user = "tester";
    else if (flag === "--snapshot") options.snapshot = true;
    else if (/^--minutes=\d+$/.test(flag)) options.minutes = Number(flag.slice("--minutes=".length));
    else giveUp(`no such option: ${flag}; there are --machine=${kinds.join("|")}, ${others}`);
  }
  return { ...options, command: words.slice(flags.length) };
}

/** Runs as many machines at a time as there are processors: one keeps little more than one busy. */
async function runTests(machine: Machine, suites: readonly Suite[]): Promise<number> {
  const failed = await inLanes(
    suites,
    navigator.hardwareConcurrency,
    (suite) => runSuite(machine, suite),
  );
  return failed.length === 0 ? 0 : 1;
}

/**
 * Builds the program in the machine, over what was built here: its kernel places a program's memory elsewhere, so the
 * snapshot that was taken here would give way to the launcher.
 */
function takeSnapshot(directory: string): string {
  return `set -e
mount -t tmpfs -o mode=755 dist ${quote(`${directory}/dist`)}
cd ${quote(directory)}
NO_COLOR=1 ${quote(Deno.realPathSync(Deno.execPath()))} run --allow-all tools/build.ts`;
}

/** Prints what a machine has printed when it has ended. */
async function runSuite(machine: Machine, { paths, words = [], ...how }: Suite): Promise<boolean> {
  const files = paths.map((path) => `tests/vm/guest/${path}`);
  const printed: Uint8Array[] = [];
  const output = new WritableStream<Uint8Array>({ write: (chunk) => void printed.push(chunk) });
  const args = ["deno", "test", "--allow-all", "--no-check", ...files, ...words];
  const isSlow = machine.kind === "qemu";
  const timeoutSeconds = isSlow ? 3600 : 900;
  const before = isSlow ? undefined : takeSnapshot(projectDir);
  const status = await runInMachine(machine, { timeoutSeconds, ...how, args, output, before });
  console.log(`$ deno test ${files.join(" ")} (in a virtual machine, as ${how.user})`);
  for (const chunk of printed) Deno.stdout.writeSync(chunk);
  if (status === undefined) console.error("error: the virtual machine did not run the tests");
  return status === 0;
}

async function main(words: readonly string[]): Promise<number> {
  const { kind, prepare, crash, user, snapshot, minutes, command } = parse(words);
  const machine = projectMachine(kind);
  if (prepare) return 0;
  if (command.length === 0) return await runTests(machine, crash ? crashes : suites[kind]);
  const before = snapshot ? takeSnapshot(projectDir) : undefined;
  const errand = { user, args: command, before, timeoutSeconds: 60 * minutes };
  return await runInMachine(machine, errand) ?? giveUp("the virtual machine did not run the command");
}

if (import.meta.main) Deno.exit(await main(Deno.args));
