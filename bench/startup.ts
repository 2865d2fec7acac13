/**
 * `deno run -A bench/startup.ts [--runs N]`: times Deno's startup before the first useful instruction, and what some
 * habits add to it. The table in docs/design.md comes from this program.
 *
 * @module
 */

import { existsSync } from "@std/fs";
import { join } from "@std/path";
import { distDir, giveUp } from "../tools/bundle.ts";
import { readOptions } from "../tools/options.ts";
import { coldFlags, denoFlags } from "../tools/build.ts";
import { formatTable, median } from "./statistics.ts";

const KIB = 1024;
const END = "Deno.exit(0);";

/**
 * A script that does nothing, `bytes` long. It consists of functions that are never called, like most of a real
 * program.
 */
function scriptOf(bytes: number): string {
  const parts = [END];
  for (let index = 0, length = 0; length < bytes; index++) {
    const part = `function f${index}(a, b) { if (a > ${index}) return b.map((c) => c + a); return [b, ${index}]; }`;
    parts.push(part);
    length += part.length + 1;
  }
  return parts.join("\n");
}

/** A script that binds the first `count` libc functions whose only parameters are numbers. */
function scriptBinding(count: number): string {
  const names =
    "getpid getuid getgid geteuid getegid getppid gettid sync fork pause setsid tcgetpgrp abs labs close dup umask " +
    "alarm sleep usleep rand srand random srandom getpagesize gethostid nice isatty rmdir chdir fchdir fsync " +
    "fdatasync syncfs getsid getpgid setpgid setuid setgid seteuid setegid kill raise killpg time " +
    "clock toupper tolower isalpha isdigit";
  const symbols = names.split(" ").slice(0, count).map((name) => `${name}: { parameters: ["i32"], result: "i32" }`);
  return `Deno.dlopen("libc.so.6", { ${symbols.join(", ")} });\n${END}`;
}

const scripts: readonly (readonly [name: string, text: string])[] = [
  ["nothing", END],
  ["64 KiB that are not run", scriptOf(64 * KIB)],
  ["128 KiB that are not run", scriptOf(128 * KIB)],
  ["256 KiB that are not run", scriptOf(256 * KIB)],
  ["dlopen with 1 symbol", scriptBinding(1)],
  ["dlopen with 50 symbols", scriptBinding(50)],
  ['import "node:path"', `import "node:path";\n${END}`],
  ['import "node:fs"', `import "node:fs";\n${END}`],
];

function measure(commands: readonly (readonly string[])[], runs: number): number[][] {
  const samples = commands.map((): number[] => []);
  // The scripts take turns, so that all see the same machine. The first round is a warm-up.
  for (let run = -1; run < runs; run++) {
    commands.forEach((args, index) => {
      const before = performance.now();
      const { success } = new Deno.Command(Deno.execPath(), { args: [...args], stdout: "null", stderr: "null" })
        .outputSync();
      if (!success) giveUp(`deno ${args.join(" ")} failed`);
      if (run >= 0) samples[index]!.push(performance.now() - before);
    });
  }
  return samples;
}

function main(): void {
  const options = readOptions(Deno.args, { values: { runs: "20" } });
  if (options === undefined) return giveUp("usage: deno run -A bench/startup.ts [--runs N]");
  const bundle = join(distDir, "runc.js");
  if (!existsSync(bundle)) giveUp("dist/runc.js is missing: run deno task build");
  const directory = Deno.makeTempDirSync({ prefix: "runc-startup-" });
  try {
    const commands = scripts.map(([, text], index) => {
      const path = join(directory, `${index}.js`);
      Deno.writeTextFileSync(path, text);
      return ["run", ...denoFlags, ...coldFlags, path];
    });
    const names = [...scripts.map(([name]) => name), "dist/runc.js --version"];
    const samples = measure(
      [...commands, ["run", ...denoFlags, ...coldFlags, bundle, "--version"]],
      Number(options.values.runs),
    );
    const rows = names.map((name, index) => {
      const minimum = Math.min(...samples[index]!);
      const added = minimum - Math.min(...samples[0]!);
      return [name, minimum.toFixed(1), median(samples[index]!).toFixed(1), `+${added.toFixed(1)}`];
    });
    console.log(formatTable([["ms", "minimum", "median", "added"], ...rows]));
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

if (import.meta.main) main();
