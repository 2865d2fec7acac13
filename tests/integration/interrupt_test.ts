/**
 * A signal ends `create`, `run` and `exec` at any moment until the program runs: what they have made is gone, hooks that ran are, and the status
 * says which signal it was.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { RuncError } from "../../lib/errors.ts";
import { pipe } from "../../lib/ffi/files.ts";
import { alloc } from "../../lib/ffi/kernel.ts";
import { poll, POLLIN } from "../../lib/ffi/poll.ts";
import { kill } from "../../lib/ffi/process/process.ts";
import { SignalPipe } from "../../lib/ffi/process/signals.ts";
import { processStat } from "../../lib/libcontainer/state/process_status.ts";
import type { HookName } from "../../lib/specs/config.ts";
import { contentOf } from "./foreground_harness.ts";
import {
  afterShell,
  type Box,
  boxTest,
  type Change,
  comparing,
  kernel,
  type Result,
  Running,
  until,
} from "./harness.ts";

const signals = [[1, "SIGHUP"], [2, "SIGINT"], [3, "SIGQUIT"], [15, "SIGTERM"]] as const;

/** A hook that tells its host pid as far as it knows it, and then waits. */
function waitingHook(box: Box, name: HookName): Change {
  const directory = name === "startContainer" ? "/mnt" : box.directory;
  const script = `echo $$ > ${directory}/up; exec sleep 1000`;
  return (config) => {
    config.mounts.push({ destination: "/mnt", type: "bind", source: box.directory, options: ["bind"] });
    config.process.args = ["sleep", "1000"];
    config.hooks = { [name]: [{ path: "/bin/sh", args: ["sh", "-c", script] }] };
  };
}

const isUp = (box: Box, file = "up"): string | undefined => contentOf(`${box.directory}/${file}`).trim() || undefined;

/** Nobody is left of whoever has the box's directory in its arguments, and no cgroup; the harness looks for the rest. */
function isInterrupted({ code, stderr }: Result, [number, name]: typeof signals[number]): void {
  assertMatch(stderr, new RegExp(`interrupted by ${name}" code=interrupted`));
  assertEquals(code, 128 + number);
}

