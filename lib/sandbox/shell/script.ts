/**
 * The script of a `sh` template. Pure.
 *
 * A value never becomes a part of the script: the script has the name of a variable in its place, and the value is an
 * argument of the shell. So no value can be read as code, however it is quoted, and wherever it stands.
 *
 * @module
 */

import { Quoting } from "./quoting.ts";

/** A script and its values: the arguments of `sh`. */
export interface Script {
  /** `-c`, the script, `sh`, and the values. */
  readonly args: readonly string[];
}

/**
 * The script of a template. A value is one word, whatever it contains; an array is one word for each element. In double
 * or single quotes, a value is a part of the word. In `$((…))`, only numbers are possible: shells evaluate texts there.
 *
 * @throws {TypeError} for a value that is neither text, number, boolean nor an array of these; for a value with a NUL
 * byte; for a value in a here-document; for a template with an escape that JavaScript does not know, such as `\u`.
 */
export function shellScript(strings: readonly (string | undefined)[], values: readonly unknown[]): Script {
  const quoting = new Quoting();
  const words: string[] = [];
  let script = "";
  for (const [index, text] of strings.entries()) {
    if (text === undefined) throw new TypeError("the command has an invalid escape: write \\\\ for a backslash");
    if (text.includes("\0")) throw new TypeError("the command contains a NUL byte");
    quoting.read(text);
    script += text;
    if (index === strings.length - 1) break;
    script += placed(quoting, values[index], index, words);
    quoting.value();
  }
  return { args: ["-c", declarations(words.length) + script, "sh", ...words] };
}

/** Gives the arguments names, and removes them: the script then has the arguments of any other, which are none. */
function declarations(count: number): string {
  if (count === 0) return "";
  const assignments = Array.from({ length: count }, (_, index) => `${nameOf(index)}=\${${index + 1}}`);
  return `${assignments.join(" ")}; shift ${count}; `;
}

const nameOf = (index: number): string => `__sh_${index + 1}`;

/** The text in the script for a value. Adds its words to `words`. */
function placed(quoting: Quoting, value: unknown, index: number, words: string[]): string {
  const what = `value ${index + 1} of the command`;
  const items = Array.isArray(value) ? value : [value];
  const texts = items.map((item) => textOf(item, what));
  const variables = () => texts.map((text) => `\${${nameOf(words.push(text) - 1)}}`);
  switch (quoting.place) {
    case "plain":
      return variables().map((variable) => `"${variable}"`).join(" ");
    case "double":
      return variables().join(" ");
    case "single":
      // Ends the quotes, and begins them again.
      return `'"${variables().join(" ")}"'`;
    case "arithmetic":
      if (items.some((item) => typeof item !== "number" || !Number.isSafeInteger(item))) {
        throw new TypeError(`${what} is in $((…)), where only whole numbers are possible`);
      }
      return `(${texts.join(" ")})`;
    case "comment":
      return "";
    case "hereDocument":
      throw new TypeError(`${what} follows a here-document (<<): pass it by standard input or in a variable`);
  }
}

function textOf(value: unknown, what: string): string {
  switch (typeof value) {
    case "string":
      if (value.includes("\0")) throw new TypeError(`${what} contains a NUL byte`);
      return value;
    case "number":
    case "bigint":
    case "boolean":
      return String(value);
    default:
      throw new TypeError(`${what} is ${value === null ? "null" : typeof value}, not a text or a number`);
  }
}
