/** `deno task install` and `uninstall`: what is installed works by itself, and goes as it came. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { existsSync } from "@std/fs";
import { type Box, boxTest, execute, type Result, Running, until } from "./harness.ts";

const project = new URL("../..", import.meta.url).pathname;

/** The command line of the tool. */
function argv(what: "install" | "uninstall", prefix: string, ...options: string[]): string[] {
  const config = `${project}deno.json`, tool = `${project}tools/install.ts`;
  return [Deno.execPath(), "run", "--allow-all", "--config", config, tool, what, "--prefix", prefix, ...options];
}

// Where esbuild is, if it has been fetched.
const env = { DENO_DIR: Deno.env.get("DENO_DIR") ?? `${Deno.env.get("HOME")}/.cache/deno` };
const call = (...args: Parameters<typeof argv>): Result => execute(argv(...args), { env });

function must(...args: Parameters<typeof argv>): string {
  const { code, stdout, stderr } = call(...args);
  assertEquals(code, 0, stderr);
  return stdout;
}

/** Everything below a directory, sorted. */
function everythingBelow(directory: string): string[] {
  return execute(["/usr/bin/find", directory, "-mindepth", "1"]).stdout.split("\n").filter((path) => path !== "")
    .sort();
}

/** The directories that have a program in them. */
const programs = (prefix: string) =>
  [...Deno.readDirSync(`${prefix}/lib/runc`)].filter(({ isDirectory }) => isDirectory).map(({ name }) => name);

/** Runs a container with an installed program. */
function runs(box: Box, program: string, prefix: readonly string[] = []): void {
  box.write();
  const [, ...args] = box.argv("run", box.id);
  assertEquals(execute([...prefix, program, ...args], { cwd: box.bundle }), { code: 0, stdout: "", stderr: "" });
}

