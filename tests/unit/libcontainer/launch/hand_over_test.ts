import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { Errno } from "../../../../lib/ffi/errno.ts";
import { Fd } from "../../../../lib/ffi/fd.ts";
import type { Kernel } from "../../../../lib/ffi/kernel.ts";
import type { fexecve } from "../../../../lib/ffi/process/process.ts";
import { caughtSignals, SignalPipe } from "../../../../lib/ffi/process/signals.ts";
import { Monitor, type MonitorOptions } from "../../../../lib/libcontainer/launch/hand_over.ts";
import { HostTerminal } from "../../../../lib/libcontainer/launch/host_terminal.ts";
import { NotifyProxy } from "../../../../lib/libcontainer/launch/notify.ts";
import { runtimeOn } from "../../host/containers.ts";
import { directory, type FakeHost } from "../../host/host.ts";
import { Inode } from "../../host/file_system.ts";
import { Pipe, PipeEnd, Terminal } from "../../host/open_files.ts";
import { withHost } from "../../host/with_host.ts";

interface Made {
  readonly kernel: Kernel;
  readonly monitor: Monitor;
  readonly end: () => void;
}

/** A monitor of process 5. */
function monitorOf(
  host: FakeHost,
  stdio: (kernel: Kernel) => MonitorOptions["stdio"],
  more: (kernel: Kernel) => Partial<MonitorOptions> = () => ({}),
): Made {
  const { runtime } = runtimeOn(host);
  const { kernel } = runtime;
  const signals = new SignalPipe(kernel);
  const monitor = new Monitor(runtime, {
    pid: 5,
    stdio: stdio(kernel),
    signals,
    removal: { kind: "runtime" },
    id: "box",
    argv: ["runc", "box"],
    again: { path: "/usr/bin/runc", args: ["runc"] },
    debug: false,
    ...more(kernel),
  });
  const end = () => {
    monitor[Symbol.dispose]();
    signals[Symbol.dispose]();
  };
  return { kernel, monitor, end };
}

const inherited = () => ({ kind: "inherited" }) as const;

/** The descriptors that a program would inherit from us, beside the streams. */
function passedOn(host: FakeHost): readonly string[] {
  return [...host.self.descriptors].filter(([fd, { cloexec }]) => fd > 2 && !cloexec).map(([, { file }]) => file.label);
}

Deno.test("the program becomes the monitor, with its descriptors and words; nothing is left without it", () => {
  withHost((host) => {
    const { monitor, end } = monitorOf(host, inherited);
    let seen: unknown;
    const replace: typeof fexecve = (_, program, argv, environment) => {
      const { label, seals } = host.self.file(program.number).inode!;
      seen = { label, seals, argv, environment, passedOn: passedOn(host).toSorted() };
      return -Errno.ENOMEM;
    };
    const error = assertThrows(() => monitor.become({ environment: ["A=1"], replace }), RuncError);
    assertEquals(error.message, "execve(runc-monitor): cannot allocate memory");
    assertEquals(seen, {
      label: "runc-monitor",
      seals: 15,
      argv: ["runc", "box"],
      environment: ["A=1"],
      passedOn: ["pipe, read end", "signalfd"],
    });
    assertEquals(passedOn(host), [], "the program goes on, and other children get nothing");
    end();
    assertEquals(host.openFiles, []);
  });
});

Deno.test("the monitor of a container of its own keeps the state directory open", () => {
  withHost((host) => {
    host.fs.put("/run/runc/box", directory());
    const removal = { kind: "directories", cgroups: ["/sys/fs/cgroup/memory/box"], state: "/run/runc/box" } as const;
    const { end } = monitorOf(host, inherited, () => ({ removal }));
    assertEquals(host.openFiles.some((file) => file.endsWith(": /run/runc/box")), true);
    end();
    assertEquals(host.openFiles, []);
    assertThrows(
      () => monitorOf(host, inherited, () => ({ removal: { ...removal, state: "/none" } })),
      RuncError,
      'open("/none"): no such file or directory',
    );
  });
});

Deno.test("our ends of the process's pipes do not block; its streams are used as they are", () => {
  withHost((host) => {
    const ends = (["write", "read", "read"] as const).map((side) => new PipeEnd(new Pipe(), side, `their ${side} end`));
    const { end } = monitorOf(host, (kernel) => {
      const [stdin, stdout, stderr] = ends.map((each) => new Fd(kernel, host.self.open(each), each.label));
      return { kind: "pipes", stdin: stdin!, stdout: stdout!, stderr: stderr! };
    });
    assertEquals(ends.map(({ isNonblocking }) => isNonblocking), [true, true, true]);
    assertEquals([0, 1, 2].map((fd) => host.self.file(fd).isNonblocking), [false, false, false], "the caller's too");
    end();
  });
});

Deno.test("a terminal is kept open by its other end", () => {
  withHost((host) => {
    const [theirs, master] = ["tty", "master"].map((label) => new Terminal(label, new Inode(0))) as [
      Terminal,
      Terminal,
    ];
    const { end, kernel } = monitorOf(host, (kernel) => ({
      kind: "terminal",
      master: new Fd(kernel, host.self.open(master), "master"),
      host: new HostTerminal(kernel, new Fd(kernel, host.self.open(theirs), "tty")),
    }));
    assertEquals(master.isNonblocking, true);
    assertEquals(host.openFiles.some((file) => file.endsWith(": slave")), true);
    void kernel;
    end();
  });
});

Deno.test("a notify socket goes on to the monitor", () => {
  withHost((host) => {
    host.fs.put("/state", directory());
    const { monitor, end } = monitorOf(host, inherited, (kernel) => ({
      notify: new NotifyProxy(kernel, { directory: "/state", hostSocket: "/run/notify", log: () => {} }),
    }));
    let seen: readonly string[] = [];
    const replace: typeof fexecve = () => {
      seen = passedOn(host);
      return -Errno.EACCES;
    };
    assertThrows(() => monitor.become({ environment: [], replace }), RuncError);
    assertEquals(seen.includes("socket"), true);
    end();
  });
});

Deno.test("signals that were read but not reported are there again for the monitor", () => {
  withHost((host) => {
    const { kernel } = runtimeOn(host).runtime;
    using signals = new SignalPipe(kernel);
    const reader = host.self.file(signals.fd) as PipeEnd;
    reader.pipe.pieces.push(new Uint8Array([17, 28]));
    signals.check();
    assertEquals(reader.pipe.length, 0);
    signals.holdBack();
    assertEquals(reader.pipe.pieces, [new Uint8Array([17, 28])]);
    assertEquals(caughtSignals.includes(17), true);
  });
});
