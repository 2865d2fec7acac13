import { assertEquals, assertThrows } from "@std/assert";
import { type Group, merge } from "../../../tools/merge.ts";

const files = new Map([
  ["runc.js", 'import{a as x}from"./chunk-A.js";import"./chunk-B.js";x();import("./run-1.js");'],
  ["chunk-A.js", 'import{a as y,b}from"./chunk-B.js";function z(){return y+b}export{z as a};'],
  ["chunk-B.js", "var p=1,b=2;export{p as a,b};"],
  ["chunk-C.js", 'import{a as q}from"./chunk-B.js";export{q as a};'],
  ["run-1.js", 'import{a as q}from"./chunk-C.js";export{q as run};'],
  ["rare-2.js", 'import{a as r}from"./chunk-C.js";import{a as s}from"./other-3.js";export{r as rare,s};'],
  ["other-3.js", "var t=3;export{t as a};"],
]);
const groups: readonly Group[] = [["base.js", ["chunk-A.js", "chunk-B.js"]], ["launch.js", ["run-1.js", "chunk-C.js"]]];
const named = (file: string) => !file.startsWith("chunk-");

Deno.test("merge() makes one file of a group, in the order in which its parts need each other", () => {
  assertEquals(
    merge(files, groups, named).get("base.js"),
    "export const $chunk_B=(()=>{var p=1,b=2;\nreturn{a:p,b:b}})();\n" +
      "export const $chunk_A=(()=>{const{a:y,b:b}=$chunk_B;function z(){return y+b}\nreturn{a:z}})();\n",
  );
});

Deno.test("merge() lets a group import from those before it", () => {
  assertEquals(
    merge(files, groups, named).get("launch.js"),
    'import{$chunk_B}from"./base.js";' +
      "export const $chunk_C=(()=>{const{a:q}=$chunk_B;\nreturn{a:q}})();\n" +
      "export const $run_1=(()=>{const{a:q}=$chunk_C;\nreturn{run:q}})();\n",
  );
});

Deno.test("merge() keeps what is loaded by its name, and nothing else of a group", () => {
  const merged = merge(files, groups, named);
  assertEquals(merged.get("run-1.js"), 'import{$run_1 as m}from"./launch.js";export const{run}=m;');
  assertEquals([...merged.keys()].sort(), ["base.js", "launch.js", "other-3.js", "rare-2.js", "run-1.js", "runc.js"]);
});

Deno.test("merge() has files outside of all groups import what was merged", () => {
  const merged = merge(files, groups, named);
  assertEquals(
    merged.get("runc.js"),
    'import{$chunk_A,$chunk_B}from"./base.js";const{a:x}=$chunk_A;x();import("./run-1.js");\n',
  );
  assertEquals(
    merged.get("rare-2.js"),
    'import*as $other_3 from"./other-3.js";import{$chunk_C}from"./launch.js";' +
      "const{a:r}=$chunk_C;const{a:s}=$other_3;\nexport{r as rare,s};",
  );
});

Deno.test("merge() refuses what it would break", () => {
  const one = (text: string) => merge(new Map([["a.js", text]]), [["m.js", ["a.js"]]], named);
  for (const text of ["var a=1;export default a;", 'f();import{a}from"./b.js";', "export{a};b()"]) {
    assertThrows(() => one(text), Error, "unexpected import or export");
  }
  const cycle = new Map([["a.js", 'import"./b.js";export{};'], ["b.js", 'import"./a.js";export{};']]);
  assertThrows(() => merge(cycle, [["m.js", ["a.js", "b.js"]]], named), Error, "files import each other");
});