const commands: readonly (readonly [words: readonly string[], hooks: readonly HookName[]])[] = [
  [["create"], ["prestart", "createRuntime", "createContainer"]],
  [["run", "--detach"], ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"]],
  [["run"], ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"]],
];

for (const [words, hooks] of commands) {
  for (const hook of hooks) {
    comparing(`a signal ends ${words.join(" ")} while its ${hook} hook runs`, (box) => {
      for (const signal of signals) {
        Deno.writeTextFileSync(`${box.directory}/up`, "");
        box.write(waitingHook(box, hook));
        using running = box.start([...words, box.id]);
        const pid = until("the hook", () => isUp(box));
        running.signal(signal[0]);
        isInterrupted(running.wait(), signal);
        assertEquals(box.containers(), []);
        // The others' pids are those of the container.
        if (hook === "prestart" || hook === "createRuntime" || hook === "poststart") {
          assertEquals(processStat(Number(pid)), undefined);
        }
      }
    });
  }
}

boxTest("a hook in the container is ended with it, whose pid namespace is the host's", (box) => {
  box.write((config) => {
    waitingHook(box, "createContainer")(config);
    config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "pid");
  });
  using running = box.start(["create", box.id]);
  const pid = Number(until("the hook", () => isUp(box)));
  assert(processStat(pid) !== undefined);
  running.signal(15);
  isInterrupted(running.wait(), [15, "SIGTERM"]);
  until("its end", () => [undefined, "Z"].includes(processStat(pid)?.state));
});

for (const words of [["create"], ["run"], ["run", "--detach"]]) {
  boxTest(`a signal that ${words.join(" ")}'s caller ignores does not end it`, (box) => {
    box.write(waitingHook(box, "createRuntime"));
    using running: Running = box.start([...words, box.id], { prefix: afterShell("trap '' HUP INT") });
    until("the hook", () => isUp(box));
    running.signal(1);
    running.signal(2);
    running.signal(15);
    // Of signals that wait at the same time the lower number comes first: those that are ignored have come by then.
    isInterrupted(running.wait(), [15, "SIGTERM"]);
  });
}

boxTest("a second signal ends a poststop hook of the removal after the first", (box) => {
  box.write((config) => {
    waitingHook(box, "createRuntime")(config);
    const script = `echo $$ > ${box.directory}/stopping; exec sleep 1000`;
    config.hooks!.poststop = [{ path: "/bin/sh", args: ["sh", "-c", script] }];
  });
  using running = box.start(["create", box.id]);
  until("the hook", () => isUp(box));
  running.signal(15);
  const pid = Number(until("the poststop hook", () => isUp(box, "stopping")));
  running.signal(2);
  isInterrupted(running.wait(), [15, "SIGTERM"]);
  assertEquals(processStat(pid), undefined);
});

boxTest("a signal ends an exec into a paused container, which goes on when it is resumed", (box) => {
  box.startSleeping();
  box.must(["pause", box.id]);
  for (const words of [["exec"], ["exec", "--detach"]]) {
    using running = box.start([...words, "--ignore-paused", box.id, "sh", "-c", "echo ran > /tmp/ran"]);
    // Its process is in the frozen cgroup: it is killed, and dies when that is thawed.
    until("the frozen process", () => cgroupProcesses(box) === 2 || undefined);
    running.signal(15);
    const { code, stderr } = running.wait();
    assertMatch(stderr, /interrupted by SIGTERM" code=interrupted/);
    assertEquals(code, 128 + 15);
    box.must(["resume", box.id]);
    until("its end", () => cgroupProcesses(box) === 1 || undefined);
    box.must(["pause", box.id]);
  }
  box.must(["resume", box.id]);
  assertEquals(box.must(["exec", box.id, "ls", "/tmp"]), "");
  box.remove();
});

/** Listens on a socket, takes no connection, and makes more than can wait. */
const fullListener = `use IO::Socket::UNIX;
  my $listener = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1) or die;
  my @waiting = map { IO::Socket::UNIX->new(Peer => $ARGV[0], Blocking => 0) } 1 .. 4;
  syswrite STDOUT, "full"; sleep 1000;`;

boxTest("a signal ends create while it waits for whom its terminal goes to", (box) => {
  const path = `${box.directory}/console.sock`;
  using listener = new Running(["/usr/bin/perl", "-e", fullListener, path]);
  listener.says("full");
  box.write((config) => config.process.terminal = true);
  using running = box.start(["create", "--console-socket", path, box.id]);
  const SIGTERM = 15;
  const catches = (pid: number) => {
    const [, caught = "0"] = contentOf(`/proc/${pid}/status`).match(/SigCgt:\s*(\w+)/) ?? [];
    return (BigInt(`0x${caught}`) >> BigInt(SIGTERM - 1)) & 1n;
  };
  until("its handler", () => catches(running.pid) === 1n);
  running.signal(SIGTERM);
  const { code, stderr } = running.wait();
  assertMatch(stderr, /interrupted by SIGTERM" code=interrupted/);
  assertEquals([code, box.containers()], [128 + SIGTERM, []]);
});

function cgroupProcesses(box: Box): number {
  const paths = ["/sys/fs/cgroup/freezer", "/sys/fs/cgroup"].map((top) => `${top}${box.cgroup}/cgroup.procs`);
  return paths.map(contentOf).find((text) => text !== "")?.trim().split("\n").length ?? 0;
}

Deno.test("a SignalPipe of those that end what is done catches them alone, tells one at a time, and gives them back", () => {
  const caught = () => BigInt(`0x${Deno.readTextFileSync("/proc/self/status").match(/SigCgt:\s*(\w+)/)![1]}`);
  const before = caught();
  {
    using pipe = new SignalPipe(kernel, { endingOnly: true });
    // Bit 0 is signal 1.
    assertEquals(
      caught() & ~before,
      [1, 2, 3, 15].reduce((bits, signal) => bits | (1n << BigInt(signal - 1)), 0n) & ~before,
    );
    pipe.check();
    for (const signal of [15, 1]) {
      kill(kernel, Deno.pid, signal);
      const error = until("the signal", () => {
        try {
          pipe.check();
          return undefined;
        } catch (error) {
          return error as RuncError;
        }
      });
      assertEquals([error.code, error.signal], ["interrupted", signal]);
    }
    pipe.check();
  }
  assertEquals(caught(), before);
});

Deno.test("what ends nothing is still there for the monitor after a wait has looked", () => {
  using pipe = new SignalPipe(kernel);
  const SIGUSR1 = 10;
  kill(kernel, Deno.pid, SIGUSR1);
  // Both ways: found by a wait before, and not.
  until("the signal", () => poll(kernel, [{ fd: pipe.fd, events: POLLIN }], 0)[0] !== 0);
  pipe.check();
  assertEquals(poll(kernel, [{ fd: pipe.fd, events: POLLIN }], 0), [0]);
  pipe.holdBack();
  const number = alloc(8);
  assertEquals([kernel.retry("read", pipe.fd, number, 8), number[0]], [1, SIGUSR1]);
});

Deno.test("a pipe within another one's time takes only its own signals, and gives them back", () => {
  const [SIGUSR1, SIGTERM] = [10, 15];
  const awaited = (pipe: SignalPipe, signal: number) => {
    kill(kernel, Deno.pid, signal);
    const taken = until("the signal", () => {
      const numbers = pipe.take();
      return numbers.length > 0 ? numbers : undefined;
    });
    assertEquals(taken, [signal]);
  };
  using outer = new SignalPipe(kernel);
  {
    using inner = new SignalPipe(kernel, { endingOnly: true });
    awaited(outer, SIGUSR1);
    awaited(inner, SIGTERM);
    assertEquals(outer.take(), []);
  }
  awaited(outer, SIGTERM);
});

Deno.test("a pipe within another one's time of the same kind gives the signals back to it", () => {
  const SIGTERM = 15;
  using outer = new SignalPipe(kernel, { endingOnly: true });
  new SignalPipe(kernel, { endingOnly: true })[Symbol.dispose]();
  kill(kernel, Deno.pid, SIGTERM);
  until("the signal", () => outer.take().includes(SIGTERM));
});

Deno.test("a handler that is late writes into no file that has the descriptor's number by then", () => {
  const SIGTERM = 15;
  const signals = new SignalPipe(kernel, { endingOnly: true });
  // The handler is the first word of the struct. sigaction(2)
  const action = alloc(152);
  kernel.must("sigaction", "sigaction", SIGTERM, null, action);
  const handler = Deno.UnsafePointer.create(new DataView(action.buffer).getBigUint64(0, true))!;
  const number = signals.fd;
  kernel.callAt(handler, SIGTERM);
  assertEquals(signals.take(), [SIGTERM]);
  signals[Symbol.dispose]();
  const { read, write } = pipe(kernel, "another", { nonblocking: true });
  using input = read, _output = write;
  assertEquals(input.number, number, "the numbers are used again");
  kernel.callAt(handler, SIGTERM);
  assertEquals(poll(kernel, [{ fd: input.number, events: POLLIN }], 0), [0]);
});
