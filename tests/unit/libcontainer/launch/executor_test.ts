import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { CloneFlag } from "../../../../lib/ffi/constants.ts";
import { Errno } from "../../../../lib/ffi/errno.ts";
import { Kernel } from "../../../../lib/ffi/kernel.ts";
import { Executor, runInit } from "../../../../lib/libcontainer/launch/executor.ts";
import {
  at,
  buffer,
  call,
  fail,
  load,
  set,
  slot,
  step,
  store,
  stringPointers,
  text,
  when,
} from "../../../../lib/plan/build.ts";
import { encode, type Encoded } from "../../../../lib/plan/native/encode.ts";
import { header, RETRY_LIMIT } from "../../../../lib/plan/native/format.ts";
import type { Op } from "../../../../lib/plan/op.ts";
import type { FakeHost } from "../../host/host.ts";
import { file } from "../../host/host.ts";
import { Executed, Exited } from "../../host/libc_processes.ts";
import { PlainFile, type Socket, socketPair } from "../../host/open_files.ts";
import { MachineCode, withHost } from "../../host/with_host.ts";

const SYNC = 30, PROC = 31;

interface Prepared {
  readonly kernel: Kernel;
  readonly executor: Executor;
  readonly encoded: Encoded;
  /** What the parent receives: the kind, the step, and the value of each report. */
  readonly reports: () => readonly (readonly [kind: number, step: string | undefined, value: number])[];
}

/** An executor for one step of init with these ops. Descriptors 1 and 2 are the streams, `sync` is the socket. */
function prepared(host: FakeHost, ops: readonly Op[]): Prepared {
  const kernel = new Kernel();
  const [theirs, ours] = socketPair("sync") as [Socket, Socket];
  host.self.open(theirs, { least: SYNC, cloexec: false });
  host.self.open(new PlainFile(host.fs.get("/proc"), "/proc", true), { least: PROC, cloexec: false });
  const plan = { stage: [], init: [step("the step", "/field", ops)] };
  const encoded = encode(plan, { arch: kernel.arch, fds: { sync: SYNC, proc: PROC } });
  const reports = () =>
    ours.queue.splice(0).map(({ bytes }) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      const instruction = encoded.instructionAt(view.getUint32(4, true), view.getBigUint64(16, true));
      return [view.getUint32(0, true), instruction?.step.label, Number(view.getBigInt64(8, true))] as const;
    });
  return { kernel, encoded, executor: new Executor(kernel, encoded.image.slice(), PROC), reports };
}

const write = (value: string) => call("write", [1, text(value), value.length]);
const written = (host: FakeHost) => (host.self.file(1) as PlainFile).node.text;

/** Runs ops; returns what was written to stdout and reported. */
function run(host: FakeHost, ops: readonly Op[], fails = false) {
  host.self.close(1);
  host.self.open(new PlainFile(file(), "out"), { least: 1, cloexec: false });
  const { executor, reports } = prepared(host, ops);
  if (fails) assertThrows(() => executor.run(), Exited, "exit_group(1)");
  else executor.run();
  return [written(host), reports()];
}

const a = slot("a"), b = slot("b");

const programs: readonly [what: string, ops: readonly Op[], output: string][] = [
  ["calls in their order", [write("one"), write("two")], "onetwo"],
  [
    "arithmetic on memory",
    [
      store(at(buffer("m", 16), 0), 8, 0x41424344),
      load(at(buffer("m", 16), 1), 2, a),
      { op: "shr", left: a, right: 8, out: a },
      { op: "sub", left: a, right: 2, out: a },
      { op: "and", left: a, right: 0x7f, out: a },
      { op: "add", left: a, right: 1, out: a },
      store(at(buffer("m", 16), 8), 1, a),
      call("write", [1, at(buffer("m", 16), 8), 1]),
    ],
    "A",
  ],
  [
    "conditions",
    [
      set(a, 3),
      when(a, "==", 3, [write("is")], [write("isn't")]),
      when(a, "!=", 3, [write("no")], [write("!")]),
    ],
    "is!",
  ],
  [
    "loops",
    [
      set(a, 0),
      {
        op: "repeat",
        body: [write("x"), { op: "add", left: a, right: 1, out: a }],
        until: { left: a, right: 3 },
      },
    ],
    "xxx",
  ],
  [
    "tolerated errors",
    [call("mkdirat", [-100, text("/tmp"), 0o755], { out: b, tolerate: ["EEXIST"] }), write("on")],
    "on",
  ],
  ["steps that an error ends", [call("mkdirat", [-100, text("/tmp"), 0], { endStepOn: ["EEXIST"] }), write("no")], ""],
];

for (const [what, ops, output] of programs) {
  Deno.test(`the executor in JavaScript carries out ${what}`, () => {
    withHost((host) => assertEquals(run(host, ops), [output, []]));
  });
}

Deno.test("a failed call is reported with its step and errno, and ends the process", () => {
  withHost((host) => {
    const ops = [write("before"), call("mkdirat", [-100, text("/none/x"), 0o755]), write("after")];
    assertEquals(run(host, ops, true), ["before", [[1, "the step", Errno.ENOENT]]]);
  });
});

Deno.test("warnings go on, declared errors end", () => {
  withHost((host) => {
    const ops: readonly Op[] = [{ op: "warn", value: 5, why: "careful" }, fail(7, "no"), write("after")];
    assertEquals(run(host, ops, true), ["", [[2, "the step", 5], [1, "the step", 7]]]);
  });
});