boxTest(
  "what was installed runs containers without the directory that it came from; uninstalling leaves what was there",
  (box) => {
    const prefix = `${box.directory}/prefix`;
    Deno.mkdirSync(`${prefix}/share/man/man8`, { recursive: true });
    Deno.writeTextFileSync(`${prefix}/share/man/man8/other.8`, "");
    const before = everythingBelow(prefix);
    assertMatch(must("install", prefix), /bin\/runc: runc version/);
    const started = everythingBelow(`${prefix}/lib`).filter((path) =>
      /\/runc(\.sh)?$/.test(path) && Deno.statSync(path).isFile
    );
    const mentions = execute(["/bin/grep", "--files-with-matches", "--text", "--fixed-strings", project, ...started]);
    assertEquals([started.length > 0, mentions.stdout], [true, ""]);
    // In a mount namespace in which the project's directory is covered.
    const cover = `mount -t tmpfs none ${project} && exec "$@"`;
    runs(box, `${prefix}/bin/runc`, ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", cover, "sh"]);
    assert(everythingBelow(prefix).some((path) => path.endsWith("/runc-run.8")));
    must("uninstall", prefix);
    assertEquals(everythingBelow(prefix), before);
  },
);

boxTest("installing again leaves no moment without a program; the one before goes with the next", (box) => {
  const prefix = `${box.directory}/prefix`;
  must("install", prefix, "--no-snapshot");
  const [first] = programs(prefix);
  Deno.writeTextFileSync(`${prefix}/lib/runc/manifest`, `${prefix}/share/old\n`, { append: true });
  Deno.writeTextFileSync(`${prefix}/share/old`, "");
  using again = new Running(argv("install", prefix, "--no-snapshot"), { env });
  while (!again.isOver) {
    const { stdout, stderr } = execute([`${prefix}/bin/runc`, "--version"]);
    assertMatch(stdout, /^runc version/, stderr);
  }
  assertEquals(again.wait().code, 0, again.stderr);
  assertEquals([programs(prefix).length, existsSync(`${prefix}/share/old`)], [2, false]);
  must("install", prefix, "--no-snapshot");
  assertEquals([programs(prefix).length, programs(prefix).includes(first!)], [2, false]);
  runs(box, `${prefix}/bin/runc`);
  must("uninstall", prefix);
  assertEquals(existsSync(prefix), false);
});

/** Whether the command line of a process has this text. */
function isNamed(text: string): boolean {
  return [...Deno.readDirSync("/proc")].some(({ name }) => {
    try {
      return /^\d+$/.test(name) && Deno.readTextFileSync(`/proc/${name}/cmdline`).includes(text);
    } catch {
      // It has ended meanwhile.
      return false;
    }
  });
}

boxTest("an installation that was cut off is uninstalled, or done once more", (box) => {
  const prefix = `${box.directory}/prefix`;
  for (const next of ["uninstall", "install"] as const) {
    using cut = new Running(argv("install", prefix, "--no-snapshot"), { env });
    until("it has begun", () => existsSync(`${prefix}/lib/runc/manifest`));
    cut.signal(9);
    cut.wait();
    // The bundler is its child, and lives on.
    until("all of it has ended", () => !isNamed(prefix));
    must(next, prefix, ...(next === "install" ? ["--no-snapshot"] : []));
    assertEquals(existsSync(prefix), next === "install");
  }
  assertEquals(programs(prefix).length, 1);
});

for (const path of ["bin/runc", "share/man/man8/runc.8", "share/bash-completion/completions/runc"]) {
  boxTest(`installing does not overwrite another runc's ${path}`, (box) => {
    const prefix = `${box.directory}/prefix`;
    Deno.mkdirSync(`${prefix}/${path.replace(/\/[^/]*$/, "")}`, { recursive: true });
    Deno.writeTextFileSync(`${prefix}/${path}`, "another");
    const before = everythingBelow(prefix);
    const { code, stderr } = call("install", prefix);
    assertEquals([code, stderr.includes(`${prefix}/${path}: already exists`)], [1, true], stderr);
    assertEquals(everythingBelow(prefix), before);
  });
}

boxTest("what has taken a program's place since is neither overwritten nor removed", (box) => {
  const prefix = `${box.directory}/prefix`;
  must("install", prefix, "--no-snapshot");
  Deno.removeSync(`${prefix}/bin/runc`);
  Deno.writeTextFileSync(`${prefix}/bin/runc`, "another");
  assertMatch(call("install", prefix).stderr, /bin\/runc: already exists and belongs to another program/);
  assertMatch(call("uninstall", prefix).stderr, /bin\/runc now belongs to another program and is kept/);
  assertEquals(everythingBelow(prefix), [`${prefix}/bin`, `${prefix}/bin/runc`]);
  assertMatch(call("uninstall", prefix).stderr, /nothing is installed below/);
});

boxTest("everybody may run what was installed, whatever the umask", (box) => {
  const prefix = `${box.directory}/prefix`;
  const careful = ["/bin/sh", "-c", 'umask 077; exec "$@"', "sh", ...argv("install", prefix, "--no-snapshot")];
  assertEquals(execute(careful, { env }).code, 0);
  const nobody = ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
  assertMatch(execute([...nobody, `${prefix}/bin/runc`, "--version"]).stdout, /^runc version/);
});

boxTest("--destdir makes for a prefix what is then brought there", (box) => {
  const prefix = `${box.directory}/prefix`, destdir = `${box.directory}/package`;
  const aside = ["--destdir", destdir, "--no-snapshot"];
  assertMatch(call("install", prefix, ...aside).stderr, /prefix must exist; it may be empty/);
  Deno.mkdirSync(prefix);
  must("install", prefix, ...aside);
  assertEquals(everythingBelow(prefix), []);
  Deno.removeSync(prefix);
  Deno.renameSync(`${destdir}${prefix}`, prefix);
  runs(box, `${prefix}/bin/runc`);
  must("uninstall", prefix);
  assertEquals(everythingBelow(prefix), []);
});

boxTest("what others have put beside the programs stays", (box) => {
  const prefix = `${box.directory}/prefix`;
  Deno.mkdirSync(`${prefix}/lib/runc/theirs`, { recursive: true });
  const before = everythingBelow(prefix);
  must("install", prefix, "--no-snapshot");
  must("install", prefix, "--no-snapshot");
  must("uninstall", prefix);
  assertEquals(everythingBelow(prefix), before);
});

boxTest("options that are not the command's are refused, before anything is done", (box) => {
  const prefix = `${box.directory}/prefix`;
  for (const [what, option] of [["uninstall", "--destdir=/x"], ["install", "--dest-dir=/x"]] as const) {
    const { code, stderr } = call(what, prefix, option);
    assertEquals(code, 1);
    assertMatch(stderr, /usage: deno task install/);
  }
  assertEquals(existsSync(prefix), false);
});
