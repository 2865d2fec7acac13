import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { spawnedProcess, stdioKinds } from "../../../../lib/sandbox/run/spawning.ts";

const user = { uid: 1, gid: 1 };
const process = { user, args: ["first"], cwd: "/home", env: ["A=1", "B=x=y"], noNewPrivileges: true };

Deno.test("a further process has the sandbox's settings, with its own arguments and environment", () => {
  assertEquals(spawnedProcess(process, "ls", { args: ["-l"], env: { A: "2", C: "" } }), {
    user,
    args: ["ls", "-l"],
    cwd: "/home",
    env: ["B=x=y", "A=2", "C="],
    noNewPrivileges: true,
  });
  const urls = { program: new URL("file:///bin/l%20s"), cwd: new URL("file:///tmp") };
  const { args, cwd } = spawnedProcess(process, urls.program, urls);
  assertEquals([args, cwd], [["/bin/l s"], "/tmp"]);
  assertEquals(spawnedProcess(process, "ls", { cwd: "/tmp", clearEnv: true }), {
    user,
    args: ["ls"],
    cwd: "/tmp",
    env: [],
    noNewPrivileges: true,
  });
});

Deno.test("wrong options of a process are named", () => {
  for (
    const [options, name] of [
      [{ args: ["a\0"] }, "args"],
      [{ cwd: "tmp" }, "cwd"],
      [{ env: { "": "a" } }, "env"],
      [{ env: { A: "a\0" } }, "env"],
    ] as const
  ) {
    assertEquals(assertThrows(() => spawnedProcess(process, "ls", options), RuncError).message.split(":")[0], name);
  }
});

Deno.test("by default a process has no input, and its output is copied", () => {
  assertEquals(stdioKinds({}), { stdin: "null", stdout: "inherit", stderr: "inherit" });
  assertThrows(() => stdioKinds({ stdin: "inherit" as "null" }), RuncError, "stdin");
  assertThrows(() => stdioKinds({ stderr: "file" as "null" }), RuncError, "stderr");
});