Deno.test("a call that says EAGAIN is tried again as often as the format allows", () => {
  withHost((host) => {
    let tries = 0;
    host.fs.put("/busy", file("", () => {}));
    const retried = call("openat", [-100, text("/busy"), 0, 0], { retryAgain: true });
    host.refuse("openat", Errno.EAGAIN);
    const check = host.check.bind(host);
    host.check = (...names) => {
      if (names.includes("openat")) tries++;
      check(...names);
    };
    assertEquals(run(host, [retried], true), ["", [[1, "the step", Errno.EAGAIN]]]);
    assertEquals(tries, RETRY_LIMIT + 1);
  });
});

Deno.test("the program gets signals at their default, and its words", () => {
  withHost((host) => {
    const argv = stringPointers(["sh", "-c"], "argv");
    const { executor } = prepared(host, [call("execve", [text("/bin/sh"), argv, stringPointers([], "env")])]);
    host.calls.length = 0;
    const executed = assertThrows(() => executor.run(), Executed);
    assertEquals([executed.path, executed.argv], ["/bin/sh", ["sh", "-c"]]);
    assertEquals(host.calls, ["signal 13 0", "signal 25 0"]);
  });
});

Deno.test("where a filter makes exit_group return, a trap ends the process", () => {
  withHost((host) => {
    const { executor } = prepared(host, [fail(1, "no")]);
    host.refuse("exit_group", Errno.EPERM);
    assertThrows(() => executor.run(), MachineCode);
  });
});

Deno.test("a replaced stream replaces Deno's copies of it", () => {
  withHost((host) => {
    const copy = host.self.open(host.self.file(1));
    const target = host.self.open(new PlainFile(file(), "target"), { cloexec: false });
    const { executor } = prepared(host, [call("dup3", [target, 1, 0])]);
    executor.run();
    assertEquals([host.self.file(1).label, host.self.file(copy).label], ["target", "target"]);
    assertEquals(host.self.descriptors.get(copy)!.cloexec, true);
  });
});

Deno.test("a fork is the native interpreter with this memory, at the instruction behind the clone", () => {
  withHost((host) => {
    const pidfd = buffer("pidfd", 4);
    const ops: readonly Op[] = [
      set(a, 77),
      {
        op: "fork",
        flags: CloneFlag.CLONE_PIDFD | 17,
        pidfd,
        out: b,
        child: [write("child"), call("exit_group", [0])],
        parent: [load(at(pidfd, 0), 4, a), write("parent")],
      },
    ];
    let image: DataView | undefined;
    host.forked = (bytes) => {
      image = new DataView(bytes.buffer, bytes.byteOffset);
      // deno-lint-ignore require-yield
      return function* () {
        return 0;
      };
    };
    assertEquals(run(host, ops), ["parent", []]);
    const program = Number(image!.getBigUint64(Number(image!.getBigUint64(32, true)) + 56 + 8, true));
    const [entry, table] = [header.entry, header.table].map((field) => image!.getUint32(program + field, true));
    assertEquals(entry! > table!, true);
    const [child] = host.others;
    assertEquals([SYNC, PROC].map((fd) => child!.descriptors.has(fd)), [true, true], "the fixed descriptors");
    assertEquals(child!.argv, ["runc", "init"]);
    assertEquals(host.directory, host.fs.root, "we are where we were");
  });
});

Deno.test("a fork that fails is reported", () => {
  withHost((host) => {
    host.refuse("execve", Errno.EAGAIN);
    const ops: readonly Op[] = [{ op: "fork", flags: 17, out: b, child: [], parent: [] }];
    assertEquals(run(host, ops, true), ["", [[1, "the step", Errno.EAGAIN]]]);
  });
});

Deno.test("images of another version or with wrong lengths are refused", () => {
  withHost((host) => {
    const { kernel, encoded: { image } } = prepared(host, [write("x")]);
    const program = Number(
      new DataView(image.buffer).getBigUint64(Number(new DataView(image.buffer).getBigUint64(32, true)) + 56 + 8, true),
    );
    const changed = (offset: number, value: number) => {
      const copy = image.slice();
      new DataView(copy.buffer).setUint32(offset, value, true);
      return () => new Executor(kernel, copy, PROC);
    };
    const magic = assertThrows(changed(program + header.magic, 1), RuncError);
    assertEquals([magic.code, magic.message], ["internal", "the image is of another version of the program"]);
    assertThrows(changed(program + header.tableLength, 1 << 30), RuncError, "the image has wrong lengths");
    const PT_NOTE = 4;
    assertThrows(changed(64, PT_NOTE), RuncError, "the image does not have two segments");
  });
});

Deno.test("runInit() reads the image, closes it, and runs it", () => {
  withHost((host) => {
    host.self.close(1);
    host.self.open(new PlainFile(file(), "out"), { least: 1, cloexec: false });
    const { kernel, encoded } = prepared(host, [write("init")]);
    const open = () => {
      const node = file();
      node.bytes = encoded.image;
      return host.self.open(new PlainFile(node, "image"));
    };
    const imageFd = open();
    runInit(kernel, { imageFd, procFd: PROC });
    assertEquals([written(host), host.self.descriptors.has(imageFd)], ["init", false]);
    const another = open();
    host.refuse("pread", Errno.EIO);
    assertThrows(() => runInit(kernel, { imageFd: another, procFd: PROC }), RuncError, "input/output error");
  });
});
