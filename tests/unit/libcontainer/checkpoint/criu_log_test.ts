import { assertEquals } from "@std/assert";
import { firstError, quoteErrors } from "../../../../lib/libcontainer/checkpoint/criu_log.ts";

const lines = (count: number, from = 1) => Array.from({ length: count }, (_, index) => `(00.0) line ${from + index}`);

Deno.test("quoteErrors() quotes each error with the five lines before it and its number, like runc", () => {
  const log = [...lines(7), "(00.8) Error (criu/a.c:1): no", ...lines(1, 9), "Error (b): of it", ...lines(7, 11), ""];
  assertEquals(quoteErrors("/w/dump.log", `${log.join("\n")}Error last`), [
    '--- Quoting "/w/dump.log"',
    "3:(00.0) line 3",
    "4:(00.0) line 4",
    "5:(00.0) line 5",
    "6:(00.0) line 6",
    "7:(00.0) line 7",
    "8:(00.8) Error (criu/a.c:1): no",
    "9:(00.0) line 9",
    "10:Error (b): of it",
    "...",
    "13:(00.0) line 13",
    "14:(00.0) line 14",
    "15:(00.0) line 15",
    "16:(00.0) line 16",
    "17:(00.0) line 17",
    "18:Error last",
    "---",
  ]);
});

Deno.test("quoteErrors() has no gap between neighbours, leaves empty lines out, and says nothing without an error", () => {
  const log = ["Error 1", "", ...lines(4, 3), "Error 2"].join("\n");
  assertEquals(quoteErrors("x", log).map((line) => line.split(":")[0]), [
    '--- Quoting "x"',
    ..."1 3 4 5 6 7 ---".split(" "),
  ]);
  assertEquals(quoteErrors("x", lines(20).join("\n")), []);
  assertEquals(quoteErrors("x", ""), []);
});

Deno.test("firstError() is the first line with an error, without its time, and without what CRIU survives", () => {
  const log = [
    "(00.04) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted",
    "(00.05) net: Lock network",
    'Error (criu/util.c:642): execvp("iptables-restore", ...) failed: No such file or directory',
    "(00.08) Error (criu/cr-dump.c:1975): Dumping FAILED.",
  ];
  assertEquals(
    firstError(log.join("\n")),
    'Error (criu/util.c:642): execvp("iptables-restore", ...) failed: No such file or directory',
  );
  assertEquals(firstError(log[3]!), "Error (criu/cr-dump.c:1975): Dumping FAILED.");
  assertEquals(firstError(log.slice(0, 2).join("\n")), undefined);
});
