/**
 * Text in the formats of Go's standard library, for output that callers compare or parse. Pure.
 *
 * @module
 */

const shortEscapes: Readonly<Record<string, string>> = {
  "\x07": "\\a",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
  '"': '\\"',
  "\\": "\\\\",
};

/**
 * `text` in the format of fmt's `%q`: in double quotes, on one line, printable characters unchanged.
 *
 * @see https://pkg.go.dev/strconv#Quote
 */
export function goQuote(text: string): string {
  return `"${text.replace(/["\\]|[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, escapeCharacter)}"`;
}

function escapeCharacter(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  const hex = (digits: number) => code.toString(16).padStart(digits, "0");
  if (code < 0x80) return shortEscapes[character] ?? `\\x${hex(2)}`;
  return code > 0xffff ? `\\U${hex(8)}` : `\\u${hex(4)}`;
}

/**
 * `date` in the format of time.RFC3339, in local time: `2026-01-02T03:04:05+01:00`, with `Z` for UTC. `offsetMinutes`:
 * the offset from UTC.
 */
export function rfc3339(date: Date, offsetMinutes: number): string {
  const local = new Date(date.getTime() + offsetMinutes * 60_000).toISOString().slice(0, 19);
  if (offsetMinutes === 0) return `${local}Z`;
  const two = (value: number) => String(value).padStart(2, "0");
  const size = Math.abs(offsetMinutes);
  return `${local}${offsetMinutes < 0 ? "-" : "+"}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}
