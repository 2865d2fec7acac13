/**
 * Colours for terminals. Pure.
 *
 * @see ECMA-48, SGR; https://no-color.org
 * @module
 */

/** SGR parameters. */
const codes = { red: 31, green: 32, yellow: 33, bold: 1, dim: 2 } as const;

/** What a text can look like. */
export type Colour = keyof typeof codes;

/** Colours a text, or returns it as it is. */
export type Paint = (colour: Colour, text: string) => string;

/** Leaves every text as it is. */
export const plain: Paint = (_, text) => text;

const inColour: Paint = (colour, text) => text === "" ? "" : `\x1b[${codes[colour]}m${text}\x1b[0m`;

/** Colours for a terminal, unless NO_COLOR is set or the terminal is dumb; none for a file or a pipe. */
export function paintFor(isTerminal: boolean, environment: (name: string) => string | undefined): Paint {
  const isRefused = (environment("NO_COLOR") ?? "") !== "" || environment("TERM") === "dumb";
  return isTerminal && !isRefused ? inColour : plain;
}

/** A text that cannot control the terminal: control characters are shown as `\x1b`. */
export function visible(text: string): string {
  return text.replace(/\p{Cc}/gu, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`);
}
