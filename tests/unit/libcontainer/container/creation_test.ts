import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { Errno } from "../../../../lib/ffi/errno.ts";
import { HEADER_SIZE } from "../../../../lib/plan/native/format.ts";
import { cgroupDirectories, type CgroupVersion } from "../../host/cgroups.ts";
import { createOn, type Creating, leftovers, runtimeOn } from "../../host/containers.ts";
import { directory, type FakeHost } from "../../host/host.ts";
import { PlainFile } from "../../host/open_files.ts";
import type { Speaker } from "../../host/stage.ts";
import type { Process, Script } from "../../host/processes.ts";
import { withHost } from "../../host/with_host.ts";

for (const cgroups of ["v1", "v2"] satisfies CgroupVersion[]) {
  Deno.test(`a created container has a state, a fifo, cgroups and a waiting process: cgroup ${cgroups}`, () => {
    withHost((host) => {
      const logged = runtimeOn(host);
      const { container, process } = createOn(host, logged);
      process[Symbol.dispose]();
      assertEquals(host.openFiles, []);
      assertEquals(host.fs.paths("/run/runc"), [
        "/run/runc/box",
        "/run/runc/box/exec.fifo",
        "/run/runc/box/resident",
        "/run/runc/box/state.json",
      ]);
      assertEquals(host.fs.get("/run/runc/box").mode & 0o777, 0o711);
      assertEquals(logged.wait(container.status()), "created");
      assertEquals(cgroupDirectories(host, "/box").length, cgroups === "v1" ? 7 : 1);
      assertEquals(host.others.map(({ pid }) => pid), [container.pid], "the stage is reaped");
      const state = JSON.parse(host.fs.get("/run/runc/box/state.json").text);
      const { id, init_process_pid: pid, init_process_start: start } = state;
      assertEquals([id, pid, start], ["box", container.pid, 600 + container.pid]);
    }, { cgroups });
  });
}

interface Failing extends Creating {
  readonly name: string;
  readonly prepare?: (host: FakeHost) => void;
  readonly error:
    & { readonly message: string | RegExp }
    & Partial<Pick<RuncError, "code" | "field" | "hint" | "errnoName">>;
}

const NOT_STARTED = "unable to start container process: ";
const IN_INIT = `${NOT_STARTED}error during container init: `;

/** A hook that ends like this, after it has written to its streams. */
function hook(code: number, output = ""): (process: Process) => Script {
  // deno-lint-ignore require-yield
  return function* (process) {
    process.file(1).write(new TextEncoder().encode(output));
    return code;
  };
}

