import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../../lib/errors.ts";
import { Errno } from "../../../../../lib/ffi/errno.ts";
import type { ProcessHandle } from "../../../../../lib/libcontainer/container/container_process.ts";
import type { ExecOptions } from "../../../../../lib/libcontainer/container/exec/planning.ts";
import type { ContainerHandle } from "../../../../../lib/libcontainer/container/handle.ts";
import type { SeccompFilter } from "../../../../../lib/libcontainer/seccomp/filter.ts";
import { seccompActions } from "../../../../../lib/libcontainer/seccomp/names.ts";
import { HEADER_SIZE } from "../../../../../lib/plan/native/format.ts";
import { bpfFilter } from "../../../host/filters.ts";
import { createOn, type Creating, type Logged, runtimeOn } from "../../../host/containers.ts";
import { type FakeHost, Server } from "../../../host/host.ts";
import { PlainFile } from "../../../host/open_files.ts";
import { file } from "../../../host/file_system.ts";
import { type Conduct, stageOf } from "../../../host/stage.ts";
import { withHost } from "../../../host/with_host.ts";

interface Running {
  readonly container: ContainerHandle;
  readonly logged: Logged;
  /** What is there before the exec. */
  readonly before: readonly string[];
}

function running(host: FakeHost, creating?: Creating): Running {
  const logged = runtimeOn(host);
  const { container, process } = createOn(host, logged, creating);
  process[Symbol.dispose]();
  logged.wait(container.start());
  host.goOn();
  logged.log.length = 0;
  return { container, logged, before: found(host) };
}

function found(host: FakeHost): readonly string[] {
  return [...host.openFiles, ...host.others.map(({ pid }) => `process ${pid}`)];
}

const sleep = { args: ["sleep", "1"], cwd: "/", user: { uid: 0, gid: 0 } };

function exec(
  host: FakeHost,
  { container, logged }: Running,
  { conduct, ...options }: Partial<ExecOptions> & { readonly conduct?: Conduct } = {},
): ProcessHandle {
  host.stage = stageOf({ isExec: true, name: "sleep", ...conduct });
  return logged.wait(container.exec({ process: sleep, stdio: [0, 1, 2], ...options }));
}

Deno.test("exec starts a process, which ends with its code", () => {
  withHost((host) => {
    const box = running(host);
    const pids: number[] = [];
    const process = exec(host, box, {
      onProcess: (pid) => pids.push(pid),
      conduct: {
        // deno-lint-ignore require-yield
        *program() {
          return 7;
        },
      },
    });
    assertEquals(pids, [process.pid]);
    assertEquals(box.logged.wait(process.wait()), { code: 7 });
    assertEquals(process.hasEnded, true);
    process[Symbol.dispose]();
    assertEquals(found(host), box.before);
  });
});

Deno.test("a process can be signalled, and aborted", () => {
  withHost((host) => {
    const box = running(host);
    using process = exec(host, box);
    assertEquals(process.signal(10), 0);
    assertEquals(host.process(process.pid)!.signals, [10]);
    box.logged.wait(process.start());
    box.logged.wait(process.abort());
    assertEquals(host.process(process.pid), undefined, "it is reaped");
    assertEquals(process.signal(9), -Errno.ESRCH);
  });
});

interface Failing {
  readonly name: string;
  readonly prepare?: (host: FakeHost, box: Running) => void;
  readonly conduct?: Conduct;
  readonly options?: Partial<ExecOptions>;
  readonly message: string | RegExp;
  readonly fields?: Partial<Pick<RuncError, "code" | "field" | "hint" | "errnoName">>;
}

