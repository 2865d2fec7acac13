/** The table of SECURITY.md is about tests and mutations that exist, and leaves no number out. */

import { assert, assertEquals } from "@std/assert";
import { existsSync } from "@std/fs";
import { join } from "@std/path";
import { projectDir } from "../../tools/bundle.ts";
import { mutations } from "./mutations.ts";

/** A row: what is told, its test files below tests/, the names of mutations. */
interface Row {
  readonly vulnerability: string;
  readonly files: readonly string[];
  readonly mutations: readonly string[];
}

const parts = (cell: string) => cell.split("<br>").map((part) => part.trim());
const numbersIn = (text: string): readonly string[] => text.match(/CVE-\d{4}-\d+/g) ?? [];
const sourceOf = (file: string) => Deno.readTextFileSync(join(projectDir, "tests", file));

function rowsOf(text: string): readonly Row[] {
  const lines = text.slice(text.indexOf("| vulnerability |")).split("\n");
  const end = lines.findIndex((line) => !line.startsWith("|"));
  return lines.slice(2, end).map((line) => {
    const [, vulnerability = "", , files = "", names = ""] = line.split("|");
    return { vulnerability: vulnerability.trim(), files: parts(files), mutations: parts(names) };
  });
}

const rows = rowsOf(Deno.readTextFileSync(join(projectDir, "SECURITY.md")));

Deno.test("the table of SECURITY.md has rows, and each names tests and mutations that exist", () => {
  assert(rows.length > 40, `${rows.length} rows`);
  const byName = new Map(mutations.map((mutation) => [mutation.name, mutation]));
  for (const { vulnerability, files, mutations: names } of rows) {
    for (const file of files) assert(existsSync(join(projectDir, "tests", file)), `${vulnerability}: ${file}`);
    for (const name of names) {
      const found = byName.get(name);
      assert(found !== undefined, `${vulnerability}: no mutation ${JSON.stringify(name)}`);
      assert(files.includes(found.tests), `${vulnerability}: ${JSON.stringify(name)} is about tests/${found.tests}`);
    }
    const tested = names.map((name) => byName.get(name)!.tests);
    assertEquals(
      files.filter((file) => !tested.includes(file)),
      [],
      `${vulnerability}: nothing shows that it is an attack`,
    );
  }
});

Deno.test("each number of the table is in the name of a test of its row", () => {
  for (const { vulnerability, files } of rows) {
    // Names of tests are texts: comments do not count.
    const texts = files.flatMap((file) => sourceOf(file).match(/"[^"\n]*"|`[^`]*`/g) ?? []).join("\n");
    const lacking = numbersIn(vulnerability).filter((number) => !numbersIn(texts).includes(number));
    assertEquals(lacking, [], `not in a name of ${files}`);
  }
});

Deno.test("each number of a test in tests/security is in the table", () => {
  const files = [...Deno.readDirSync(join(projectDir, "tests/security"))].map(({ name }) => `security/${name}`);
  const told = new Set(rows.flatMap(({ vulnerability }) => numbersIn(vulnerability)));
  assertEquals(files.flatMap((file) => numbersIn(sourceOf(file))).filter((number) => !told.has(number)), []);
});
