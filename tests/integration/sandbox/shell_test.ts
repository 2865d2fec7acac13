/** Values of `sh` templates, as real shells read them. */

import { assertEquals } from "@std/assert";
import { existsSync } from "@std/fs";
import { shellScript } from "../../../lib/sandbox/shell/script.ts";

/** The shells of this machine. */
const shells: readonly (readonly [name: string, ...argv: string[]])[] = ([
  ["sh", "/bin/sh"],
  ["dash", "/usr/bin/dash"],
  ["bash", "/usr/bin/bash"],
  ["bash --posix", "/usr/bin/bash", "--posix"],
  ["busybox sh", "/usr/bin/busybox", "sh"],
  ["zsh", "/usr/bin/zsh"],
] as const).filter(([, path]) => existsSync(path));

/** Texts that would be more than themselves if a shell read them as code. */
const hostile: readonly string[] = [
  "",
  " ",
  "a b",
  "  two  blanks ",
  "'",
  '"',
  "\\",
  "\\\\",
  "'; echo pwned; '",
  '"; echo pwned; "',
  "$(echo pwned)",
  "`echo pwned`",
  "${HOME}",
  "$HOME",
  "$1",
  "${__sh_1}",
  "$((1+1))",
  "a[$(echo pwned >&2)]",
  "*",
  "?[a-z]*",
  "~",
  "~root",
  "{a,b}",
  "!",
  "!!",
  "#",
  "# comment",
  ";",
  "&",
  "&&",
  "|",
  "> /tmp/pwned",
  "< /etc/passwd",
  "<<END",
  "\n",
  "a\nb",
  "trailing\n\n",
  "\t",
  "\r\n",
  "-n",
  "--",
  "-e \\n",
  "\\n",
  "%s%d",
  "=",
  "A=b",
  "if",
  "done",
  "()",
  "() { :; }; echo pwned",
  "é ü 漢字 🦕",
  "\x01\x1b[31m\x7f",
  "x".repeat(100_000),
];

const encode = (text: string) => new TextEncoder().encode(text);

function run(argv: readonly string[], strings: readonly string[], values: readonly unknown[]): string {
  const { args } = shellScript(strings, values);
  const [program, ...options] = argv;
  const { code, stdout, stderr } = new Deno.Command(program!, {
    args: [...options, ...args],
    clearEnv: true,
    env: { HOME: "/root", PATH: "/usr/bin:/bin", LC_ALL: "C.UTF-8" },
    stdin: "null",
  }).outputSync();
  const decoder = new TextDecoder("utf-8", { fatal: true });
  assertEquals({ code, stderr: decoder.decode(stderr) }, { code: 0, stderr: "" }, args[1]);
  return decoder.decode(stdout);
}

/** Ways to write a value, and what is printed for it. */
const places: readonly [what: string, before: string, after: string, printed: (value: string) => string][] = [
  ["a word", "printf '[%s]' ", "", (value) => `[${value}]`],
  ["a part of a word", "printf '[%s]' a", "b", (value) => `[a${value}b]`],
  ["in double quotes", 'printf "[%s]" "a ', ' b"', (value) => `[a ${value} b]`],
  ["in single quotes", "printf '[%s]' 'a ", " b'", (value) => `[a ${value} b]`],
  ["in a substitution", 'printf "[%s]" "$(printf "%s." ', ')"', (value) => `[${value}.]`],
  ["in an assignment", "a=", '; printf "[%s]" "$a"', (value) => `[${value}]`],
  ["in a function", 'f() { set -- x y; printf "[%s]" ', "; }; f 1 2 3", (value) => `[${value}]`],
  ["in a loop", "for a in ", '; do printf "[%s]" "$a"; done', (value) => `[${value}]`],
  ["as a pattern", "case x in ", ") printf no;; *) printf '[other]';; esac", () => "[other]"],
  ["behind a comment", "# it's \"\nprintf '[%s]' ", "", (value) => `[${value}]`],
  ["as a default", 'unset a; printf "[%s]" "${a:-', '}"', (value) => `[${value}]`],
];

for (const [name, ...argv] of shells) {
  for (const [what, before, after, printed] of places) {
    Deno.test(`${name} reads a hostile value as itself: ${what}`, () => {
      // One script for all: the values stand one after the other, as a program with many commands has them.
      const strings = hostile.map((_, index) => `${index === 0 ? "" : `${after}\n`}${before}`);
      const expected = hostile.map(printed).join("");
      assertEquals(run(argv, [...strings, after], hostile), expected);
    });
  }

  Deno.test(`${name} gives a script no arguments, and an array one word for each element`, () => {
    assertEquals(run(argv, ["printf '%s,' ", ' "$#" "$0"'], [["a b", "", "*"]]), "a b,,*,0,sh,");
    assertEquals(run(argv, ["printf '%s' $((7 - ", "))"], [-3]), "10");
  });
}

Deno.test("the shell gets the bytes of a value", () => {
  const value = "é\n🦕";
  assertEquals(encode(run(["/bin/sh"], ["printf %s ", ""], [value])), encode(value));
});
