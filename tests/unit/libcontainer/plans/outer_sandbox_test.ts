import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import type { SyscallName } from "../../../../lib/ffi/syscalls.ts";
import { ensureDirectory, openInRoot, openInside } from "../../../../lib/libcontainer/steps/root/in_root.ts";
import { enterWithoutClone3, withoutRefused } from "../../../../lib/libcontainer/plans/outer_sandbox.ts";
import { planCreate } from "../../../../lib/libcontainer/plans/create.ts";
import { planExec } from "../../../../lib/libcontainer/plans/exec.ts";
import { call, fixedFd, slot, step } from "../../../../lib/plan/build.ts";
import type { Op, Plan } from "../../../../lib/plan/op.ts";
import { callLines, callsOf, lines } from "../../plan_reader.ts";
import { config, facts, request } from "../fixed.ts";

/** Those that something else is done for. */
const replaced: readonly SyscallName[] = ["close_range", "execveat", "faccessat2", "openat2"];
const needed: readonly SyscallName[] = ["open_tree", "move_mount", "mount_setattr", "fsopen", "fsconfig", "fsmount"];

const hooks = { createContainer: [{ path: "/a" }], startContainer: [{ path: "/b" }] };
const whole = (): Plan => planCreate({ ...config(), hooks }, facts, request);
const adapted = (ops: readonly Op[], ...refused: readonly SyscallName[]) =>
  withoutRefused({ stage: [], init: [step("", "", ops)] }, new Set(refused), "x86_64").init;

Deno.test("a plan stays as it is where nothing is refused", () => {
  const plan = whole();
  for (const refused of [undefined, new Set<SyscallName>()]) {
    assertStrictEquals(withoutRefused(plan, refused, "x86_64"), plan);
  }
});

Deno.test("no call is left that is refused and that something else can be done for; the others name the sandbox", () => {
  const exec = planExec(config().process!, facts, {
    id: "box",
    namespaces: ["mount"],
    cgroup: { taskFiles: [] },
    noNewKeyring: false,
    inheritedFds: 0,
    listenFds: 0,
    pidfdSocket: false,
  });
  for (const plan of [whole(), exec]) {
    const before = [...callsOf(plan.stage), ...callsOf(plan.init)];
    assert(before.some(({ call }) => call === "close_range") && before.some(({ call }) => call === "faccessat2"));
    const { stage, init } = withoutRefused(plan, new Set([...replaced, ...needed]), "x86_64");
    for (const op of [...callsOf(stage), ...callsOf(init)]) {
      assert(!replaced.includes(op.call), op.call);
      if (!needed.includes(op.call)) continue;
      for (const errno of ["EPERM", "ENOSYS"] as const) {
        assertEquals(op.hint?.[errno]?.startsWith(`${op.call}: a sandbox around this runtime refuses it`), true);
      }
    }
  }
});

const out = slot("out");

Deno.test("a path is opened component by component, and no symlink is followed", () => {
  const walk = callLines(adapted([openInRoot("/a/b/c", out, { arch: "x86_64" })], "openat2"));
  const through = "O_CLOEXEC|O_DIRECTORY|O_NOFOLLOW|O_PATH";
  assertEquals(walk.filter((line) => line.startsWith("openat(")).map((line) => line.split(", ")[1]), [
    '"a"',
    '"b"',
    '"c"',
  ]);
  for (const line of walk.filter((line) => line.startsWith("openat("))) assert(line.includes("O_NOFOLLOW"), line);
  assert(walk[0]!.startsWith('openat($root, "a"') && walk[0]!.includes("O_DIRECTORY"), `${walk[0]} ${through}`);
  // A last component that is a symlink is open now, and refused.
  const text = lines(adapted([openInRoot("/a", out, { arch: "x86_64" })], "openat2")).map((line) => line.trim());
  assert(text.includes("if $type == 40960:") && text.includes("fail: /a is a symlink"), text.join("\n"));
});

Deno.test("from the root itself and from the working directory, too", () => {
  const root = callLines(adapted([openInRoot("/", out, { arch: "x86_64" })], "openat2"));
  assert(root[0]!.startsWith('openat($root, ".", '), root[0]);
  const inside = callLines(adapted([openInside("/dev/null", out, 2, "x86_64")], "openat2"));
  assert(inside[0]!.startsWith('openat(AT_FDCWD, "/", '), inside[0]);
  assert(inside[1]!.startsWith('openat($start_of_walk, "dev", ') && inside[1]!.includes("O_NOFOLLOW"), inside[1]);
  assert(
    inside.some((line) => line.startsWith('openat($here, "null", ') && line.includes("O_RDWR")),
    inside.join("\n"),
  );
});

