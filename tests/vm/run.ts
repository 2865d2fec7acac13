/**
 * `deno task test:vm`: boots virtual machines and runs tests/vm/guest in them, as root and as a user. With arguments, runs
 * these as a command in one machine instead: `deno task test:vm [--user] COMMAND...`.
 *
 * @module
 */

import { giveUp, projectDir } from "../../tools/bundle.ts";
import { boot, type Job } from "./boot.ts";
import { prepare } from "./prepare.ts";

const DEFAULT_CACHE = "/var/cache/runc-vm";

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

function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/** Deno, with the checkout as its directory: the machine has both from the host. */
function command(deno: string, args: readonly string[]): string {
  return `cd ${quote(projectDir)} && NO_COLOR=1 PATH=${quote(deno.replace(/\/[^/]*$/, ""))}:$PATH exec ${
    args.map(quote).join(" ")
  }`;
}

async function main(words: readonly string[]): Promise<number> {
  const machine = prepare(Deno.env.get("RUNC_VM_CACHE") ?? DEFAULT_CACHE, Deno.env.get("RUNC_VM_KERNEL"));
  const deno = Deno.realPathSync(Deno.execPath());
  // node_modules, from which the launcher takes Deno, may be a link.
  const shares = [projectDir, Deno.realPathSync(`${projectDir}/node_modules`), deno.replace(/\/[^/]*$/, "")];
  const run = (how: Pick<Job, "user" | "kernelArguments">, args: readonly string[]) =>
    boot(machine, {
      ...how,
      command: command(deno, args),
      shares: shares.filter((share, index) => !shares.slice(0, index).some((one) => `${share}/`.startsWith(`${one}/`))),
      timeoutSeconds: 600,
    });
  if (words.length > 0) {
    const [user, args]: [Job["user"], readonly string[]] = words[0] === "--user"
      ? ["tester", words.slice(1)]
      : ["root", words];
    return await run({ user }, args) ?? giveUp("the virtual machine did not run the command");
  }
  let failed = 0;
  for (const suite of suites) {
    console.log(`$ deno test tests/vm/guest/${suite.name} (in a virtual machine, as ${suite.user})`);
    const status = await run(suite, ["deno", "test", "--allow-all", "--no-check", `tests/vm/guest/${suite.name}`]);
    if (status === undefined) giveUp("the virtual machine did not run the tests");
    if (status !== 0) failed++;
  }
  return failed === 0 ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
