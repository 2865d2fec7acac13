import { assertEquals, assertMatch } from "@std/assert";
import { at, buffer, bytes, call, fail, fixedFd, load, slot, store, struct, when } from "../../../lib/plan/build.ts";
import { formatCall, formatData, formatOp, formatOperand } from "../../../lib/plan/explain.ts";
import type { CallOp, Data, Op } from "../../../lib/plan/op.ts";

const a = slot("a result");

Deno.test("formatData() shows data as its content, its text or its name", () => {
  const cases: readonly [data: Data, text: string][] = [
    [{ data: "text", text: '/a "b"\n' }, '"/a \\"b\\"\\n"'],
    [{ data: "fdPath", fd: "fifo" }, '"self/fd/<fifo>"'],
    [bytes(new Uint8Array(3), "[all]"), "[all]"],
    [struct("{x: 1}", 8, []), "{x: 1}"],
    [buffer("wait status", 8), "&wait_status"],
    [at(buffer("home", 8), 5), "&home+5"],
    [at(struct("{x}", 8, []), 0), "{x}+0"],
  ];
  for (const [data, text] of cases) assertEquals(formatData(data), text);
});

Deno.test("formatOperand() shows a number as its kind says", () => {
  const cases: readonly [value: number, kind: string, text: string][] = [
    [-100, "at", "AT_FDCWD"],
    [-100, "int", "-100"],
    [7, "at", "7"],
    [0, "str", "NULL"],
    [0, "ptr", "NULL"],
    [0, "fd", "0"],
    [0o755, "oct", "0755"],
    [0, "oct", "0"],
    [0x7ff, "hex", "0x7ff"],
    [6, "flags:MountFlag", "MS_NOSUID|MS_NODEV"],
    [0x40000000, "flags:MountFlag", "0x40000000"],
    [4, "enum:Prctl", "PR_SET_DUMPABLE"],
    [999, "enum:Prctl", "999"],
    // include/linux/kdev_t.h, new_encode_dev: minor's low byte, 12 bits of major, the rest of minor.
    [0x103, "dev", "makedev(1, 3)"],
    [0x11222233, "dev", "makedev(546, 70195)"],
  ];
  for (const [value, kind, text] of cases) assertEquals(formatOperand(value, kind), text);
  assertEquals([formatOperand(a), formatOperand(fixedFd("sync"), "fd")], ["$a_result", "<sync>"]);
});

Deno.test("formatCall() is what strace would print", () => {
  const cases: readonly [call: CallOp, text: string][] = [
    [call("mount", ["proc", ".", "proc", 14, 0]), 'mount("proc", ".", "proc", MS_NOSUID|MS_NODEV|MS_NOEXEC, NULL)'],
    [call("openat", [-100, "/x", 0x80001, 0]), 'openat(AT_FDCWD, "/x", O_WRONLY|O_CLOEXEC, 0)'],
    [call("mknodat", [a, "null", 0o20666, 0x103]), 'mknodat($a_result, "null", 020666, makedev(1, 3))'],
    [call("setsid", []), "setsid()"],
    [call("ioctl", [0, 0x540e, 0]), "ioctl(0, TIOCSCTTY, NULL)"],
    [call("umount2", [".", 2]), 'umount2(".", MNT_DETACH)'],
    [call("close_range", [3, -1, 4]), "close_range(3, -1, CLOSE_RANGE_CLOEXEC)"],
  ];
  for (const [{ call, args }, text] of cases) assertEquals(formatCall(call, args), text);
});

Deno.test("faccessat2 with the effective ids does not read as the removal of a directory", () => {
  assertMatch(formatCall("faccessat2", [-100, { data: "text", text: "/x" }, 1, 0x200]), /AT_EACCESS\)$/);
});

Deno.test("formatOp() shows every op", () => {
  const child = call("umask", [1]);
  const memory = buffer("b", 8);
  const cases: readonly [op: Op, text: readonly string[]][] = [
    [call("umask", [0o22], { out: a }), ["$a_result = umask(022)"]],
    [call("setsid", [], { tolerate: ["EPERM", "EINTR"] }), ["setsid()  /* fine if EPERM, EINTR */"]],
    [call("setsid", [], { tolerate: ["*"], endStepOn: ["ENOENT"] }), [
      "setsid()  /* fine if any error; step is done if ENOENT */",
    ]],
    [call("setsid", [], { onError: [{ errnos: ["EPERM"], ops: [child] }, { errnos: ["*"], ops: [] }] }), [
      "setsid()",
      "on EPERM:",
      "  umask(01)",
      "on any error:",
    ]],
    [when(a, "==", 0, [child]), ["if $a_result == 0:", "  umask(01)"]],
    [when(a, "!=", 0, [child], [when(1, "==", 1, [child])]), [
      "if $a_result != 0:",
      "  umask(01)",
      "else:",
      "  if 1 == 1:",
      "    umask(01)",
    ]],
    [{ op: "repeat", body: [child], until: { left: a, right: 0 } }, ["repeat:", "  umask(01)", "until $a_result == 0"]],
    [load(at(memory, 4), 2, a), ["$a_result = 2 bytes at &b+4"]],
    [store(memory, 8, a), ["8 bytes at &b = $a_result"]],
    [{ op: "and", left: a, right: 7, out: a }, ["$a_result = $a_result & 7"]],
    [{ op: "add", left: a, right: 16, out: a }, ["$a_result = $a_result + 16"]],
    [{ op: "add", left: 1, right: 0, out: a }, ["$a_result = 1"]],
    [{ op: "sub", left: a, right: slot("b"), out: a }, ["$a_result = $a_result - $b"]],
    [load(a, 2, slot("b")), ["$b = 2 bytes at $a_result"]],
    [{ op: "shr", left: a, right: 3, out: a }, ["$a_result = $a_result >> 3"]],
    [fail(0, "no"), ["fail: no"]],
    [{ op: "warn", value: 0, why: "hm" }, ["warn: hm"]],
    [{ op: "endStep" }, ["step is done"]],
    [{ op: "fork", flags: 17, out: a, child: [child], parent: [] }, [
      "$a_result = clone(SIGCHLD, NULL, NULL, NULL, 0)",
      "in the child:",
      "  umask(01)",
    ]],
    [{ op: "fork", flags: 0x1011, pidfd: memory, out: a, child: [], parent: [child] }, [
      "$a_result = clone(CLONE_PIDFD|SIGCHLD, NULL, &b, NULL, 0)",
      "in the parent:",
      "  umask(01)",
    ]],
  ];
  for (const [op, text] of cases) assertEquals(formatOp(op), text);
});

Deno.test("a fork into a cgroup shows the cgroup", () => {
  const fork: Op = { op: "fork", flags: 0x8011, intoCgroup: slot("cgroup"), out: a, child: [], parent: [] };
  assertMatch(formatOp(fork).join("\n"), /\$cgroup/);
});