Deno.test("what a failure leads to, it still leads to, once", () => {
  const ops = ensureDirectory("/a/b", out, { arch: "x86_64" });
  const text = lines(adapted(ops, "openat2")).map((line) => line.trim());
  assertEquals(text.filter((line) => line.startsWith("mkdirat(")).length, 2);
  assert(text.includes("if $walked == -2:"), text.join("\n"));
});

Deno.test("descriptors are closed and marked one by one, the last one too", () => {
  const close = lines(adapted([call("close_range", [5, fixedFd("last foreign"), 0])], "close_range")).map((line) =>
    line.trim()
  );
  assertEquals(close.slice(0, 1), ["$number = 4"]);
  assert(close.some((line) => line.startsWith("close($number)")), close.join("\n"));
  assert(
    close.at(-1)!.includes("<last foreign>") || close.some((line) => line.includes("<last foreign>")),
    close.join("\n"),
  );
  const mark = callLines(adapted([call("close_range", [3, -1, 4])], "close_range"));
  assertEquals(mark, ["fcntl($number, 2, 1)"]);
  // What is above is the parent's.
  assertEquals(adapted([call("close_range", [fixedFd("next foreign"), -1, 0])], "close_range")[0]!.ops, []);
});

Deno.test("without clone3 a process enters its cgroup2 as it enters those of v1", () => {
  const entry = { taskFiles: [{ path: "/v1/tasks" }], cloneInto: "/v2" };
  assertEquals(enterWithoutClone3(entry, new Set(["clone3"])), {
    taskFiles: [{ path: "/v1/tasks" }, { path: "/v2/cgroup.procs" }],
  });
  assertStrictEquals(enterWithoutClone3(entry, new Set(["openat2"])), entry);
});

Deno.test("a bind mount is made by mount(2) on descriptors, looked at again, and gets its options", () => {
  const mount = { destination: "/m", type: "bind", source: "/out", options: ["rbind", "ro"] };
  const spec = config((draft) => void (draft.mounts = [mount] as never));
  const plan = planCreate(spec, { ...facts, refused: new Set(["open_tree"]) }, request);
  const { init } = withoutRefused(plan, new Set(["open_tree"]), "x86_64");
  const bind = callLines(init.filter(({ from }) => from === "/mounts/0"));
  const at = bind.findIndex((line) => line.startsWith("mount("));
  assertEquals(bind[0], 'openat(AT_FDCWD, "/out", O_CLOEXEC|O_PATH, 0)');
  assertEquals(bind.slice(at - 3, at + 3), [
    "dup3($source, <mount source>, O_CLOEXEC)",
    "dup3($target, <mount place>, O_CLOEXEC)",
    "fchdir(<proc>)",
    'mount("self/fd/<mount source>", "self/fd/<mount place>", NULL, MS_BIND|MS_REC, NULL)',
    "fstat($source, &stat)",
    "close($source)",
  ]);
  assert(bind[at + 3]!.startsWith('openat2($root, "/m", '), bind[at + 3]);
  assertEquals(
    bind.filter((line) => line.startsWith("mount(")).at(-1),
    'mount(NULL, "self/fd/<mount source>", NULL, $mount_flags, NULL)',
  );
  const text = lines(init.filter(({ from }) => from === "/mounts/0")).join("\n");
  assert(text.includes("another process changed it") && text.includes("$mount_flags = 4129"), text);
  // All of it while the host's /proc is at hand.
  const labels = init.map(({ label }) => label);
  assert(
    labels.indexOf("replace the host's /proc by the container's or hide this process") >
      labels.lastIndexOf("enter / and close what masks paths"),
  );
  assert(
    labels.indexOf("replace the host's /proc by the container's or hide this process") >
      labels.findLastIndex((label) => label.endsWith("read-only")),
  );
});

Deno.test("no new call for mounts is left in the default config's plan where one is refused", () => {
  const refused = new Set(needed);
  const { init } = withoutRefused(planCreate(config(), { ...facts, refused }, request), refused, "x86_64");
  assertEquals(callsOf(init).filter(({ call }) => needed.includes(call)).map(({ call }) => call), []);
});
