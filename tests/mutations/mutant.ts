/** A build of the program with a change of its source, and tests that are run against it, where neither can do harm. */

import { dirname, join } from "@std/path";
import { findDeno } from "../../tools/build.ts";
import { projectDir } from "../../tools/bundle.ts";
import { cgroupsNamed } from "../integration/leftovers.ts";

/** One textual change of the source. */
export interface Edit {
  readonly file: string;
  /** Has to be found exactly once. */
  readonly text: string;
  readonly replacement: string;
}

/** What the source is made of, as far as the program is. */
const parts = ["lib", "tools", "main.ts", "mod.ts", "deno.json", "package.json"];

/** What came of a run. */
export interface Run {
  readonly code: number;
  readonly output: string;
}

const deno = findDeno();

/** Runs a program to its end, both its outputs taken together; it is killed after `seconds`. */
async function run(
  argv: readonly string[],
  { env = {}, cwd = projectDir, seconds }: { env?: Record<string, string>; cwd?: string; seconds: number },
): Promise<Run> {
  const [program = "", ...args] = ["/usr/bin/timeout", "--kill-after=5", String(seconds), ...argv];
  const { code, stdout, stderr } = await new Deno.Command(program, {
    args,
    cwd,
    env: { NO_COLOR: "1", DENO_NO_PROMPT: "1", ...env },
    stdin: "null",
  }).output();
  return { code, output: [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)).join("") };
}

/** @throws where the text of the edit is not there exactly once: the list has to be carried on. */
export function applyEdit(source: string, { file, text, replacement }: Edit): string {
  const count = source.split(text).length - 1;
  if (count === 1) return source.replace(text, () => replacement);
  const found = count === 0 ? "is not in it any more" : `is in it ${count} times`;
  throw new Error(
    `${file} has changed: ${
      JSON.stringify(text)
    } ${found}. Carry tests/mutations/mutations.ts on: find what protects now, and what takes it away`,
  );
}

/** @throws as {@link applyEdit} does. */
export function checkEdit(edit: Edit): void {
  applyEdit(Deno.readTextFileSync(join(projectDir, edit.file)), edit);
}

/** Directories of mutants, below one that is removed with all of them. */
export class Workshop implements Disposable {
  // Not in /tmp: tests of mutants have one of their own.
  readonly #directory = Deno.makeTempDirSync({ dir: "/var/tmp", prefix: "runc-mutants-" });
  readonly #cgroups = `runc-mutant-test-${Deno.pid}`;
  #count = 0;

  /** Copies the source, with the tests, and makes the edits. Returns the directory. */
  async copy(edits: readonly Edit[]): Promise<string> {
    const tree = join(this.#directory, String(this.#count++));
    Deno.mkdirSync(tree);
    await run(["/bin/cp", "-r", ...parts, "tests", tree], { seconds: 20 });
    Deno.symlinkSync(join(projectDir, "node_modules"), join(tree, "node_modules"));
    for (const edit of edits) {
      const path = join(tree, edit.file);
      Deno.writeTextFileSync(path, applyEdit(Deno.readTextFileSync(path), edit));
    }
    return tree;
  }

  /**
   * Builds the program with the edits. `snapshot`: with its front. Returns its path. @throws where it cannot be built.
   */
  async build(edits: readonly Edit[], { snapshot = false }: { readonly snapshot?: boolean } = {}): Promise<string> {
    const tree = await this.copy(edits);
    const words = ["tools/build.ts", ...(snapshot ? [] : ["--no-snapshot"])];
    const { code, output } = await run([deno, "run", "--allow-all", "--no-check", ...words], {
      cwd: tree,
      seconds: snapshot ? 180 : 60,
    });
    if (code !== 0) throw new Error(`cannot be built:\n${output}`);
    return join(tree, "dist/runc");
  }

  /**
   * Runs the tests of `file` whose names contain `filter` against `program`. `cwd`: where the tests are, this project
   * by default. `patienceMs`: how long they wait for what never happens.
   *
   * What lacks a protection could change the host. So it has mount and pid namespaces of its own: the root file system is read-only, /tmp and /dev are
   * copies, and no process outlives the run.
   */
  async test(
    program: string,
    file: string,
    filter?: string,
    { cwd = projectDir, patienceMs }: { readonly cwd?: string; readonly patienceMs?: number } = {},
  ): Promise<Run> {
    const patience: Record<string, string> = patienceMs === undefined ? {} : { RUNC_TEST_PATIENCE: `${patienceMs}` };
    const args = [deno, "test", "--allow-all", "--no-check", "--no-lock", "--quiet"];
    if (filter !== undefined) args.push("--filter", filter);
    const bin = dirname(deno);
    const aside = join(this.#directory, "checkout");
    // A checkout below /tmp stays where it is.
    const [setAside, putBack] = projectDir.startsWith("/tmp/")
      ? [[`mkdir -p ${aside}`, `mount --bind ${projectDir} ${aside}`], [
        `mkdir -p ${projectDir}`,
        `mount --move ${aside} ${projectDir}`,
        `mount -o remount,bind,ro ${projectDir}`,
        `cd ${cwd}`,
      ]]
      : [[], []];
    const script = [
      "set -e",
      `mount --bind ${this.#directory} ${this.#directory}`,
      ...setAside,
      "mount -t tmpfs -o mode=1777 tmpfs /tmp",
      ...putBack,
      "mkdir -p /tmp/.dev /tmp/.deno/upper /tmp/.deno/work",
      "cp -a $(find /dev -mindepth 1 -maxdepth 1 ! -type d) /tmp/.dev",
      "mkdir /tmp/.dev/pts /tmp/.dev/shm",
      "mount --bind /tmp/.dev /dev",
      "mount -t devpts -o newinstance,ptmxmode=0666,gid=5,mode=620 devpts /dev/pts",
      "mount -t tmpfs tmpfs /dev/shm",
      // The binary of the other executor: one that is on a read-only mount as it is needs no protection.
      `mount -t overlay -o lowerdir=${bin},upperdir=/tmp/.deno/upper,workdir=/tmp/.deno/work overlay ${bin}`,
      "mount -o remount,bind,ro /",
      'exec "$@"',
    ].join("\n");
    const unshare = "/usr/bin/unshare --mount --pid --fork --kill-child --mount-proc --propagation private".split(" ");
    return await run([...unshare, "/bin/sh", "-c", script, "sh", ...args, file], {
      cwd,
      env: { ...patience, RUNC: program, RUNC_TEST_CGROUPS: this.#cgroups, DENO_DIR: join(this.#directory, "deno") },
      seconds: 150,
    });
  }

  [Symbol.dispose](): void {
    // Of tests that were killed; the others have removed theirs.
    for (const path of cgroupsNamed(this.#cgroups).reverse()) Deno.removeSync(path);
    Deno.removeSync(this.#directory, { recursive: true });
  }
}
