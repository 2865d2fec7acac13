import { assertEquals } from "@std/assert";
import {
  affinityStep,
  keyringSteps,
  loopbackSteps,
  nameSteps,
  noNewPrivilegesSteps,
  oomScoreSteps,
  pidfdSteps,
} from "../../../../lib/libcontainer/steps/small_steps.ts";
import type { Config, Process } from "../../../../lib/specs/config.ts";
import { callLines, callsNamed, lines, origins, structArg, structHex } from "../../plan_reader.ts";
import { config } from "../fixed.ts";

const process = (changes: Partial<Process>): Process => ({ cwd: "/", user: { uid: 0, gid: 0 }, ...changes });

Deno.test("oom_score_adj is written where it is given, 0 too", () => {
  const written = (oomScoreAdj?: number) =>
    callLines(oomScoreSteps(process({ oomScoreAdj }), "x86_64")).filter((line) => line.startsWith("write("));
  assertEquals([written(), written(0), written(-1000)], [[], ['write($file, "0", 1)'], ['write($file, "-1000", 5)']]);
  const [open] = callsNamed(oomScoreSteps(process({ oomScoreAdj: 1 }), "x86_64"), "openat2");
  assertEquals(open!.args.slice(0, 2), [{ fd: "proc" }, { data: "text", text: "self/oom_score_adj" }]);
});

Deno.test("the affinity is every processor, which a cpuset limits", () => {
  for (const processorSetBytes of [128, 1024]) {
    const [call] = callsNamed([affinityStep({ processorSetBytes })], "sched_setaffinity");
    assertEquals(call!.args.slice(0, 2), [0, processorSetBytes]);
    // Whatever it answers, the container starts, with a warning in runc's words.
    assertEquals(call!.onError?.map(({ errnos }) => errnos), [["*"]]);
    assertEquals(
      lines([affinityStep({ processorSetBytes })]).at(-1)!.trim(),
      "warn: resetting the CPU affinity failed -- the container process may inherit runc's CPU affinity",
    );
    assertEquals(call!.args[2], {
      data: "bytes",
      bytes: new Uint8Array(processorSetBytes).fill(0xff),
      show: "[all]",
    });
  }
});

Deno.test("a new session keyring lets its owner search, in a user namespace others", () => {
  // keyctl_setperm(3): possessor all, user view, read and link, and user (0x80000) or other (0x8) search.
  const cases: readonly [init: boolean, userNamespace: boolean, permissions: number | undefined][] = [
    [true, false, 0x3f1b0000],
    [true, true, 0x3f130008],
    [false, false, undefined],
    [false, true, undefined],
  ];
  for (const [init, userNamespace, permissions] of cases) {
    const [join, set] = callsNamed(keyringSteps({ id: "box", init, userNamespace }), "keyctl");
    assertEquals(join!.args.slice(0, 2), [1, { data: "text", text: "_ses.box" }]);
    const [without] = join!.onError!;
    assertEquals([without!.errnos, without!.ops.map(({ op }) => op)], [["ENOSYS"], ["warn", "endStep"]]);
    assertEquals(set?.args.slice(0, 3), permissions === undefined ? undefined : [5, join!.out!, permissions]);
  }
});

Deno.test("lo comes up in a network namespace that is made, not in one that is joined", () => {
  const having = (namespaces: readonly unknown[]) => config((draft) => draft.linux.namespaces = namespaces as never);
  const [call] = callsNamed(loopbackSteps(having([{ type: "network" }])), "ioctl");
  assertEquals(call!.args[1], 0x8914);
  // struct ifreq: 16 bytes of name, IFF_UP|IFF_LOOPBACK|IFF_RUNNING. netdevice(7)
  assertEquals(
    structHex(structArg(call!, 2)),
    ["6c6f0000", "00000000", "00000000", "00000000", "49000000"]
      .concat(Array(5).fill("00000000")).join(" "),
  );
  assertEquals(loopbackSteps(having([{ type: "network", path: "/n" }])), []);
  assertEquals(loopbackSteps(having([])), []);
});

Deno.test("names are set with their length in bytes, empty ones not at all", () => {
  const cases: readonly [names: Pick<Config, "hostname" | "domainname">, calls: readonly string[]][] = [
    [{}, []],
    [{ hostname: "", domainname: "" }, []],
    [{ hostname: "box" }, ['sethostname("box", 3)']],
    [{ domainname: "ü.org" }, ['setdomainname("ü.org", 6)']],
    [{ hostname: "a", domainname: "b" }, ['sethostname("a", 1)', 'setdomainname("b", 1)']],
  ];
  for (const [names, calls] of cases) assertEquals(callLines(nameSteps({ ociVersion: "1.0.0", ...names })), calls);
  assertEquals(origins(nameSteps(config())), [["set the hostname to runc", "/hostname"]]);
});

Deno.test("no_new_privs is set where it is asked for", () => {
  assertEquals(callLines(noNewPrivilegesSteps(process({ noNewPrivileges: true }))), [
    "prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)",
  ]);
  assertEquals([noNewPrivilegesSteps(process({ noNewPrivileges: false })), noNewPrivilegesSteps(process({}))], [
    [],
    [],
  ]);
});

Deno.test("a pidfd of the process itself goes to the caller, with the kind of process as its text", () => {
  for (const payload of ["standard", "setns"] as const) {
    const all = lines(pidfdSteps(payload));
    assertEquals(all.slice(0, 2), ["$self = getpid()", "$pidfd = pidfd_open($self, 0)"]);
    assertEquals(all.slice(-3), [
      `sendmsg(<pidfd-socket>, {iov: "${payload}", control: SCM_RIGHTS}, MSG_NOSIGNAL)`,
      "close($pidfd)",
      "close(<pidfd-socket>)",
    ]);
  }
});
