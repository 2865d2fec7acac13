/**
 * The part of `@std/jsonc` that this project uses: JSON with comments and trailing commas.
 *
 * @see jsr:@std/jsonc
 * @module
 */

/** A JSON value. */
export type JsonValue = { [key: string]: JsonValue | undefined } | JsonValue[] | string | number | boolean | null;

// Alternatives in this order: a string (so that a comment sign inside a string stays), a comment, a comma with only
// comments and blanks between it and a closing bracket, any other character.
const token = /"(?:\\.|[^"\\])*"|(\/\/[^\n\r]*|\/\*[^]*?\*\/)|(,)(?=(?:\s|\/\/[^\n\r]*|\/\*[^]*?\*\/)*[\]}])|\S/g;

/**
 * Parses JSON with `//` and block comments and trailing commas. Comments are replaced by blanks, so that a position in
 * the error message is a position in `text`.
 *
 * @throws {SyntaxError} if it is not valid.
 */
export function parse(text: string): JsonValue {
  let before = "";
  const blanked = text.replace(token, (match: string, comment?: string, comma?: string) => {
    if (comment !== undefined) return comment.replace(/[^\n\r]/g, " ");
    const isTrailing = comma !== undefined && !["{", "[", ","].includes(before);
    before = match;
    return isTrailing ? " " : match;
  });
  return JSON.parse(blanked);
}
