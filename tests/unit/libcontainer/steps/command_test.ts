import { assert, assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import {
  candidates,
  closeSteps,
  environment,
  environmentPointers,
  execSteps,
  lookupSteps,
} from "../../../../lib/libcontainer/steps/command.ts";
import type { Process } from "../../../../lib/specs/config.ts";
import { callLines, callsNamed, lines, pointedTo } from "../../plan_reader.ts";

const running = (command: string, user = { uid: 0, gid: 0 }) => ({ args: [command], user });

Deno.test("environment() keeps the last of two entries with one name, at its place", () => {
  const cases: readonly [env: readonly string[], entries: readonly string[]][] = [
    [["A=1", "B=2", "HOME=/h"], ["A=1", "B=2", "HOME=/h"]],
    [["A=1", "B=2", "A=3", "HOME=/h"], ["B=2", "A=3", "HOME=/h"]],
    [["HOME=/a", "A=1", "HOME=/h"], ["A=1", "HOME=/h"]],
    // The name ends at the first `=`; case counts.
    [["A=1=2", "a=3", "HOME=/h"], ["A=1=2", "a=3", "HOME=/h"]],
    [["A=", "HOME=/h"], ["A=", "HOME=/h"]],
  ];
  for (const [env, entries] of cases) assertEquals(environment(env), { entries, needsHome: false });
});

Deno.test("HOME is looked up where it is missing or empty", () => {
  const cases: readonly [env: readonly string[], entries: readonly string[], needsHome: boolean][] = [
    [[], [], true],
    [["HOME="], [], true],
    [["HOME=/root", "HOME="], [], true],
    [["HOME=", "HOME=/root"], ["HOME=/root"], false],
    [["HOMER=x"], ["HOMER=x"], true],
  ];
  for (const [env, entries, needsHome] of cases) assertEquals(environment(env), { entries, needsHome });
});

Deno.test("an entry that is none is refused with its place", () => {
  const cases: readonly [entry: string, why: string][] = [
    ["A", "invalid environment variable: missing '='"],
    ["", "invalid environment variable: missing '='"],
    ["=A", "invalid environment variable: name cannot be empty"],
    ["=", "invalid environment variable: name cannot be empty"],
    ["A=\0", "contains nul byte"],
  ];
  for (const [entry, why] of cases) {
    const error = assertThrows(() => environment(["X=1", entry]), RuncError, why);
    assertEquals([error.code, error.field], ["config-invalid", "/process/env/1"]);
  }
});

Deno.test("a HOME that is looked up is the environment's last entry", () => {
  assertEquals(pointedTo(environmentPointers(environment(["A=1"]))), ["A=1", "<HOME entry>"]);
  assertEquals(pointedTo(environmentPointers(environment(["HOME=/h", "A=1"]))), ["HOME=/h", "A=1"]);
});

Deno.test("candidates() are the command itself, or its name in each absolute directory of PATH", () => {
  const cases: readonly [command: string, env: readonly string[], paths: readonly string[]][] = [
    ["sh", ["PATH=/bin:/usr/bin"], ["/bin/sh", "/usr/bin/sh"]],
    ["sh", ["PATH=/:/a//:/b/"], ["/sh", "/a/sh", "/b/sh"]],
    // Empty and relative ones mean the working directory, which Go refuses to run from.
    ["sh", ["PATH=:bin:./x:/bin:"], ["/bin/sh"]],
    ["sh", ["PATH="], []],
    ["sh", [], []],
    ["sh", ["PATH=/a", "PATH=/b"], ["/b/sh"]],
    ["./sh", ["PATH=/bin"], ["./sh"]],
    ["/bin/sh", [], ["/bin/sh"]],
    ["a/b", ["PATH=/bin"], ["a/b"]],
  ];
  for (const [command, env, paths] of cases) assertEquals(candidates(command, env), paths, `${command} ${env}`);
});

Deno.test("a command with a slash is looked at as it is, with runc's words for what is wrong", () => {
  const [access] = callsNamed(lookupSteps(running("/x/y"), [], "x86_64"), "faccessat2");
  // X_OK, and the effective ids: AT_EACCESS.
  assertEquals(access!.args.slice(2), [1, 0x200]);
  assertEquals(access!.meaning, {
    ENOENT: 'exec: "/x/y": stat /x/y: no such file or directory',
    ENOTDIR: 'exec: "/x/y": stat /x/y: not a directory',
    ELOOP: 'exec: "/x/y": stat /x/y: too many levels of symbolic links',
    ENAMETOOLONG: 'exec: "/x/y": stat /x/y: file name too long',
    EACCES: 'exec: "/x/y": permission denied',
    "*": 'exec: "/x/y"',
  });
  assert(lines(lookupSteps(running("/x"), [], "x86_64")).includes('  fail: exec: "/x": is a directory'));
});

Deno.test("a command without a slash is looked for in PATH, in its order", () => {
  const steps = lookupSteps(running("sh"), ["PATH=/a:/b"], "x86_64");
  const looked = callsNamed(steps, "faccessat2").map((op) => op.args[1]);
  assertEquals(looked, [{ data: "text", text: "/a/sh" }, { data: "text", text: "/b/sh" }]);
  assert(lines(steps).some((line) => line.includes('fail: exec: "sh": executable file not found in $PATH')));
  assertEquals(callLines(lookupSteps(running("sh"), [], "x86_64")), []);
});

Deno.test("carefully, a command is looked at with no call but two, and where the newer one is refused the mode decides", () => {
  const user = { uid: 5, gid: 6, additionalGids: [7] };
  for (const command of ["sh", "/bin/sh"]) {
    const steps = lookupSteps(running(command, user), ["PATH=/bin"], "x86_64", { careful: true });
    assertEquals(callLines(steps), [
      'newfstatat(AT_FDCWD, "/bin/sh", &stat, 0)',
      'faccessat2(AT_FDCWD, "/bin/sh", 1, AT_EACCESS)',
    ]);
    const text = lines(steps).map((line) => line.trim());
    const start = text.findIndex((line) => line.startsWith("on ENOSYS, EPERM"));
    assertEquals(text.slice(start + 1, start + 12), [
      "$owner = 4 bytes at &stat+28",
      "$group = 4 bytes at &stat+32",
      "$bit = 1",
      "if $group == 6:",
      "$bit = 8",
      "if $group == 7:",
      "$bit = 8",
      "if $owner == 5:",
      "$bit = 64",
      "$bit = $mode & $bit",
      "if $bit == 0:",
    ], text.join("\n"));
  }
  // Root may execute what anybody may.
  const text = lines(lookupSteps(running("/sh"), [], "aarch64", { careful: true })).join("\n");
  assert(text.includes("$bit = 73") && text.includes("$mode = 4 bytes at &stat+16") && !text.includes("$owner"), text);
});

const process: Process = { cwd: "/", user: { uid: 0, gid: 0 }, args: ["sh", "-c", ""] };

Deno.test("execve gets the arguments as they are and the environment", () => {
  const steps = execSteps(process, environment(["HOME=/", "A=1"]));
  const [exec] = callsNamed(steps, "execve");
  const [, args, env] = exec!.args as [unknown, Parameters<typeof pointedTo>[0], Parameters<typeof pointedTo>[0]];
  assertEquals([pointedTo(args), pointedTo(env)], [["sh", "-c", ""], ["HOME=/", "A=1"]]);
});

Deno.test("descriptors behind the inherited ones are closed by execve", () => {
  for (const [inheritedFds, first] of [[0, 3], [2, 5]] as const) {
    const [close] = callsNamed(closeSteps(inheritedFds), "close_range");
    // CLOSE_RANGE_CLOEXEC, up to the highest number.
    assertEquals(close!.args, [first, -1, 4]);
  }
});

Deno.test("where execve fails the container's stderr tells why, and the exit status is 255", () => {
  const [exec] = callsNamed(execSteps({ ...process, args: ["ü"] }, environment([])), "execve");
  const branches = exec!.onError!.map(({ errnos, ops }) => [errnos, callLines([{ label: "", from: "", ops }])]);
  assertEquals(branches[0], [["ENOENT"], ['write(2, "exec ü: no such file or directory\\n", 35)', "exit_group(255)"]]);
  assertEquals(branches.at(-1), [["*"], ['write(2, "exec ü: failed\\n", 16)', "exit_group(255)"]]);
});

Deno.test("environment() is empty where there is none, without a HOME; an empty one has a HOME", () => {
  assertEquals(environment(undefined), { entries: [], needsHome: false });
  assertEquals(environment([]), { entries: [], needsHome: true });
  assertEquals(environment(undefined, ["LISTEN_FDS=1"]), { entries: ["LISTEN_FDS=1"], needsHome: true });
});
