import { assert, assertEquals } from "@std/assert";
import { planCreate } from "../../../../lib/libcontainer/plans/create.ts";
import { type ExecRequest, planExec } from "../../../../lib/libcontainer/plans/exec.ts";
import type { SeccompFilter } from "../../../../lib/libcontainer/seccomp/filter.ts";
import { seccompSteps } from "../../../../lib/libcontainer/steps/seccomp.ts";
import { filterFlags, toProfile } from "../../../../lib/libcontainer/seccomp/profile.ts";
import { encode } from "../../../../lib/plan/native/encode.ts";
import type { Op, Step } from "../../../../lib/plan/op.ts";
import type { Config, Process, Seccomp } from "../../../../lib/specs/config.ts";
import { callsAfterFilter } from "../../../fixtures/calls_after_filter.ts";
import {
  allOps,
  callLines,
  callsNamed,
  descriptorsOf,
  labels,
  lines,
  origins,
  structArg,
  structHex,
} from "../../plan_reader.ts";
import { config, facts, request } from "../fixed.ts";

function filterOf(seccomp: Partial<Seccomp> = {}): SeccompFilter {
  const profile = toProfile({ defaultAction: "SCMP_ACT_ALLOW", ...seccomp });
  return { profile, program: new Uint8Array(24).fill(7), flags: filterFlags(profile) };
}

const notify = { syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_NOTIFY" }], listenerPath: "/agent" };

Deno.test("without flags the filter is loaded by prctl(2), with flags by seccomp(2)", () => {
  assertEquals(lines(seccompSteps(filterOf({ flags: [] }))), [
    "prctl(PR_SET_SECCOMP, 2, {len: 3, filter: [3 instructions]}, 0, 0)",
  ]);
  assertEquals(lines(seccompSteps(filterOf())), [
    "seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, {len: 3, filter: [3 instructions]})",
  ]);
  assertEquals(origins(seccompSteps(filterOf())), [["load the seccomp filter", "/linux/seccomp"]]);
});

Deno.test("the kernel gets struct sock_fprog: a length in instructions, and their address", () => {
  const [load] = callsNamed(seccompSteps(filterOf()), "seccomp");
  const program = structArg(load!, 2);
  assertEquals(program.words.map(({ at, size }) => [at, size]), [[0, 2], [8, 8]]);
  assert(structHex({ ...program, words: program.words.slice(0, 1) }).startsWith("03000000"));
  assertEquals(program.words[1]!.value, {
    data: "bytes",
    bytes: new Uint8Array(24).fill(7),
    show: "[3 instructions]",
  });
});

Deno.test("the parent takes the listener before init goes on", () => {
  assertEquals(lines(seccompSteps(filterOf(notify))), [
    "$listener = seccomp(SECCOMP_SET_MODE_FILTER, " +
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW|SECCOMP_FILTER_FLAG_NEW_LISTENER, {len: 3, filter: [3 instructions]})",
    "8 bytes at {seccomp, listener}+8 = $listener",
    "write(<sync>, {seccomp, listener}, 16)",
    "$reply = read(<sync>, &reply+0, 8)",
    "if $reply == 0:",
    "  exit_group(1)",
    "close($listener)",
  ]);
});

const execRequest: ExecRequest = {
  id: "box",
  namespaces: ["mount", "pid"],
  cgroup: { taskFiles: [] },
  noNewKeyring: true,
  inheritedFds: 0,
  listenFds: 0,
  pidfdSocket: false,
};

function initOf(
  kind: "create" | "run" | "exec",
  noNewPrivileges: boolean,
  seccomp: SeccompFilter | undefined,
  more: { hooks?: Config["hooks"]; inheritedFds?: number } = {},
): readonly Step[] {
  const process: Process = { ...config().process!, noNewPrivileges, terminal: false };
  const { hooks, inheritedFds = 0 } = more;
  if (kind === "exec") return planExec(process, facts, { ...execRequest, inheritedFds, seccomp }).init;
  const startBy = kind === "run" ? "parent" : "fifo";
  return planCreate({ ...config(), process, hooks }, facts, { ...request, inheritedFds, startBy, seccomp }).init;
}

