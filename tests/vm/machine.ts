/**
 * A program of this checkout in a virtual machine: the machine sees the checkout and Deno at the paths that they have here.
 *
 * @module
 */

import { projectDir } from "../../tools/bundle.ts";
import { boot, type Job } from "./boot.ts";
import { type Kind, type Machine, prepare } from "./prepare.ts";

const DEFAULT_CACHE = "/var/cache/runc-vm";
/** What tests in a machine know its kind by. */
export const MACHINE_VARIABLE = "RUNC_VM_MACHINE";

/** A program to run, and the machine that it wants. */
export interface Errand extends Pick<Job, "user" | "before" | "kernelArguments" | "output"> {
  readonly args: readonly string[];
  /** More directories of the host that the machine sees. */
  readonly shares?: readonly string[];
  readonly timeoutSeconds?: number;
}

/** A machine out of the directory that `RUNC_VM_CACHE` names, made where it is not there yet. */
export function projectMachine(kind: Kind): Machine {
  return prepare(Deno.env.get("RUNC_VM_CACHE") ?? DEFAULT_CACHE, kind);
}

/** Runs a program in the directory of the checkout. Returns its exit status; undefined where the machine did not get that far. */
export function runInMachine(machine: Machine, errand: Errand): Promise<number | undefined> {
  const { args, timeoutSeconds = 600, ...how } = errand;
  const deno = directoryOf(Deno.realPathSync(Deno.execPath()));
  // node_modules, from which the launcher takes Deno, may be a link.
  const shares = [projectDir, Deno.realPathSync(`${projectDir}/node_modules`), deno, ...errand.shares ?? []];
  const words = args.map(quote).join(" ");
  return boot(machine, {
    ...how,
    command: `cd ${quote(projectDir)} && NO_COLOR=1 ${MACHINE_VARIABLE}=${machine.kind} PATH=${
      quote(deno)
    }:$PATH exec ${words}`,
    shares: shares.filter((share, index) => !shares.slice(0, index).some((one) => `${share}/`.startsWith(`${one}/`))),
    timeoutSeconds,
  });
}

function directoryOf(path: string): string {
  return path.replace(/\/[^/]*$/, "");
}

/** A word of a shell command. */
export function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
