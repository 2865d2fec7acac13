/** package.json and package-lock.json: npm runs what Deno runs, and installs only what is pinned. */

import { assertEquals } from "@std/assert";
import config from "../../../deno.json" with { type: "json" };
import lock from "../../../package-lock.json" with { type: "json" };
import packages from "../../../package.json" with { type: "json" };

/** npm runs scripts with these names by itself when it installs packages. */
const lifecycle: readonly string[] = ["install", "uninstall", "prepare", "publish"];

/** The npm script for a task. */
const scriptOf = (task: string) => lifecycle.includes(task) ? `program:${task}` : task;

Deno.test("npm has a script for each task of Deno, and no other", () => {
  const wanted = Object.keys(config.tasks).map((task) => [scriptOf(task), `sh tools/setup.sh ${task}`]);
  assertEquals(packages.scripts, Object.fromEntries(wanted) as typeof packages.scripts);
});

Deno.test("npm installs nothing that package-lock.json does not pin by version and hash", () => {
  const { "": root, ...pinned } = lock.packages;
  assertEquals(root.optionalDependencies, packages.optionalDependencies);
  const wanted = Object.entries(packages.optionalDependencies).map(([name, version]) => [
    `node_modules/${name}`,
    version,
    true,
  ]);
  const found = Object.entries(pinned).map(([path, { version, integrity }]) => [
    path,
    version,
    /^sha512-[\w+/]{86}==$/.test(integrity),
  ]);
  assertEquals(found, wanted);
});

Deno.test("both architectures get the same versions", () => {
  const versions = (scope: string) =>
    Object.entries(packages.optionalDependencies).filter(([name]) => name.startsWith(scope)).map(([, version]) =>
      version
    );
  for (const scope of ["@deno/", "@esbuild/"]) {
    assertEquals([versions(scope).length, new Set(versions(scope)).size], [2, 1], scope);
  }
});
