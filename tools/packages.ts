/**
 * Programs from Debian packages.
 *
 * @module
 */

import { join } from "@std/path";
import { existsSync } from "@std/fs";
import { distDir, giveUp, projectDir, reason, runTool } from "./bundle.ts";

/** A program and its Debian package. */
export interface Requirement {
  readonly package: string;
  readonly program: string;
}

/** The programs that the tests need: the lines of test_packages.txt, which .ci/run also reads. */
export function testRequirements(): readonly Requirement[] {
  const lines = Deno.readTextFileSync(join(projectDir, "tools/test_packages.txt")).trim().split("\n");
  return lines.map((line) => {
    const [name = "", program = ""] = line.split(" ");
    return { package: name, program };
  });
}

/** Installs the missing packages. If that fails, ends the tool with one line. */
export function ensureInstalled(requirements: readonly Requirement[]): void {
  const missing = requirements.filter(({ program }) => findProgram(program) === undefined);
  if (missing.length === 0) return;
  const packages = missing.map((requirement) => requirement.package);
  console.log(`installing ${packages.join(" ")}`);
  const install = () => runTool("apt-get", ["install", "--yes", "--no-install-recommends", ...packages]);
  let outcome = install();
  if (!outcome.success) {
    // A fresh machine has no package lists.
    runTool("apt-get", ["update"]);
    outcome = install();
  }
  if (!outcome.success) giveUp(`cannot install the Debian packages ${packages.join(" ")}: ${reason(outcome.stderr)}`);
}

/** Finds a program on PATH or in the administrators' directories, which may not be on a user's PATH. */
export function findProgram(name: string): string | undefined {
  const directories = [...(Deno.env.get("PATH") ?? "").split(":"), "/usr/sbin", "/sbin"];
  return directories.map((directory) => join(directory, name)).find((path) => existsSync(path, { isFile: true }));
}

/**
 * Finds a static busybox: the host's own, otherwise one unpacked from Debian's package into dist/ without installing
 * it.
 */
export function findBusybox(): string {
  const unpacked = join(distDir, "busybox-static/bin/busybox");
  const candidates = [findProgram("busybox"), unpacked].filter((path) => path !== undefined);
  return candidates.find((path) => existsSync(path) && isStatic(path)) ?? unpackBusybox();
}

/** Whether a program is static: a dynamic one names its loader (PT_INTERP) near its start. elf(5) */
function isStatic(path: string): boolean {
  using file = Deno.openSync(path);
  const head = new Uint8Array(4096);
  file.readSync(head);
  return !new TextDecoder("latin1").decode(head).includes("/ld-");
}

function unpackBusybox(): string {
  const directory = Deno.makeTempDirSync({ prefix: "runc-busybox-" });
  // apt downloads as its own user, which cannot enter a directory that only we can access.
  Deno.chmodSync(directory, 0o755);
  try {
    const download = () => runTool("env", ["-C", directory, "apt-get", "download", "busybox-static"]);
    if (!download().success) {
      runTool("apt-get", ["update"]);
      const { success, stderr } = download();
      if (!success) throw new Error(reason(stderr));
    }
    const [deb] = [...Deno.readDirSync(directory)].map(({ name }) => join(directory, name));
    const { success, stderr } = runTool("dpkg-deb", ["--extract", deb ?? "", join(distDir, "busybox-static")]);
    if (!success) throw new Error(reason(stderr));
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    giveUp(`no static busybox: install Debian's package busybox-static (${error.message})`);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
  return join(distDir, "busybox-static/bin/busybox");
}