const failures: readonly Failing[] = [
  {
    name: "the container has stopped",
    prepare: (host, { container }) => host.process(container.pid)!.end({ code: 0 }),
    message: "cannot exec in a stopped container",
    fields: { code: "container-state" },
  },
  {
    name: "the container is paused",
    prepare: (_, { container, logged }) => logged.wait(container.pause()),
    message: "cannot exec in a paused container (use --ignore-paused to override)",
    fields: { code: "container-state" },
  },
  {
    name: "the stage ends",
    conduct: { stageDies: { code: 4 } },
    message: "unable to start container process: stage ended before it was ready: exit status 4",
    fields: { code: "step-failed" },
  },
  {
    name: "the command does not exist",
    conduct: { atCreated: (init) => init.report("error", HEADER_SIZE, Errno.ENOENT) },
    message: /^unable to start container process: /,
    fields: { errnoName: "ENOENT" },
  },
  {
    name: "the process is invalid",
    options: { process: { ...sleep, cwd: "relative" } },
    message: "Cwd must be an absolute path",
    fields: { code: "config-invalid" },
  },
  {
    name: "a sub-cgroup does not exist",
    options: { subCgroups: { memory: "below" } },
    message: /error adding pid \d+ to cgroups: open \/sys\/fs\/cgroup\/memory\/box\/below\/cgroup.procs: no such file/,
    fields: { errnoName: "ENOENT", hint: "create the cgroup first: exec --cgroup only joins existing cgroups" },
  },
  {
    name: "a filter is given, and none is asked for",
    options: { seccomp: bpfFilter() },
    message: "a seccomp filter was given, and linux.seccomp asks for none",
    fields: { code: "usage", field: "/linux/seccomp" },
  },
  {
    name: "the caller's callback fails",
    options: {
      onProcess: () => {
        throw new RuncError("usage", "the caller's");
      },
    },
    message: "unable to start container process: the caller's",
  },
];

for (const { name, prepare, conduct, options, message, fields = {} } of failures) {
  Deno.test(`exec leaves nothing where ${name}`, () => {
    withHost((host) => {
      const box = running(host);
      prepare?.(host, box);
      const error = assertThrows(() => exec(host, box, { conduct, ...options }), RuncError);
      if (typeof message === "string") assertEquals(error.message, message);
      else assertEquals(message.test(error.message), true, error.message);
      const seen = Object.keys(fields).map((key) => [key, error[key as keyof typeof fields]]);
      assertEquals(Object.fromEntries(seen), fields);
      assertEquals(found(host), box.before);
    });
  });
}

Deno.test("another process that has init's pid by now is not entered", () => {
  withHost((host) => {
    const box = running(host);
    const path = `/proc/${box.container.pid}/ns/ipc`;
    host.before(`open ${path}`, () => host.process(box.container.pid)!.startTime++);
    const error = assertThrows(() => exec(host, box), RuncError, "cannot exec in a stopped container");
    assertEquals(error.step, "check that these are of the container's init");
    assertEquals(found(host), box.before);
  });
});

Deno.test("a plan of an exec makes nothing", () => {
  withHost((host) => {
    const box = running(host);
    host.stage = undefined;
    const planned = box.logged.wait(box.container.planExec({ process: sleep }));
    assertEquals(planned.parent.at(-1)!.label, "log");
    assertEquals(planned.cgroup.paths, box.container.cgroupPaths);
    assertEquals(planned.process.capabilities === undefined, false, "the container's");
    assertEquals(found(host), box.before);
  });
});

Deno.test("a paused container takes a process if the caller asks for it", () => {
  withHost((host) => {
    const box = running(host);
    box.logged.wait(box.container.pause());
    using process = exec(host, box, { ignorePaused: true });
    assertEquals(host.process(process.pid)!.hasEnded, false);
  });
});

Deno.test("a process that the kernel has killed for lack of memory: the error says so", () => {
  withHost((host) => {
    const box = running(host);
    const atCreated: Conduct["atCreated"] = (init) => {
      host.fs.get("/sys/fs/cgroup/memory/box/memory.oom_control").write!("oom_kill 1\n");
      init.process.end({ signal: 9 });
    };
    const error = assertThrows(() => exec(host, box, { conduct: { atCreated } }), RuncError);
    assertEquals(/\(possibly OOM-killed\)$/.test(error.message), true, error.message);
    assertEquals(found(host), box.before);
  });
});

