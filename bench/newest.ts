/**
 * The newest runc and crun: Debian sid's, unpacked below dist/, where nothing of them is installed.
 *
 * @module
 */

import { ensureDirSync, existsSync } from "@std/fs";
import { join } from "@std/path";
import { distDir, giveUp } from "../tools/bundle.ts";
import { ensureInstalled } from "../tools/packages.ts";
import { must, Suite } from "../tests/vm/packages.ts";
import type { Runtime } from "./contestant.ts";

const directory = join(distDir, "newest");
const root = join(directory, "root");

/** Unpacks them, if they are not there yet. */
export function newestRuntimes(): readonly Runtime[] {
  const runtimes = ["runc", "crun"].map((name) => ({ name: `${name}-sid`, program: join(directory, name) }));
  if (runtimes.every(({ program }) => existsSync(program))) return runtimes;
  ensureInstalled([{ package: "patchelf", program: "patchelf" }]);
  if (existsSync(directory)) Deno.removeSync(directory, { recursive: true });
  ensureDirSync(directory);
  const packages = Deno.makeTempDirSync({ prefix: "runc-bench-sid-" });
  {
    using sid = new Suite("sid", packages);
    sid.unpackWhole(["runc", "crun"], root);
  }
  for (const name of ["runc", "crun"]) link(name);
  return runtimes;
}

/**
 * A copy of a program that has its own loader and libraries. It is executed directly: a runtime executes itself again,
 * and by a loader's command line that would be the loader.
 */
function link(name: string): void {
  const [machine = ""] = must("uname", ["-m"], "name the processor").stdout.trim().split("\n");
  const libraries = `${root}/usr/lib/${machine}-linux-gnu`;
  const loader = [...Deno.readDirSync(libraries)].find(({ name }) => /^ld-linux-.*\.so/.test(name))?.name;
  if (loader === undefined) giveUp(`no loader in ${libraries}`);
  const program = join(directory, name);
  const source = ["usr/sbin", "usr/bin"].map((path) => join(root, path, name)).find((path) => existsSync(path));
  if (source === undefined) giveUp(`Debian's package ${name} has no program ${name}`);
  Deno.copyFileSync(source, program);
  Deno.chmodSync(program, 0o755);
  const args = ["--force-rpath", "--set-rpath", libraries, "--set-interpreter", `${libraries}/${loader}`, program];
  must("patchelf", args, `give ${name} its own libraries`);
}
