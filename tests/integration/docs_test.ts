/** Completions and manual pages, read by the programs that they are for. */

import { assert, assertEquals } from "@std/assert";
import { dirname } from "@std/path";
import { ensureDirSync } from "@std/fs";
import { checksDocument } from "../../tools/checks.ts";
import { documents } from "../../tools/docs.ts";
import { boxTest, execute, program } from "./harness.ts";

/** The documents in a directory; returns the paths. */
function written(directory: string): string[] {
  return [...documents("2026-01-31")].map(([name, text]) => {
    const path = `${directory}/${name}`;
    ensureDirSync(dirname(path));
    Deno.writeTextFileSync(path, text);
    return path;
  });
}

/** Programs that only look: they have to be content, and silent. */
const readers: readonly [what: string, kind: RegExp, argv: (path: string) => string[]][] = [
  ["bash reads its completion", /bash-completion/, (path) => ["/usr/bin/bash", "-n", path]],
  ["zsh reads its completion", /zsh/, (path) => ["/usr/bin/zsh", "-n", path]],
  ["fish reads its completion", /fish/, (path) => ["/usr/bin/fish", "--no-execute", path]],
  [
    "mandoc finds nothing to warn of in a manual page",
    /man8/,
    (path) => ["/usr/bin/mandoc", "-Tlint", "-Wall", path],
  ],
];
for (const [what, kind, argv] of readers) {
  boxTest(what, (box) => {
    const paths = written(box.directory).filter((path) => kind.test(path));
    assert(paths.length > 0);
    for (const path of paths) assertEquals(execute(argv(path)), { code: 0, stdout: "", stderr: "" });
  });
}

// --- what the shells offer -------------------------------------------------------------------------------------------------

/** What is offered for the last word of a line. `ROOT` is the state directory, in which there is one container, `box`. */
const offered: readonly [line: string, wanted: string[]][] = [
  ["runc sta", ["start", "state"]],
  ["runc --root ROOT sta", ["start", "state"]],
  ["runc --root=ROOT --debug sta", ["start", "state"]],
  ["runc --log-f", ["--log-format"]],
  ["runc --log-format ", ["json", "text"]],
  ["runc --log-format=j", ["json"]],
  ["runc run --pid", ["--pid-file", "--pidfd-socket"]],
  ["runc list --format j", ["json"]],
  ["runc help res", ["restore", "resume"]],
  ["runc --root ROOT state ", ["box"]],
  ["runc --root=ROOT state ", ["box"]],
  ["runc --root ROOT state no", []],
  ["runc --root ROOT state box ", []],
  ["runc --root ROOT create ", []],
  ["runc --root ROOT delete box --f", ["--force"]],
  ["runc --root ROOT kill ", ["box"]],
  ["runc --root ROOT kill box K", ["KILL"]],
  ["runc seccomp ", ["explain"]],
  ["runc --root ROOT seccomp explain ", ["box"]],
  ["runc --root ROOT seccomp explain box ", []],
  ["runc --root ROOT hooks ", ["box", "run"]],
  ["runc --root ROOT hooks run ", ["box"]],
  ["runc --root ROOT hooks run box posts", ["poststart", "poststop"]],
  ["runc --root ROOT inspect box --d", ["--diff-only"]],
  ["runc --root ROOT exec --cwd /bin ", ["box"]],
  ["runc --root ROOT exec --env A=1 --ig", ["--ignore-paused"]],
  ["runc doctor --f", ["--for", "--format"]],
  ["runc --root ROOT debug ", ["box"]],
  ["runc --root ROOT debug box --t", ["--tools", "--tty"]],
  ["runc --root ROOT wait ", ["box"]],
  ["runc --root ROOT wait --t", ["--timeout"]],
  ["runc create --su", ["--supervise"]],
  ["runc run --sec", ["--seccomp-audit"]],
  ["runc check --format ", ["json", "text"]],
  ["runc check --s", ["--strict"]],
  // The program's, and not ours.
  ["runc --root ROOT exec box -", []],
  ["runc --root ROOT ps box --f", []],
];

/** How bash's readline splits a line: at `=` too. */
function bashWords(line: string): string[] {
  const words = line.split(" ").flatMap((word) => word.split(/(=)/));
  return words.filter((word, index) => word !== "" || index === words.length - 1);
}

const separated = (output: string) => output.split(/^== \d+\n/m).slice(1).map((part) => part.split("\n"));