for (const kind of ["create", "run", "exec"] as const) {
  Deno.test(`${kind}: without noNewPrivileges the filter is loaded while there are privileges`, () => {
    const init = initOf(kind, false, filterOf());
    const all = labels(init);
    const at = all.indexOf("load the seccomp filter");
    assertEquals(all[at - 1], "mark every descriptor that is not the container's close-on-exec");
    assert(all[at - 2]!.startsWith("tell the parent that all is set up"), all[at - 2]);
    // Before capset(2).
    assert(at < all.findIndex((label) => label.includes("capabilit")));
  });

  Deno.test(`${kind}: with noNewPrivileges the filter is loaded after the command was found`, () => {
    const init = initOf(kind, true, filterOf());
    const all = labels(init);
    const at = all.indexOf("load the seccomp filter");
    assertEquals(all[at - 1], "mark every descriptor that is not the container's close-on-exec");
    assertEquals(
      all[at - 2],
      {
        create: "make sure that sh was found",
        // Errors of the filter come after `created`, and are waited for.
        run: "tell the parent that the container is created and wait for its start",
        exec: "tell the parent that the command was found",
      }[kind],
    );
    const calls = callLines(init.slice(at + 1)).map((line) => line.slice(0, line.indexOf("(")));
    const expected = {
      create: ["write", "close", "openat", "write", "close", "close", "execve"],
      run: ["execve"],
      exec: ["close", "execve"],
    }[kind];
    assertEquals(calls.slice(0, expected.length), expected);
  });

  Deno.test(`${kind}: descriptors are closed once, with a filter and without`, () => {
    for (const seccomp of [undefined, filterOf()]) {
      for (const noNewPrivileges of [true, false]) {
        assertEquals(callsNamed(initOf(kind, noNewPrivileges, seccomp), "close_range").length, 1);
      }
    }
  });
}

/** The ops that are carried out after the filter is loaded, but those after an execve(2) that failed. */
function afterFilter(init: readonly Step[]): readonly Op[] {
  const at = labels(init).findIndex((label) => label.startsWith("load the seccomp filter"));
  assert(at > 0);
  const [load, ...handOver] = init[at]!.ops;
  assert(load?.op === "call" && load.call === "seccomp");
  const withoutErrors = (op: Op): Op => op.op === "call" && op.call === "execve" ? { ...op, onError: [] } : op;
  return allOps([...handOver, ...init.slice(at + 1).flatMap(({ ops }) => ops).map(withoutErrors)]);
}

/** Ends the process where the parent is gone: nobody is left to see how. */
const isEnd = (name: string) => name === "exit_group";

Deno.test("once the filter is in force, init makes the calls that runc makes, and no other", () => {
  const startContainer = [{ path: "/a" }, { path: "/b", timeout: 3 }, { path: "/c" }];
  for (const command of ["create", "run", "exec"] as const) {
    for (const noNewPrivileges of [false, true]) {
      for (const agent of [false, true]) {
        for (const hooks of command === "exec" ? [false] : [false, true]) {
          const asked = { command, noNewPrivileges, agent, hooks };
          const filter = filterOf(agent ? notify : {});
          const more = { inheritedFds: 2, hooks: hooks ? { startContainer } : {} };
          const ops = afterFilter(initOf(command, noNewPrivileges, filter, more));
          const names = ops.flatMap((op) => op.op === "call" ? [op.call] : op.op === "fork" ? ["clone"] : []);
          const made: readonly string[] = [...new Set(names)].filter((name) => !isEnd(name)).sort();
          assertEquals<readonly string[]>(made, callsAfterFilter(asked), JSON.stringify(asked));
        }
      }
    }
  }
});

Deno.test("each hook under a filter reads the state from its start, and has no descriptor of the program", () => {
  const startContainer = [{ path: "/a" }, { path: "/b" }];
  const init = initOf("run", true, filterOf(), { inheritedFds: 2, hooks: { startContainer } });
  assertEquals(callLines(init.filter(({ label }) => label.includes("startContainer"))), [
    'openat(<proc>, "self/fd/<startContainer-stdin>", O_CLOEXEC, 0)',
    ...["<startContainer-stdin>", "$state_for_hook_1"].flatMap((state, index) => [
      `dup3(${state}, 0, 0)`,
      "dup3(<hook-stdout>, 1, 0)",
      "dup3(<hook-stderr>, 2, 0)",
      "close(3)",
      "close(4)",
      `execve("${startContainer[index]!.path}", ["${startContainer[index]!.path}"], /* 3 vars */)`,
      "wait4($hook, &wait_status, 0, NULL)",
    ]),
  ]);
});

Deno.test("a filter of the greatest size fits into an image", () => {
  const seccomp = { ...filterOf(), program: new Uint8Array(8 * 4096) };
  const plan = planCreate(config(), facts, { ...request, seccomp });
  const { image } = encode(plan, { arch: facts.arch, fds: descriptorsOf(plan) });
  assert(image.length > 8 * 4096);
});
