/** mod.ts in programs outside of this directory, which have a deno.json of their own and no network. */

import { assertEquals } from "@std/assert";
import { ensureDirSync } from "@std/fs";
import { dirname, join } from "@std/path";
import { projectDir } from "../../tools/bundle.ts";

const program = (specifier: string) =>
  `import { createRuntime, defaultSpec, explain, loadSpec, planContainer, RuncError } from "${specifier}";

const runtime = createRuntime({ root: "/run/runc-import-test" });
Deno.mkdirSync("rootfs");
const spec = loadSpec(runtime, defaultSpec({ cgroup2: true }), Deno.cwd());
const plan = planContainer(runtime, { id: "import", spec, startBy: "fifo" });
console.log(explain(plan).includes("mount proc on /proc"), new RuncError("protocol", "abc").message);
`;

interface Result {
  readonly success: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs Deno in `directory`. It does not inherit this process's DENO_DIR, so what is cached here does not help. */
function deno(directory: string, ...args: readonly string[]): Result {
  const { success, stdout, stderr } = new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd: directory,
    clearEnv: true,
    env: { DENO_DIR: join(directory, "cache"), NO_COLOR: "1", PATH: "/usr/bin:/bin" },
    stdin: "null",
  }).outputSync();
  const decoder = new TextDecoder();
  return { success, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** A directory outside of the checkout, with a program that imports `specifier`. */
function withProgram(specifier: string, config: unknown, test: (directory: string) => void): void {
  const directory = Deno.makeTempDirSync({ prefix: "runc-import-" });
  try {
    Deno.writeTextFileSync(join(directory, "deno.json"), JSON.stringify(config));
    Deno.writeTextFileSync(join(directory, "program.ts"), program(specifier));
    test(directory);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

/** The program runs, and passes the type check with the compiler options of its own deno.json. */
function runs(directory: string): void {
  const checked = deno(directory, "check", "--no-remote", "program.ts");
  assertEquals([checked.success, checked.success ? "" : checked.stderr], [true, ""]);
  const { success, stdout, stderr } = deno(directory, "run", "--no-remote", "--no-npm", "--allow-all", "program.ts");
  assertEquals([success, stdout, success ? "" : stderr], [true, "true abc\n", ""]);
}

/** Copies files and folders of this project. */
function copyInto(directory: string, names: readonly string[]): void {
  for (const name of names) {
    const to = join(directory, name);
    ensureDirSync(dirname(to));
    const { success } = new Deno.Command("cp", { args: ["-a", join(projectDir, name), to] }).outputSync();
    assertEquals([name, success], [name, true]);
  }
}

Deno.test("a program with its own deno.json imports mod.ts by its file: URL", () => {
  withProgram(`file://${projectDir}/mod.ts`, {}, runs);
});

Deno.test("a program imports a copy of mod.ts and lib/, under a name of its own", () => {
  // The types of browsers, as programs of Fresh have them.
  const compilerOptions = { lib: ["dom", "dom.iterable", "deno.ns"] };
  const config = { imports: { "containers": "./vendor/runc/mod.ts" }, compilerOptions };
  withProgram("containers", config, (directory) => {
    copyInto(join(directory, "vendor/runc"), ["mod.ts", "lib"]);
    runs(directory);
  });
});

Deno.test("importing needs no permission", () => {
  withProgram(`file://${projectDir}/mod.ts`, {}, (directory) => {
    const text = `import { parseConfig } from "file://${projectDir}/mod.ts";\nconsole.log(typeof parseConfig);\n`;
    Deno.writeTextFileSync(join(directory, "program.ts"), text);
    const { success, stdout, stderr } = deno(directory, "run", "--no-remote", "--no-prompt", "program.ts");
    assertEquals([success, stdout, success ? "" : stderr], [true, "function\n", ""]);
  });
});

Deno.test("deno publish accepts the package", () => {
  const directory = Deno.makeTempDirSync({ prefix: "runc-import-" });
  try {
    copyInto(directory, JSON.parse(Deno.readTextFileSync(join(projectDir, "deno.json"))).publish.include);
    const { success, stderr } = deno(directory, "publish", "--dry-run", "--no-remote", "--allow-dirty");
    assertEquals([success, success ? "" : stderr], [true, ""]);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});
