import { assertEquals } from "@std/assert";
import {
  decodeExit,
  encodeExit,
  type ExitFacts,
  exitOf,
  RECORD_BY_KERNEL,
  RECORD_BY_MONITOR,
} from "../../../../lib/libcontainer/state/exit_record.ts";

const time = { seconds: 1_767_323_045, nanoseconds: 6_780_000 };
const facts: ExitFacts = { waitStatus: 0x700, by: RECORD_BY_MONITOR, time, oomKills: 2 };

Deno.test("a record has the words that the monitor writes", () => {
  const bytes = encodeExit(facts);
  const view = new DataView(bytes.buffer);
  assertEquals([view.getUint32(0, true), view.getUint32(4, true)], [0x700, 1]);
  assertEquals([view.getBigInt64(8, true), view.getBigInt64(16, true)], [1_767_323_045n, 6_780_000n]);
  assertEquals(new TextDecoder().decode(bytes.subarray(24)), "oom_kill 2\n");
});

Deno.test("what is encoded can be decoded", () => {
  for (const each of [facts, { waitStatus: 9, by: RECORD_BY_KERNEL }, { ...facts, oomKills: 0 }] as const) {
    assertEquals(decodeExit(encodeExit(each)), each);
  }
});

Deno.test("the OOM kills are found in the files of both cgroup versions", () => {
  for (
    const text of [
      "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n",
      "low 0\nhigh 0\nmax 9\noom 7\noom_kill 5\noom_group_kill 0\n",
    ]
  ) {
    const bytes = new Uint8Array([...encodeExit({ waitStatus: 9, by: 1 }), ...new TextEncoder().encode(text)]);
    assertEquals(decodeExit(bytes)?.oomKills, 5);
  }
});

Deno.test("an empty, a short and a foreign file are no records; an impossible time is none", () => {
  assertEquals(decodeExit(new Uint8Array(0)), undefined);
  assertEquals(decodeExit(encodeExit(facts).slice(0, 23)), undefined);
  assertEquals(decodeExit(new Uint8Array(24)), undefined);
  const odd = encodeExit(facts);
  odd.fill(0xff, 8, 24);
  assertEquals(decodeExit(odd), { waitStatus: 0x700, by: RECORD_BY_MONITOR, oomKills: 2 });
});

Deno.test("a wait status is a code or a signal, and a shell's status", () => {
  const of = (waitStatus: number) => exitOf({ waitStatus, by: RECORD_BY_KERNEL });
  assertEquals(of(0), { source: "kernel", status: 0, code: 0 });
  assertEquals(of(0xff00), { source: "kernel", status: 255, code: 255 });
  assertEquals(of(9), { source: "kernel", status: 137, signal: "SIGKILL", coreDumped: false });
  assertEquals(of(0x8b), { source: "kernel", status: 139, signal: "SIGSEGV", coreDumped: true });
  assertEquals(exitOf(facts), {
    source: "monitor",
    status: 7,
    code: 7,
    oomKills: 2,
    endedAt: "2026-01-02T03:04:05.00678Z",
  });
});