/** Each shell, reading its completion: what it offers for each line. `runc` is the program's name on PATH. */
const shells: Readonly<Record<string, (directory: string, lines: readonly string[]) => string[][]>> = {
  bash: (directory, lines) => {
    // As readline calls it: the program, the word that is typed, the word before.
    const calls = lines.map((line, number) => `
      echo "== ${number}"
      COMP_WORDS=(${bashWords(line).map((word) => `'${word}'`).join(" ")})
      COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
      _runc runc "\${COMP_WORDS[COMP_CWORD]}" "\${COMP_WORDS[COMP_CWORD - 1]}"
      printf '%s\\n' "\${COMPREPLY[@]}"`);
    const script = `compopt() { :; }; . ${directory}/bash-completion/completions/runc; ${calls.join("\n")}`;
    return separated(inShell(directory, ["/usr/bin/bash", "-c", script]));
  },
  zsh: (directory, lines) => {
    const capture = new URL("../fixtures/zsh_capture.zsh", import.meta.url).pathname;
    const output = inShell(directory, [
      "/usr/bin/zsh",
      "-f",
      capture,
      `${directory}/zsh/site-functions`,
      `${directory}/captured`,
      ...lines,
    ]);
    // Where nothing else may stand, zsh offers options before one has been begun.
    return separated(output).map((words, index) =>
      words.filter((word) => !word.startsWith("-") || typesOption(lines[index]!))
    );
  },
  fish: (directory, lines) => {
    const calls = lines.map((line, number) => `echo "== ${number}"; complete -C '${line}'`);
    const script = `source ${directory}/fish/vendor_completions.d/runc.fish; ${calls.join("\n")}`;
    const words = separated(inShell(directory, ["/usr/bin/fish", "--no-config", "--command", script]));
    // A description stands behind a tab; a value behind = with its option.
    return words.map((list) => list.map((word) => word.split("\t")[0]!.replace(/^--[^=]*=/, "")));
  },
};

const typesOption = (line: string) => line.split(" ").at(-1)!.startsWith("-");

/** Runs a shell with the program on its PATH; it has to be content. Returns what it prints. */
function inShell(directory: string, argv: readonly string[]): string {
  const env = { PATH: `${directory}/bin:/usr/bin:/bin`, HOME: directory };
  const { code, stdout, stderr } = execute(argv, { env });
  assertEquals([code, stderr], [0, ""]);
  return stdout;
}

for (const [shell, offers] of Object.entries(shells)) {
  boxTest(`${shell} completes commands, options, their values and containers`, (box) => {
    box.must(["create", box.id]);
    const share = `${box.directory}/share`;
    written(share);
    ensureDirSync(`${share}/bin`);
    Deno.symlinkSync(program, `${share}/bin/runc`);
    const lines = offered.map(([line]) => line.replace("ROOT", box.root));
    const found = offers(share, lines).map((words) => [...new Set(words.filter((word) => word !== ""))].sort());
    assertEquals(
      found.map((words, index) => [lines[index], words]),
      offered.map(([, words], index) => [lines[index], words]),
    );
    box.remove();
  });
}

boxTest("bash completes names of files and directories with blanks in them", (box) => {
  written(box.directory);
  for (const name of ["a b", "a c"]) Deno.mkdirSync(`${box.directory}/${name}`);
  Deno.writeTextFileSync(`${box.directory}/a file`, "");
  const complete = (option: string) => {
    const script = `compopt() { :; }; . ${box.directory}/bash-completion/completions/runc
      COMP_WORDS=(runc run ${option} '${box.directory}/a') COMP_CWORD=3
      _runc runc "\${COMP_WORDS[3]}" "\${COMP_WORDS[2]}"
      printf '%s\\n' "\${COMPREPLY[@]}"`;
    return execute(["/usr/bin/bash", "-c", script]).stdout.replaceAll(`${box.directory}/`, "").trimEnd().split("\n")
      .sort();
  };
  assertEquals(complete("--bundle"), ["a b", "a c"]);
  assertEquals(complete("--pid-file"), ["a b", "a c", "a file"]);
});

boxTest("every command has a page, and the program's page names it", () => {
  const pages = documents("2026-01-31");
  const main = pages.get("man/man8/runc.8") ?? "";
  for (
    const command of ["check", "create", "delete", "doctor", "exec", "kill", "list", "run", "spec", "start", "state"]
  ) {
    assert(main.includes(`runc\\-${command}`), command);
    assert(pages.get(`man/man8/runc-${command}.8`)?.includes(".SH OPTIONS"), command);
  }
});

Deno.test("docs/checks.md is current (else run tools/checks.ts)", () => {
  const path = new URL("../../docs/checks.md", import.meta.url);
  assertEquals(Deno.readTextFileSync(path), checksDocument());
});