Deno.test("with a user namespace, the parent moves the stage into the cgroups", () => {
  withHost((host) => {
    const box = running(host, {
      change: (config) => {
        config.linux.namespaces.push({ type: "user" } as typeof config.linux.namespaces[number]);
        config.linux.uidMappings = [{ containerID: 0, hostID: 5000, size: 10 }];
        config.linux.gidMappings = [{ containerID: 0, hostID: 6000, size: 10 }];
      },
      conduct: { userNamespace: true },
    });
    using process = exec(host, box);
    assertEquals(box.container.processes().includes(process.pid), true);
    host.refuse("open /sys/fs/cgroup/memory/box/cgroup.procs", Errno.EBUSY);
    const error = assertThrows(() => exec(host, box), RuncError);
    assertEquals(error.code, "cgroup-failed");
  });
});

Deno.test("processes() tells what it wanted to know where the cgroup cannot be read", () => {
  withHost((host) => {
    const box = running(host);
    host.refuse("open /sys/fs/cgroup/devices/box/cgroup.procs", Errno.EACCES);
    const error = assertThrows(() => box.container.processes(), RuncError);
    assertEquals(/^unable to get all container pids: read .*: permission denied$/.test(error.message), true);
  });
});

Deno.test("the initial CPU affinity is logged in runc's words", () => {
  withHost((host) => {
    const box = running(host);
    using _ = exec(host, box, { process: { ...sleep, execCPUAffinity: { initial: "0-1" } } });
    assertEquals(box.logged.log.some((line) => line.startsWith("debug: nsexec of box: affinity: ")), true);
  });
});

/** A profile whose listener goes to an agent at /run/agent. */
const notifying: SeccompFilter = bpfFilter({
  syscalls: [{ name: "mkdir", action: seccompActions.SCMP_ACT_NOTIFY, errnoRet: null, args: null }],
  listener_path: "/run/agent",
  listener_metadata: "meta",
});

/** linux.seccomp for {@link notifying}. */
const seccompConfig: NonNullable<Creating["change"]> = (config) => {
  config.process.noNewPrivileges = false;
  config.linux.seccomp = {
    defaultAction: "SCMP_ACT_ALLOW",
    syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_NOTIFY" }],
    listenerPath: "/run/agent",
    listenerMetadata: "meta",
  } as typeof config.linux.seccomp;
};

/** Gives init the descriptor of a listener. */
const withListener: Conduct = {
  listener: 50,
  atCreated: () => {},
  requests: function* (init) {
    yield () => true;
    init.process.descriptors.set(50, { file: new PlainFile(file(), "listener").retain(), cloexec: true });
  },
};

Deno.test("the agent gets the seccomp listener with the state of the container", () => {
  withHost((host) => {
    const agent = host.listen(
      "/run/agent",
      new Server(({ fds }) => {
        assertEquals(fds.map(({ label }) => label), ["listener"]);
        fds.forEach((each) => each.release());
      }),
    );
    const box = running(host, { change: seccompConfig, conduct: withListener, options: { seccomp: notifying } });
    const [message] = agent.texts.map((text) => JSON.parse(text));
    const { pid } = box.container;
    const state = { ociVersion: "1.3.0", id: "box", status: "creating", pid, bundle: "/bundle" };
    assertEquals(message, { ociVersion: "1.3.0", fds: ["seccompFd"], pid, metadata: "meta", state });
  });
});

Deno.test("without the agent, a container with a listener is not created", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    const creating = { change: seccompConfig, conduct: withListener, options: { seccomp: notifying } };
    const error = assertThrows(() => createOn(host, logged, creating), RuncError);
    assertEquals([error.code, error.field, error.hint], [
      "host-lacks",
      "/linux/seccomp/listenerPath",
      "check that the agent is running",
    ]);
    assertEquals(found(host), []);
  });
});

Deno.test("a container is not created without the filter of its config", () => {
  withHost((host) => {
    const error = assertThrows(() => createOn(host, runtimeOn(host), { change: seccompConfig }), RuncError);
    assertEquals(error.message, "linux.seccomp asks for a filter, and none was given: compileSeccomp makes it");
  });
});
