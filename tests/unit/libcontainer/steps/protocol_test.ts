import { assertEquals } from "@std/assert";
import {
  awaitGo,
  HOME_LIMIT,
  homeEntry,
  MESSAGE_SIZE,
  MessageKind,
  PASSWD_CHUNK,
  tell,
  tellValue,
} from "../../../../lib/libcontainer/steps/protocol.ts";
import { readySteps } from "../../../../lib/libcontainer/steps/ready.ts";
import { at, slot } from "../../../../lib/plan/build.ts";
import { formatOp } from "../../../../lib/plan/explain.ts";
import { ReportKind } from "../../../../lib/plan/native/format.ts";
import type { CallOp } from "../../../../lib/plan/op.ts";
import { callsNamed, labels, lines, structArg, structHex } from "../../plan_reader.ts";

Deno.test("every kind of message has a number of its own, and reports have theirs", () => {
  const numbers = Object.values(MessageKind);
  assertEquals(new Set(numbers).size, numbers.length);
  assertEquals([MessageKind.error, MessageKind.warning], [ReportKind.error, ReportKind.warning]);
});

Deno.test("a message is kind, zero, value, and is sent by a call that every seccomp profile has", () => {
  for (const kind of Object.keys(MessageKind) as (keyof typeof MessageKind)[]) {
    const call = tell(kind) as CallOp;
    assertEquals([call.call, call.args[0], ...call.args.slice(2)], ["write", { fd: "sync" }, 16]);
    const number = MessageKind[kind].toString(16).padStart(2, "0");
    assertEquals(structHex(structArg(call, 1)), `${number}000000 00000000 00000000 00000000`);
  }
  const [store, send] = tellValue("child", slot("pid"));
  const message = structArg(send as CallOp, 1);
  assertEquals(structHex(message), "04000000 00000000 00000000 00000000");
  assertEquals(store, { op: "store", to: { data: "at", base: message, offset: 8 }, size: 8, value: slot("pid") });
});

Deno.test("who waits for the parent ends when the parent is gone", () => {
  assertEquals(awaitGo().flatMap((op) => formatOp(op)), [
    "$reply = read(<sync>, &reply+0, 8)",
    "if $reply == 0:",
    "  exit_group(1)",
  ]);
});

Deno.test("HOME's buffer has room for its name, the longest path and a NUL", () => {
  assertEquals([HOME_LIMIT, homeEntry.size], [4096, "HOME=".length + 4096]);
  const [, wait] = readySteps({ needsHome: true, arch: "x86_64" });
  const [receive] = callsNamed([wait!], "read");
  assertEquals(receive!.args.slice(1, 3), [at(homeEntry, 5), HOME_LIMIT]);
  // "HOME" as one little-endian word, and "=".
  assertEquals(lines([wait!]).slice(0, 2), [
    `4 bytes at &HOME_entry = ${0x454d4f48}`,
    `1 bytes at &HOME_entry+4 = ${0x3d}`,
  ]);
});

Deno.test("without a HOME to look up nothing is read from the container", () => {
  assertEquals(labels(readySteps({ needsHome: false, arch: "x86_64" })), [
    "tell the parent that all is set up and wait for its go",
  ]);
});

Deno.test("/etc/passwd is sent in pieces that fit a message, ended by an empty one; a missing one is no error", () => {
  const [send] = readySteps({ needsHome: true, arch: "x86_64" });
  const [open] = callsNamed([send!], "openat");
  // O_NONBLOCK, O_NOCTTY: it may be a fifo or a terminal.
  assertEquals([open!.endStepOn, (open!.args[2] as number) & 0x900], [["*"], 0x900]);
  const [read] = callsNamed([send!], "read");
  const [buffer, limit] = read!.args.slice(1) as [ReturnType<typeof at>, number];
  assertEquals([buffer.offset, limit], [MESSAGE_SIZE, PASSWD_CHUNK]);
  assertEquals(buffer.base.data === "buffer" && buffer.base.size, MESSAGE_SIZE + PASSWD_CHUNK);
  assertEquals(lines([send!]).at(-2), "until $length == 0");
});
