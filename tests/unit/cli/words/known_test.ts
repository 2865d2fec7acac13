import { assertEquals } from "@std/assert";
import { knownArgv } from "../../../../lib/cli/words/known.ts";
import { ANY_WORD } from "../../../../lib/libcontainer/state/known_exec.ts";

const any = ANY_WORD;

Deno.test("the words after exec are kept, with the files' paths left out", () => {
  const lines: readonly (readonly [words: string, argv: readonly string[]])[] = [
    ["exec box true", ["box", "true"]],
    ["--root /r --log=/l --log-format json --systemd-cgroup exec -d box", ["-d", "box"]],
    ["exec --process /p --detach --pid-file /f box", ["--process", any, "--detach", "--pid-file", any, "box"]],
    ["exec -p /p box", ["-p", any, "box"]],
    ["exec -e A=b --env=C=d --cwd / -u 1:2 box sh -c x", [
      ..."-e A=b --env=C=d --cwd / -u 1:2 box sh -c x".split(" "),
    ]],
    ["exec box --tty -p /p exec", ["box", "--tty", "-p", "/p", "exec"]],
  ];
  for (const [words, argv] of lines) assertEquals(knownArgv(words.split(" ")), argv, words);
});

Deno.test("what the front would not know, or could take for something else, is not kept", () => {
  const lines = [
    "state box",
    "--debug exec box true",
    "--trace /t exec box true",
    "exec",
    "exec --detach",
    "exec --tty box sh",
    "exec -t box sh",
    "exec --detach=true box true",
    "exec --process=/p box",
    "exec --pid-file=/p box true",
    "exec --preserve-fds 1 box true",
    "exec --console-socket /s box true",
    "exec --cgroup /x box true",
    "exec --ignore-paused box true",
    "exec -- box true",
    `exec box ${any}`,
    `exec box ${any}x`,
  ];
  for (const words of lines) assertEquals(knownArgv(words.split(" ")), undefined, words);
});
