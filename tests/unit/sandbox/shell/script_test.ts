import { assertEquals, assertThrows } from "@std/assert";
import { shellScript } from "../../../../lib/sandbox/shell/script.ts";

/** The script without the declarations, and the values. */
function sh(strings: TemplateStringsArray, ...values: unknown[]): readonly [script: string, ...values: string[]] {
  const { args: [option, script, name, ...words] } = shellScript(strings, values);
  assertEquals([option, name], ["-c", "sh"]);
  return [script!.replace(/^(?:__sh_\d+=\S+ ?)+; shift \d+; /, ""), ...words];
}

const V = '"${__sh_1}"', D = "${__sh_1}";
const v = "value";

const rows: readonly [what: string, actual: readonly string[], expected: readonly string[]][] = [
  ["no value", sh`ls -l`, ["ls -l"]],
  ["a word", sh`ls ${v}`, [`ls ${V}`, v]],
  ["a part of a word", sh`a${v}b`, [`a${V}b`, v]],
  ["double quotes", sh`"a ${v}"`, [`"a ${D}"`, v]],
  ["single quotes", sh`'a ${v}'`, [`'a '${V}''`, v]],
  ["a substitution", sh`$(a ${v})`, [`$(a ${V})`, v]],
  ["a substitution in double quotes", sh`"$(a ${v})"`, [`"$(a ${V})"`, v]],
  ["double quotes in that", sh`"$(a "${v}")"`, [`"$(a "${D}")"`, v]],
  ["behind that", sh`"$(a "b") ${v}"`, [`"$(a "b") ${D}"`, v]],
  ["backquotes", sh`"\`a ${v}\`"`, ['"`a ' + V + '`"', v]],
  ["a parameter", sh`\${a:-${v}}`, ["${a:-" + V + "}", v]],
  ["a parameter in double quotes", sh`"\${a:-${v}}"`, ['"${a:-' + D + '}"', v]],
  ["an apostrophe in double quotes", sh`"it's" ${v}`, [`"it's" ${V}`, v]],
  ["an apostrophe of a parameter in double quotes", sh`"\${a:-it's}" ${v}`, ['"${a:-it\'s}" ' + V, v]],
  ["an escaped quote", sh`\\" ${v}`, [`\\" ${V}`, v]],
  ["an escaped quote in double quotes", sh`"\\" ${v}"`, [`"\\" ${D}"`, v]],
  ["a backslash in single quotes", sh`'\\' ${v}`, [`'\\' ${V}`, v]],
  ["dollar and single quotes", sh`$'it\\'s ${v}'`, [`$'it\\'s '${V}''`, v]],
  [
    "a comment",
    sh`a # it's ${v}
b ${v}`,
    [`a # it's \nb ${V}`, v],
  ],
  ["no comment", sh`a#it ${v}`, [`a#it ${V}`, v]],
  ["no comment behind a value", sh`${v}# ${v}`, [`${V}# "\${__sh_2}"`, v, v]],
  ["the number of arguments", sh`$# ${v}`, [`$# ${V}`, v]],
  ["a length", sh`\${#a} ${v}`, ["${#a} " + V, v]],
  ["a redirection", sh`a < b > ${v}`, [`a < b > ${V}`, v]],
  ["a here-string", sh`a <<< ${v}`, [`a <<< ${V}`, v]],
  ["arithmetic", sh`$((1 << ${2}))`, ["$((1 << (2)))"]],
  ["arithmetic with parentheses", sh`$(((1 + 2) * ${-3})) ${v}`, [`$(((1 + 2) * (-3))) ${V}`, v]],
  ["a subshell", sh`(a ")" ${v})`, [`(a ")" ${V})`, v]],
  ["an array", sh`rm ${["a", "b"]}`, ['rm "${__sh_1}" "${__sh_2}"', "a", "b"]],
  ["an empty array", sh`rm ${[]}`, ["rm "]],
  ["an array in double quotes", sh`"${["a", "b"]}"`, ['"${__sh_1} ${__sh_2}"', "a", "b"]],
  ["other types", sh`${1} ${2n} ${true}`, ['"${__sh_1}" "${__sh_2}" "${__sh_3}"', "1", "2", "true"]],
];

for (const [what, actual, expected] of rows) {
  Deno.test(`shellScript() places a value: ${what}`, () => assertEquals(actual, expected));
}

Deno.test("shellScript() declares variables, and leaves the script no arguments", () => {
  const values = Array.from({ length: 11 }, (_, index) => index);
  const { args } = shellScript([...values.map(() => " "), ""], values);
  assertEquals(args[1]!.startsWith("__sh_1=${1} __sh_2=${2} "), true);
  assertEquals(args[1]!.includes(" __sh_11=${11}; shift 11;  "), true);
});

Deno.test("shellScript() refuses values that mean nothing, or more than they say", () => {
  const wrong: readonly [call: () => unknown, message: string][] = [
    [() => sh`a ${undefined}`, "value 1 of the command is undefined"],
    [() => sh`a ${1} ${null}`, "value 2 of the command is null"],
    [() => sh`a ${{}}`, "is object"],
    [() => sh`a ${[["b"]]}`, "is object"],
    [() => sh`a ${() => 1}`, "is function"],
    [() => sh`a ${"b\0c"}`, "NUL byte"],
    [() => sh`a\0 ${"b"}`, "NUL byte"],
    [() => sh`cat <<END\n${"a"}\nEND`, "here-document"],
    [() => sh`$((${"1"} + 1))`, "whole numbers"],
    [() => sh`$((${1.5} + 1))`, "whole numbers"],
    [() => sh`a \u ${"b"}`, "invalid escape"],
  ];
  for (const [call, message] of wrong) assertThrows(call, TypeError, message);
});
