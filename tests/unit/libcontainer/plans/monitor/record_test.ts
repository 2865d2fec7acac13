/** The monitor's record of how its process ended, and how it leaves its caller, on a kernel that is made up. */

import { assertEquals } from "@std/assert";
import { Errno } from "../../../../../lib/ffi/errno.ts";
import { type MonitorRequest, planMonitor } from "../../../../../lib/libcontainer/plans/monitor/plan.ts";
import { decodeExit, RECORD_BY_MONITOR } from "../../../../../lib/libcontainer/state/exit_record.ts";
import type { CallOp } from "../../../../../lib/plan/op.ts";
import { lockstep } from "../../../plan/lockstep.ts";
import { callsOf } from "../../../plan_reader.ts";
import { FakeKernel, File, SIGNALS } from "../../monitor/fake_kernel.ts";

const PID = 1234;
const fds = { sync: -1, "caught signals": 9, signals: SIGNALS, "state directory": 20, "exit record": 21, started: 22 };
const removal = { kind: "directories", cgroups: ["/c"], state: "/r/box" } as const;

/** Runs a monitor until its process ends with `status`; `before` happens first. */
function monitor(
  request: Partial<MonitorRequest>,
  { status = 0x700, before = () => {} }: { status?: number; before?: (kernel: FakeKernel) => void } = {},
) {
  const files = new Map([9, 21, 22].map((fd) => [fd, new File()]));
  // What openat opens has the number 0.
  files.set(0, new File().feed("low 0\noom_kill 3\n").ends());
  files.get(9)!.ends();
  const [record, started] = [files.get(21)!, files.get(22)!];
  const kernel: FakeKernel = new FakeKernel({ files, happenings: [() => kernel.ends(PID, status)] });
  before(kernel);
  const plan = planMonitor({
    arch: "x86_64",
    pid: PID,
    stdio: { kind: "inherited" },
    removal: { kind: "none" },
    id: "box",
    again: { path: "/runc", args: ["runc"], ownArguments: 1 },
    debug: false,
    ...request,
  });
  const { end } = lockstep(plan, { arch: "x86_64", fds, from: "stage", answer: kernel.answer, fold: false });
  assertEquals(end, "exit");
  return { kernel, record, started, plan };
}

const written = ({ output }: File) => decodeExit(new TextEncoder().encode(output));
const names = ({ made }: FakeKernel) => made.map(([name]) => name);

Deno.test("the record has the status and the count of OOM kills", () => {
  const { record } = monitor({ record: { oomFile: "/c/memory.events" } });
  assertEquals(written(record), { waitStatus: 0x700, by: RECORD_BY_MONITOR, oomKills: 3 });
});

Deno.test("where there is no cgroup of memory, or it cannot be read, the record has only the status", () => {
  const only = { waitStatus: 9, by: RECORD_BY_MONITOR } as const;
  assertEquals(written(monitor({ record: {} }, { status: 9 }).record), only);
  const before = (kernel: FakeKernel) => void kernel.failing.set("openat", Errno.ENOENT);
  assertEquals(written(monitor({ record: { oomFile: "/c/x" } }, { status: 9, before }).record), only);
});

Deno.test("another child's end is not recorded", () => {
  const before = (kernel: FakeKernel) => kernel.ends(99, 0x100);
  assertEquals(written(monitor({ record: {} }, { before }).record)?.waitStatus, 0x700);
});

Deno.test("the record is written and unlocked before the cgroups and the state are removed, and removed with them", () => {
  const { kernel } = monitor({ record: { oomFile: "/c/memory.events" }, removal });
  const calls = kernel.made.filter(([name]) => name === "unlinkat" || name === "close");
  const closed = calls.findIndex(([name, fd]) => name === "close" && fd === 21);
  assertEquals(closed >= 0 && closed < calls.findIndex(([name]) => name === "unlinkat"), true);
  const removed = calls.filter(([name]) => name === "unlinkat").map(([, , path]) => path);
  assertEquals(removed, ["/c", "/r/box/exit", "/r/box/known", "/r/box/resident", "/r/box/state.json", "/r/box"]);
});

Deno.test("a supervisor leaves its caller, and tells it then", () => {
  const { kernel, started } = monitor({ isDetached: true });
  assertEquals(started.output, "\x01\0\0\0\0\0\0\0");
  assertEquals(names(kernel).slice(0, 8), ["prctl", "setsid", "chdir", "openat", "dup3", "dup3", "dup3", "close"]);
  const { kernel: other } = monitor({});
  assertEquals(names(other).includes("setsid"), false);
});

Deno.test("a supervisor forwards no signals", () => {
  const before = (kernel: FakeKernel) => kernel.signal(15, 2);
  const kills = ({ made }: FakeKernel) =>
    made.filter(([name]) => name === "kill").map(([, pid, signal]) => [pid, signal]);
  assertEquals(kills(monitor({ isDetached: true }, { before }).kernel), []);
  assertEquals(kills(monitor({}, { before }).kernel), [[PID, 15], [PID, 2]]);
});

Deno.test("no call ends the supervisor by failing", () => {
  const { plan } = monitor({ isDetached: true, record: { oomFile: "/c/memory.events" } });
  const isHandled = ({ tolerate, onError }: CallOp) =>
    [tolerate ?? [], ...(onError ?? []).map(({ errnos }) => errnos)].flat().includes("*");
  const unhandled = callsOf(plan.stage).filter((call) => !isHandled(call)).map(({ call }) => call);
  assertEquals(unhandled.filter((name) => name !== "getpid" && name !== "exit_group"), []);
});
