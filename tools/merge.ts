/**
 * Merges files that are loaded together into one. esbuild creates a file for each set of modules that different
 * commands share, forty for `run`. Deno needs 0.07 ms for each: to find it, look it up in the code cache and link it.
 *
 * Each file becomes the result of a function in the merged file. Files that import it then import that result.
 *
 *     chunk-A.js:  import{a as x}from"./chunk-B.js"; … export{y as a};
 *     run.js:      import{a as z}from"./chunk-A.js"; …
 *
 *     merged.js:   export const $B=(()=>{…})(); export const $A=(()=>{const{a:x}=$B; … return{a:y}})();
 *     run.js:      import{$A}from"./merged.js";const{a:z}=$A; …
 *
 * This works for esbuild's output: imports first, one export last, no cycles, and no exported variable that changes
 * later.
 *
 * @module
 */

/** A parsed file. */
interface Chunk {
  readonly imports: readonly { readonly file: string; readonly names: string }[];
  readonly body: string;
  /** `local as exported` each. */
  readonly exports: readonly string[];
}

/** Parses a file. @throws {Error} if it is not in esbuild's form. */
function parse(script: string): Chunk {
  const imports: { file: string; names: string }[] = [];
  const one = /import(?:\{([^}]*)\}from)?"\.\/([^"]+)";/y;
  let start = 0;
  for (let found = one.exec(script); found !== null; found = one.exec(script)) {
    imports.push({ file: found[2]!, names: found[1] ?? "" });
    start = one.lastIndex;
  }
  const end = /export\{([^{}]*)\};\s*$/.exec(script);
  const body = script.slice(start, end?.index);
  const stray = /(?:^|[;}])(?:import[{"*]|export[ {*]).{0,40}/.exec(body);
  if (stray !== null) throw new Error(`unexpected import or export: ${stray[0]}`);
  return { imports, body, exports: end === null ? [] : end[1]!.split(",") };
}

/** Converts `a as b, c` to the inside of a pattern or object: `a:b,c`. */
function pairs(names: readonly string[], turned: boolean): string {
  return names.filter((name) => name !== "").map((name) => {
    const [from = "", to = from] = name.split(" as ");
    return turned ? `${to}:${from}` : `${from}:${to}`;
  }).join(",");
}

/** The variable name of a file. File names consist of letters, digits and `-`. */
function nameOf(file: string): string {
  return `$${file.replace(/\.js$/, "").replaceAll("-", "_")}`;
}

/** The content of each file, by name. */
export type Files = ReadonlyMap<string, string>;

/** A merged file: its name and members. */
export type Group = readonly [name: string, members: readonly string[]];

/**
 * Merges files. `files`: all files. A group may import from earlier groups. Files in no group stay, and import from the
 * merged ones. A file for which `kept` returns true also stays, and re-exports its part of the merged file: this keeps
 * the names of files that are loaded on demand.
 *
 * @throws {Error} for a form that esbuild does not write, and for cycles.
 */
export function merge(files: Files, groups: readonly Group[], kept: (file: string) => boolean): Files {
  const home = new Map(groups.flatMap(([name, members]) => members.map((member) => [member, name] as const)));
  const chunks = new Map([...files].map(([file, script]) => [file, parse(script)] as const));
  const result = new Map<string, string>();
  for (const [name, members] of groups) {
    const order = inOrder(members, chunks);
    const parts = order.map((file) => {
      const { body, exports } = chunks.get(file)!;
      const taken = destructured(chunks.get(file)!);
      return `export const ${nameOf(file)}=(()=>{${taken}${body}\nreturn{${pairs(exports, true)}}})();\n`;
    });
    const sources = order.flatMap((file) => chunks.get(file)!.imports.map(({ file }) => file));
    result.set(name, importsOf(sources.filter((file) => home.get(file) !== name), home) + parts.join(""));
  }
  for (const [file, chunk] of chunks) {
    const merged = home.get(file);
    if (merged === undefined) result.set(file, rewritten(chunk, home));
    else if (kept(file)) result.set(file, stub(file, merged, chunk.exports));
  }
  return result;
}

/** Rewrites a file that is in no group. */
function rewritten(chunk: Chunk, home: ReadonlyMap<string, string>): string {
  const exports = chunk.exports.length === 0 ? "" : `export{${chunk.exports.join(",")}};`;
  return `${importsOf(chunk.imports.map(({ file }) => file), home)}${destructured(chunk)}${chunk.body}\n${exports}`;
}

/** `const{…}=…` for each import. The objects exist by then. */
function destructured({ imports }: Chunk): string {
  return imports.filter(({ names }) => names !== "")
    .map(({ file, names }) => `const{${pairs(names.split(","), false)}}=${nameOf(file)};`).join("");
}

/** Imports the objects of files, each once, from their new places. */
function importsOf(files: readonly string[], home: ReadonlyMap<string, string>): string {
  const byHome = new Map<string, string[]>();
  let lines = "";
  for (const file of new Set(files)) {
    const merged = home.get(file);
    if (merged === undefined) lines += `import*as ${nameOf(file)} from"./${file}";`;
    else byHome.set(merged, [...(byHome.get(merged) ?? []), nameOf(file)]);
  }
  for (const [merged, names] of byHome) lines += `import{${names.join(",")}}from"./${merged}";`;
  return lines;
}

/** The re-exports that replace a merged file that is loaded on demand. */
function stub(file: string, merged: string, exports: readonly string[]): string {
  const names = exports.map((name) => name.split(" as ").at(-1)!);
  return `import{${nameOf(file)} as m}from"./${merged}";export const{${names.join(",")}}=m;`;
}

/** Sorts files so that each comes after its imports. */
function inOrder(members: readonly string[], chunks: ReadonlyMap<string, Chunk>): readonly string[] {
  const order: string[] = [];
  const visit = (file: string, above: readonly string[]) => {
    if (order.includes(file) || !members.includes(file)) return;
    if (above.includes(file)) throw new Error(`files import each other: ${[...above, file].join(" > ")}`);
    for (const { file: source } of chunks.get(file)!.imports) visit(source, [...above, file]);
    order.push(file);
  };
  for (const file of members) visit(file, []);
  return order;
}