const failures: readonly Failing[] = [
  {
    name: "the state directory cannot be made",
    prepare: (host) => host.refuse("mkdir /run/runc/box", Errno.ENOSPC),
    error: { code: "syscall-failed", errnoName: "ENOSPC", message: /mkdir\("\/run\/runc\/box"\)/ },
  },
  {
    name: "the stage cannot be executed",
    prepare: (host) => host.refuse("execve", Errno.ENOENT),
    error: {
      code: "syscall-failed",
      hint: "/proc must be mounted",
      message: `${NOT_STARTED}posix_spawn of the container's init: no such file or directory`,
    },
  },
  {
    name: "a memory file is refused",
    prepare: (host) => host.refuse("memfd_create", Errno.ENFILE),
    error: { errnoName: "ENFILE", message: /memfd_create\("runc-init"\): too many open files in system$/ },
  },
  {
    name: "a cgroup is refused",
    prepare: (host) => host.refuse("mkdir /sys/fs/cgroup/memory/box", Errno.EACCES),
    error: {
      code: "cgroup-failed",
      field: "/linux/cgroupsPath",
      message: `${NOT_STARTED}unable to apply cgroup configuration: mkdir /sys/fs/cgroup/memory/box: permission denied`,
    },
  },
  {
    name: "a limit is refused",
    change: (config) => config.linux.resources.pids = { limit: 5 },
    prepare: (host) => host.refuse("open /sys/fs/cgroup/pids/box/pids.max", Errno.EINVAL),
    error: {
      code: "cgroup-failed",
      field: "/linux/resources/pids",
      message: /error setting cgroup config for procHooks/,
    },
  },
  {
    name: "the stage exits",
    conduct: { stageDies: { code: 3 } },
    error: { code: "step-failed", message: `${IN_INIT}stage ended before it was ready: exit status 3` },
  },
  {
    name: "the stage is killed",
    conduct: { stageDies: { signal: 9 } },
    error: { message: `${IN_INIT}stage was killed: was it out of memory? (memory limit too low?)` },
  },
  {
    name: "init is ended by its seccomp filter",
    conduct: { initDies: { signal: 4 } },
    error: {
      code: "step-failed",
      hint: "linux.seccomp refuses exit_group: allow it and the other system calls that every program requires",
      message: `${IN_INIT}container init ended before it was ready: signal: illegal instruction`,
    },
  },
  {
    name: "init reports a failed call",
    conduct: { atCreated: (init: Speaker) => init.report("error", HEADER_SIZE, Errno.EPERM) },
    error: {
      code: "step-failed",
      errnoName: "EPERM",
      message: /error during container init: cannot .*: operation not/,
    },
  },
  {
    name: "init reports a place that the plan does not have",
    conduct: { atCreated: (init: Speaker) => init.report("error", 3, 1) },
    error: { code: "internal", message: `${IN_INIT}init failed at unknown instruction 3: 1` },
  },
  {
    name: "init asks for a mount that does not exist",
    conduct: {
      requests: function* (init) {
        init.say("target", 77, { fds: [init.process.file(0)] });
        yield* init.await();
      },
    },
    error: { code: "protocol", field: "/mounts/77", message: /init asked for mount 77, which does not exist$/ },
  },
  {
    name: "a limit of the process is refused",
    change: (config) => config.process.rlimits = [{ type: "RLIMIT_NOFILE", soft: 10, hard: 10 }],
    prepare: (host) => host.refuse("prlimit 7", Errno.EPERM),
    error: {
      field: "/process/rlimits/0",
      hint: "raising a hard limit requires CAP_SYS_RESOURCE",
      message: /error setting rlimits for ready process: error setting rlimit type 7: operation not permitted$/,
    },
  },
  {
    name: "a prestart hook fails",
    change: (config) => config.hooks = { prestart: [{ path: "/bin/hook" }] } as typeof config.hooks,
    prepare: (host) => host.programs.set("/bin/hook", hook(3, "no\n")),
    error: {
      code: "hook-failed",
      field: "/hooks/prestart/0",
      message: `${IN_INIT}error running prestart hook #0: exit status 3, stdout: no\n, stderr: `,
    },
  },
  {
    name: "a namespace does not exist",
    change: (config) => config.linux.namespaces.find(({ type }) => type === "ipc")!.path = "/run/ipc",
    error: {
      code: "config-invalid",
      errnoName: "ENOENT",
      message: "unable to create new parent process: namespace path: lstat /run/ipc: no such file or directory",
    },
  },
];

for (const { name, prepare, error: wanted, ...creating } of failures) {
  Deno.test(`nothing is left where ${name}`, () => {
    withHost((host) => {
      const logged = runtimeOn(host);
      prepare?.(host);
      const error = assertThrows(() => createOn(host, logged, creating), RuncError);
      const { message, ...fields } = wanted;
      if (typeof message === "string") assertEquals(error.message, message);
      else assertEquals(message.test(error.message), true, error.message);
      const found = Object.keys(fields).map((key) => [key, error[key as keyof typeof fields]]);
      assertEquals(Object.fromEntries(found), fields);
      assertEquals(leftovers(host), []);
      assertEquals(logged.log.filter((line) => line.startsWith("warning")), []);
    });
  });
}

Deno.test("a second container of the same name is refused, and the first one stays", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    using _ = createOn(host, logged).process;
    const before = leftovers(host);
    const error = assertThrows(() => createOn(host, logged), RuncError, "container with given ID already exists");
    assertEquals([error.code, error.hint], ["container-exists", "delete a stopped container with: runc delete box"]);
    assertEquals(leftovers(host), before);
  });
});

