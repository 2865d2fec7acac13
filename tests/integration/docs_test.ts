/** Completions and manual pages, read by the programs that they are for. */

import { assert, assertEquals } from "@std/assert";
import { dirname } from "@std/path";
import { ensureDirSync } from "@std/fs";
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
    (path) => ["/usr/bin/mandoc", "-Tlint", "-Wwarning", path],
  ],
];
for (const [what, kind, argv] of readers) {
  boxTest(what, (box) => {
    const paths = written(box.directory).filter((path) => kind.test(path));
    assert(paths.length > 0);
    for (const path of paths) assertEquals(execute(argv(path)), { code: 0, stdout: "", stderr: "" });
  });
}

/** What bash offers after `words`, the last of which is being typed. */
const offered: readonly [words: string[], wanted: string[]][] = [
  [["runc", "sta"], ["start", "state"]],
  [["runc", "--log-format", ""], ["text", "json"]],
  [["runc", "--log-f"], ["--log-format"]],
  [["runc", "run", "--pid"], ["--pidfd-socket", "--pid-file"]],
  [["runc", "list", "--format", "j"], ["json"]],
  [["runc", "kill", "box", "K"], ["KILL"]],
  [["runc", "help", "res"], ["restore", "resume"]],
  [["runc", "exec", "--cwd", "/bin", ""], ["box"]],
  [["runc", "state", ""], ["box"]],
  [["runc", "state", "no"], []],
  [["runc", "create", ""], []],
];
boxTest("bash completes commands, options, their values and containers", (box) => {
  box.must(["create", box.id]);
  const [completion = ""] = written(box.directory);
  for (const [words, wanted] of offered) {
    // As readline calls it: the program, the word that is typed, the word before.
    const all = ["runc", "--root", box.root, ...words.slice(1)];
    const script = `
      compopt() { :; }
      . "${completion}"
      COMP_WORDS=(${all.map((word) => `'${word}'`).join(" ")})
      COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
      _runc "${program}" "\${COMP_WORDS[COMP_CWORD]}" "\${COMP_WORDS[COMP_CWORD - 1]}"
      printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout, stderr } = execute(["/usr/bin/bash", "-c", script]);
    const found = stdout.split("\n").filter((word) => word !== "");
    assertEquals([found.toSorted(), stderr], [wanted.toSorted(), ""], words.join(" "));
  }
  box.remove();
});

boxTest("every command has a page, and the program's page names it", () => {
  const pages = documents("2026-01-31");
  const main = pages.get("man/man8/runc.8") ?? "";
  for (const command of ["create", "delete", "exec", "kill", "list", "run", "spec", "start", "state"]) {
    assert(main.includes(`runc\\-${command}`), command);
    assert(pages.get(`man/man8/runc-${command}.8`)?.includes(".SH OPTIONS"), command);
  }
});
