/**
 * Whatever stands in config.json, there is a plan or an error with a name: every value of a config with everything is replaced by
 * values at and beyond the edges, one at a time, and all that is pure is done with the result.
 */

import { assertEquals, assertMatch } from "@std/assert";
import { RuncError } from "../../../lib/errors.ts";
import { extremes } from "./extremes.ts";
import { fullConfig } from "./full_config.ts";
import { workOut } from "./work_out.ts";

/** Where in a JSON text a value stands: it begins and ends. */
interface Place {
  readonly pointer: string;
  readonly from: number;
  readonly to: number;
}

/** A text of `value`, and the places of all that is in it. */
function write(value: unknown): { readonly text: string; readonly places: readonly Place[] } {
  let text = "";
  const places: Place[] = [];
  const add = (value: unknown, pointer: string) => {
    const from = text.length;
    if (typeof value !== "object" || value === null) text += JSON.stringify(value);
    else {
      const isList = Array.isArray(value);
      text += isList ? "[" : "{";
      Object.entries(value).forEach(([key, item], index) => {
        text += (index > 0 ? "," : "") + (isList ? "" : `${JSON.stringify(key)}:`);
        add(item, `${pointer}/${key}`);
      });
      text += isList ? "]" : "}";
    }
    places.push({ pointer, from, to: text.length });
  };
  add(value, "");
  return { text, places };
}

const { text, places } = write(fullConfig);

Deno.test("the config with everything has a plan", () => void workOut(text));

Deno.test("extreme values anywhere in config.json have a plan, or an error with a name", () => {
  let [worked, refused] = [0, 0];
  const wrong: string[] = [];
  for (const { pointer, from, to } of places) {
    for (const value of extremes) {
      try {
        workOut(text.slice(0, from) + value + text.slice(to));
        worked++;
      } catch (error) {
        if (error instanceof RuncError && error.code !== "internal" && error.message !== "") refused++;
        else wrong.push(`${pointer} = ${value.slice(0, 40)}: ${(error as Error).stack?.slice(0, 400)}`);
      }
    }
  }
  assertEquals(wrong.slice(0, 20), []);
  // Both happen often: what is replaced is what is looked at.
  assertMatch(`${worked > 1000} ${refused > 4000}`, /^true true$/);
});
