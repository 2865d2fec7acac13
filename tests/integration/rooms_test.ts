/** The order of the rooms: imports point downwards, and no files import each other. docs/design.md, "Rooms". */

import { assert, assertEquals } from "@std/assert";
import { dirname, join } from "@std/path";

const project = new URL("../..", import.meta.url).pathname;

/** From the top down: a file may import from its own room and from those below. The longest prefix that fits counts. */
const rooms: readonly string[] = [
  "main.ts",
  "mod.ts",
  "lib/cli/",
  "lib/sandbox/",
  "lib/libcontainer/inspect/",
  "lib/libcontainer/container/",
  "lib/libcontainer/checks/",
  "lib/libcontainer/checkpoint/",
  "lib/libcontainer/trace/",
  "lib/libcontainer/launch/",
  "lib/libcontainer/plans/",
  "lib/libcontainer/state/",
  "lib/libcontainer/steps/",
  "lib/libcontainer/config/",
  "lib/libcontainer/seccomp/",
  "lib/libcontainer/",
  "lib/cgroups/",
  "lib/plan/",
  "lib/specs/",
  "lib/trace/",
  "lib/ffi/",
  "lib/std/",
  "lib/once.ts",
  "lib/errors.ts",
];

interface Import {
  readonly from: string;
  readonly to: string;
}

function sources(directory: string): readonly string[] {
  return [...Deno.readDirSync(join(project, directory))].flatMap(({ name, isDirectory }) => {
    const path = `${directory}/${name}`;
    if (isDirectory) return sources(path);
    return path.endsWith(".ts") ? [path] : [];
  });
}

const statement = /^(?:import|export)\s[^;"]*?from\s+"(\.[^"]+\.ts)"/gm;

function importsOf(from: string): readonly Import[] {
  const text = Deno.readTextFileSync(join(project, from));
  return [...text.matchAll(statement)].map(([, path = ""]) => ({ from, to: join(dirname(from), path) }));
}

const files = ["main.ts", "mod.ts", ...sources("lib")];
const imports = files.flatMap(importsOf);

function roomOf(path: string): number {
  const fitting = rooms.filter((room) => path.startsWith(room));
  assert(fitting.length > 0, `${path} is in no room`);
  return rooms.indexOf(fitting.reduce((longest, room) => room.length > longest.length ? room : longest));
}

Deno.test("the test reads all files and imports, and each import names a file", () => {
  assert(files.length > 200, `${files.length} files`);
  assert(imports.length > 1000, `${imports.length} imports`);
  assertEquals(imports.filter(({ to }) => !files.includes(to)), []);
});

Deno.test("imports point downwards, including those of types", () => {
  const up = imports.filter(({ from, to }) => roomOf(to) < roomOf(from));
  assertEquals(up.map(({ from, to }) => `${from} -> ${to}`), []);
});

/** The first circle that a walk along `edges` meets. */
function findCircle(edges: ReadonlyMap<string, readonly string[]>): readonly string[] {
  const done = new Set<string>();
  const visit = (file: string, above: readonly string[]): readonly string[] => {
    if (above.includes(file)) return [...above.slice(above.indexOf(file)), file];
    if (done.has(file)) return [];
    for (const next of edges.get(file) ?? []) {
      const circle = visit(next, [...above, file]);
      if (circle.length > 0) return circle;
    }
    done.add(file);
    return [];
  };
  for (const file of edges.keys()) {
    const circle = visit(file, []);
    if (circle.length > 0) return circle;
  }
  return [];
}

Deno.test("no files import each other, for values or for types", () => {
  assertEquals(findCircle(new Map([["a", ["b"]], ["b", ["c"]], ["c", ["b"]]])), ["b", "c", "b"]);
  const edges = new Map(files.map((file) => [file, imports.filter(({ from }) => from === file).map(({ to }) => to)]));
  assertEquals(findCircle(edges), []);
});

Deno.test("files import each other by path, so that mod.ts needs no import map", () => {
  const any = /^(?:import|export)\s[^;"]*?from\s+"([^"]+)"/gm;
  const named = files.flatMap((file) =>
    [...Deno.readTextFileSync(join(project, file)).matchAll(any)].map(([, name = ""]) => `${file}: ${name}`)
  ).filter((line) => !/: \.{1,2}\//.test(line));
  assertEquals(named, []);
});

Deno.test("everything is loaded at the start: no file calls import()", () => {
  const found = files.filter((file) => /\bimport\(/.test(Deno.readTextFileSync(join(project, file))));
  assertEquals(found, []);
});

Deno.test("no folder has more than some twenty files", () => {
  const folders = new Map<string, number>();
  for (const file of files) folders.set(dirname(file), (folders.get(dirname(file)) ?? 0) + 1);
  assertEquals([...folders].filter(([, count]) => count > 25), []);
});
