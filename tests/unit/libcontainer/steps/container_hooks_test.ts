import { assert, assertEquals } from "@std/assert";
import { containerHookSteps } from "../../../../lib/libcontainer/steps/container_hooks.ts";
import { call, stringPointers } from "../../../../lib/plan/build.ts";
import type { Data, ForkOp } from "../../../../lib/plan/op.ts";
import type { Hook } from "../../../../lib/specs/config.ts";
import { callLines, callsNamed, lines, origins, pointedTo, structArg, structHex } from "../../plan_reader.ts";

type Name = "createContainer" | "startContainer";
const given = stringPointers(["GIVEN=1"], "");
const steps = (hooks: readonly Hook[], name: Name = "createContainer") =>
  containerHookSteps(name, hooks, given, { ops: [call("chdir", ["/w"])], inheritedFds: 0 });
const forks = (hooks: readonly Hook[]) => steps(hooks).map(({ ops }) => ops[0] as ForkOp);

Deno.test("hooks are run in order, one step each", () => {
  assertEquals(origins(steps([{ path: "/a" }, { path: "/b" }, { path: "/a" }], "startContainer")), [
    ["run startContainer hook /a", "/hooks/startContainer/0"],
    ["run startContainer hook /b", "/hooks/startContainer/1"],
    ["run startContainer hook /a", "/hooks/startContainer/2"],
  ]);
});

Deno.test("a hook gets its stdio, its working directory, and nothing else that is open", () => {
  const [fork] = forks([{ path: "/a" }]);
  assertEquals(callLines([{ label: "", from: "", ops: fork!.child }]).slice(0, -1), [
    'chdir("/w")',
    "lseek(<createContainer-stdin>, 0, 0)",
    "dup3(<createContainer-stdin>, 0, 0)",
    "dup3(<hook-stdout>, 1, 0)",
    "dup3(<hook-stderr>, 2, 0)",
    "close_range(3, -1, CLOSE_RANGE_CLOEXEC)",
  ]);
});

Deno.test("arguments are the config's, or the path; the environment the config's, or the one that is given", () => {
  const cases: readonly [name: Name, hook: Hook, args: readonly string[], env: readonly string[]][] = [
    ["createContainer", { path: "/a" }, ["/a"], ["GIVEN=1"]],
    ["createContainer", { path: "/a", args: ["x", "y"], env: ["A=1"] }, ["x", "y"], ["A=1"]],
    ["createContainer", { path: "/a", env: [] }, ["/a"], []],
    // runc gives the process's environment also for an empty list.
    ["startContainer", { path: "/a", env: [] }, ["/a"], ["GIVEN=1"]],
    ["startContainer", { path: "/a", env: ["A=1"] }, ["/a"], ["A=1"]],
  ];
  for (const [name, hook, args, env] of cases) {
    const [exec] = callsNamed(steps([hook], name), "execve");
    assertEquals([pointedTo(exec!.args[1] as Data), pointedTo(exec!.args[2] as Data)], [args, env], name);
  }
});

Deno.test("a hook that does not exit with 0 fails the start, with its number and what wait says", () => {
  const text = lines(steps([{ path: "/a" }, { path: "/b" }]).slice(1));
  assertEquals(text.slice(-4), [
    "wait4($hook, &wait_status, 0, NULL)",
    "$exit = 4 bytes at &wait_status",
    "if $exit != 0:",
    "  fail: error running createContainer hook #1: {wait}",
  ]);
  const [exec] = callsNamed(steps([{ path: "/no" }], "startContainer"), "execve");
  assertEquals(exec!.meaning, { "*": "error running startContainer hook #0: fork/exec /no" });
});

Deno.test("a hook with a timeout is watched by its pidfd and killed when it is over", () => {
  const [fork] = forks([{ path: "/a", timeout: 7 }]);
  // CLONE_PIDFD and SIGCHLD; without a timeout SIGCHLD alone.
  assertEquals([fork!.flags, forks([{ path: "/a" }])[0]!.flags], [0x1000 | 17, 17]);
  assert(fork!.pidfd !== undefined);
  const all = steps([{ path: "/a", timeout: 7 }]);
  const [poll] = callsNamed(all, "ppoll");
  // struct pollfd: the descriptor comes later, POLLIN; struct timespec: 7 seconds.
  assertEquals(structHex(structArg(poll!, 0)), "00000000 01000000");
  assertEquals(structHex(structArg(poll!, 2)), "07000000 00000000 00000000 00000000");
  const text = lines(all).map((line) => line.trim());
  const over = text.indexOf("if $ready == 0:");
  assertEquals(text.slice(over + 1, over + 4), [
    "kill($hook, 9)",
    "wait4($hook, &wait_status, 0, NULL)",
    "fail: error running createContainer hook #0: hook ran past specified timeout of 7.0s",
  ]);
  assertEquals(callsNamed(steps([{ path: "/a" }]), "ppoll"), []);
});