Deno.test("after a failed creation, poststop hooks run once everything is removed", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    let seen: unknown;
    host.programs.set("/bin/hook", function* (process) {
      yield () => true;
      const state = JSON.parse(new TextDecoder().decode(process.file(0).read(4096)!));
      seen = { state, left: host.fs.paths("/run/runc"), cgroups: cgroupDirectories(host, "/box") };
      return 0;
    });
    const change: Creating["change"] = (config) => {
      config.hooks = { poststop: [{ path: "/bin/hook" }] } as typeof config.hooks;
    };
    assertThrows(() => createOn(host, logged, { change, conduct: { initDies: { code: 1 } } }), RuncError);
    const state = { ociVersion: "1.3.0", id: "box", status: "stopped", bundle: "/bundle" };
    assertEquals(seen, { state, left: [], cgroups: [] });
    assertEquals(leftovers(host), []);
  });
});

Deno.test("an undo that fails is a warning, and the others still run", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    host.refuse("rmdir /sys/fs/cgroup/memory/box", Errno.EPERM);
    assertThrows(() => createOn(host, logged, { conduct: { initDies: { code: 1 } } }), RuncError, "exit status 1");
    assertEquals(
      logged.log.filter((line) => line.startsWith("warning")),
      ["warning: while cleaning up: Failed to remove paths: /sys/fs/cgroup/memory/box"],
    );
    assertEquals(leftovers(host), ["/sys/fs/cgroup/memory/box"]);
  });
});

Deno.test("if the kernel has killed a process of the cgroup, the error says so", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    const atCreated = (init: Speaker) => {
      const path = "/sys/fs/cgroup/memory/box/memory.oom_control";
      host.fs.get(path).write!("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
      init.process.end({ signal: 9 });
    };
    const error = assertThrows(() => createOn(host, logged, { conduct: { atCreated } }), RuncError);
    assertEquals(error.message, `${NOT_STARTED}container init was OOM-killed (memory limit too low?)`);
    assertEquals(error.field, "/linux/resources/memory/limit");
    assertEquals(leftovers(host), []);
  });
});

Deno.test("an exception of the caller ends the creation", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    const onProcess = () => {
      throw new TypeError("the caller's");
    };
    assertThrows(() => createOn(host, logged, { options: { onProcess } }), TypeError, "the caller's");
    assertEquals(leftovers(host), []);
  });
});

Deno.test("a user namespace gets its id maps from the parent, and the stage is moved into the cgroups", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    const change: Creating["change"] = (config) => {
      config.linux.namespaces.push({ type: "user" } as typeof config.linux.namespaces[number]);
      config.linux.uidMappings = [{ containerID: 0, hostID: 5000, size: 10 }];
      config.linux.gidMappings = [{ containerID: 0, hostID: 6000, size: 10 }];
    };
    let maps: unknown;
    const requests = function* (init: Speaker) {
      yield () => true;
      maps = ["uid_map", "gid_map"].map((name) => init.process.files.get(name));
    };
    const { process, container } = createOn(host, logged, {
      change,
      conduct: { userNamespace: true, requests, cgroup: undefined },
    });
    using _ = process;
    assertEquals(maps, ["0 5000 10\n", "0 6000 10\n"]);
    assertEquals(container.rootOwner, { uid: 5000, gid: 6000 });
    assertEquals(container.processes(), [container.pid]);
    const { uid, gid, mode } = host.fs.get("/run/runc/box/exec.fifo");
    assertEquals([uid, gid, mode & 0o777], [5000, 6000, 0o622]);
  });
});

Deno.test("init gets the home directory from the passwd that it sends", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    const passwd = ["root:x:0:0:root:/ro", "ot:/bin/sh\n", ""];
    const { process, container } = createOn(host, logged, { conduct: { passwd } });
    using _ = process;
    assertEquals(host.process(container.pid)!.files.get("home"), "/root");
  });
});

Deno.test("with a notify socket, its directory is made", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    using _ = createOn(host, logged, { options: { notify: true } }).process;
    assertEquals(host.fs.get("/run/runc/box/notify").isDirectory, true);
  });
});

Deno.test("the place of a mount that init cannot make by itself is made for it", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    host.fs.put("/bundle/rootfs", directory());
    const requests = function* (init: Speaker) {
      const root = init.host.fs.get("/bundle/rootfs");
      init.say("target", 1, { fds: [new PlainFile(root, "root")] });
      yield* init.await();
    };
    using _ = createOn(host, logged, { conduct: { requests } }).process;
    assertEquals(host.fs.get("/bundle/rootfs/dev").isDirectory, true);
  });
});
