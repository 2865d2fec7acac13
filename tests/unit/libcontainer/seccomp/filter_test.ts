import { assert, assertEquals } from "@std/assert";
import { planCreate } from "../../../../lib/libcontainer/plan_create.ts";
import { type ExecRequest, planExec } from "../../../../lib/libcontainer/plan_exec.ts";
import { type SeccompFilter, seccompSteps } from "../../../../lib/libcontainer/seccomp/filter.ts";
import { filterFlags, toProfile } from "../../../../lib/libcontainer/seccomp/profile.ts";
import { encode } from "../../../../lib/plan/native/encode.ts";
import type { Step } from "../../../../lib/plan/op.ts";
import type { Process, Seccomp } from "../../../../lib/specs/config.ts";
import {
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
  kind: "create" | "exec",
  noNewPrivileges: boolean,
  seccomp: SeccompFilter | undefined,
): readonly Step[] {
  const process: Process = { ...config().process!, noNewPrivileges, terminal: false };
  return kind === "create"
    ? planCreate({ ...config(), process }, facts, { ...request, seccomp }).init
    : planExec(process, facts, { ...execRequest, seccomp }).init;
}

for (const kind of ["create", "exec"] as const) {
  Deno.test(`${kind}: without noNewPrivileges the filter is loaded while there are privileges`, () => {
    const init = initOf(kind, false, filterOf());
    const all = labels(init);
    const at = all.indexOf("load the seccomp filter");
    assertEquals(all[at - 1], "close everything that is not the container's");
    assert(all[at - 2]!.startsWith("tell the parent that all is set up"), all[at - 2]);
    // Before capset(2), and with the look-up that old profiles allow.
    assert(at < all.findIndex((label) => label.includes("capabilit")));
    assertEquals(callsNamed(init, "faccessat2"), []);
  });

  Deno.test(`${kind}: with noNewPrivileges the filter is loaded after the command was found`, () => {
    const init = initOf(kind, true, filterOf());
    const all = labels(init);
    const at = all.indexOf("load the seccomp filter");
    assertEquals(all[at - 1], "close everything that is not the container's");
    assert(all[at - 2]!.includes("look for") || all[at - 2]!.includes("was found"), all[at - 2]);
    const calls = callLines(init.slice(at + 1)).map((line) => line.slice(0, line.indexOf("(")));
    const expected = kind === "create"
      ? ["write", "close", "openat", "write", "close", "close", "execve"]
      : ["write", "close", "execve"];
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

Deno.test("a filter of the greatest size fits into an image", () => {
  const seccomp = { ...filterOf(), program: new Uint8Array(8 * 4096) };
  const plan = planCreate(config(), facts, { ...request, seccomp });
  const { image } = encode(plan, { arch: facts.arch, fds: descriptorsOf(plan) });
  assert(image.length > 8 * 4096);
});
