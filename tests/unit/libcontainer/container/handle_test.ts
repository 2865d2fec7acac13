import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { Errno } from "../../../../lib/ffi/errno.ts";
import { ContainerHandle } from "../../../../lib/libcontainer/container/handle.ts";
import type { Config } from "../../../../lib/specs/config.ts";
import type { CgroupVersion } from "../../host/cgroups.ts";
import { createOn, type Creating, leftovers, type Logged, runtimeOn } from "../../host/containers.ts";
import type { FakeHost } from "../../host/host.ts";
import { withHost } from "../../host/with_host.ts";
import type { Draft } from "../fixed.ts";

/** A container of a command that has ended: only what it left is there. */
function created(host: FakeHost, creating: Creating = {}): { container: ContainerHandle; logged: Logged } {
  const logged = runtimeOn(host);
  createOn(host, logged, creating).process[Symbol.dispose]();
  host.calls.length = 0;
  logged.log.length = 0;
  return { container: ContainerHandle.load(logged.runtime, "box"), logged };
}

/** The same, running. */
function running(host: FakeHost, creating?: Creating): { container: ContainerHandle; logged: Logged } {
  const made = created(host, creating);
  made.logged.wait(made.container.start());
  return made;
}

const versions: readonly CgroupVersion[] = ["v1", "v2"];

Deno.test("start lets init execute its program, and a second start is refused", () => {
  withHost((host) => {
    const { container, logged } = created(host);
    const before: string[] = [];
    logged.wait(container.start(() => before.push(host.process(container.pid)!.name)));
    assertEquals(before, ["runc:[2:INIT]"], "the caller's turn comes first");
    host.goOn();
    assertEquals(host.process(container.pid)!.name, "sleep");
    assertEquals(logged.wait(container.status()), "running");
    assertEquals(host.fs.paths("/run/runc/box"), ["/run/runc/box/resident", "/run/runc/box/state.json"]);
    const error = assertThrows(() => logged.wait(container.start()), RuncError);
    assertEquals([error.code, error.message], ["container-state", "cannot start an already running container"]);
    assertEquals(host.openFiles, []);
  });
});

Deno.test("start of a container whose init has ended is refused", () => {
  withHost((host) => {
    const { container, logged } = created(host);
    host.process(container.pid)!.end({ code: 0 });
    const error = assertThrows(() => logged.wait(container.start()), RuncError);
    assertEquals(error.message, "cannot start a container that has stopped");
  });
});

Deno.test("state has what runc state prints; a stopped container has no pid", () => {
  withHost((host) => {
    const annotations = { one: "1" };
    const { container, logged } = created(host, { change: (config) => void (config.annotations = annotations) });
    const { created: _, ...state } = logged.wait(container.state());
    const { pid } = container;
    const known = {
      ociVersion: "1.3.0",
      id: "box",
      bundle: "/bundle",
      rootfs: "/bundle/rootfs",
      annotations,
      owner: "",
    };
    assertEquals(state, { ...known, pid, status: "created" });
    host.process(pid)!.end({ code: 0 });
    const { created: __, ...after } = logged.wait(container.state());
    // A zombie, whose status the kernel shows.
    const exit = { source: "kernel", status: 0, code: 0, oomKills: 0 } as const;
    assertEquals(after, { ...known, pid: 0, status: "stopped", exit });
    assertEquals([container.bundle, container.usesSystemd], ["/bundle", false]);
    assertEquals(container.hookState("running"), {
      ociVersion: "1.3.0",
      id: "box",
      status: "running",
      pid,
      bundle: "/bundle",
      annotations,
    });
  });
});

Deno.test("kill sends the signal to init; a stopped container is an error unless all is asked for", () => {
  withHost((host) => {
    const { container, logged } = running(host);
    const init = host.process(container.pid)!;
    logged.wait(container.kill(10));
    assertEquals(init.signals, [10]);
    logged.wait(container.kill(9));
    assertEquals([init.signals, init.ending], [[10, 9], { signal: 9 }]);
    const error = assertThrows(() => logged.wait(container.kill(10)), RuncError);
    assertEquals([error.code, error.message], ["container-state", "container not running"]);
    logged.wait(container.kill(9, { all: true }));
    assertEquals(host.openFiles, []);
  });
});

Deno.test("kill does not reach another process that has init's pid by now", () => {
  withHost((host) => {
    const { container, logged } = running(host);
    const state = JSON.parse(host.fs.get("/run/runc/box/state.json").text);
    host.fs.put("/run/runc/box/state.json", JSON.stringify({ ...state, init_process_start: 1 }));
    const later = ContainerHandle.load(logged.runtime, "box");
    assertThrows(() => logged.wait(later.kill(9)), RuncError, "container not running");
    assertEquals(host.process(container.pid)!.signals, []);
    assertEquals(host.openFiles, []);
  });
});

Deno.test("kill tells what the kernel refuses", () => {
  withHost((host) => {
    const { container, logged } = running(host);
    host.refuse("pidfd_send_signal", Errno.EPERM);
    const error = assertThrows(() => logged.wait(container.kill(9)), RuncError);
    assertEquals(error.message, "unable to signal init: operation not permitted");
  });
});

for (const cgroups of versions) {
  Deno.test(`in a shared pid namespace, SIGKILL reaches every process of the cgroup: ${cgroups}`, () => {
    withHost((host) => {
      const change = (config: Draft<Config>) => {
        config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "pid");
      };
      const { container, logged } = running(host, { change });
      const other = host.start("child", undefined, host.process(container.pid));
      assertEquals(container.processes(), [container.pid, other.pid]);
      logged.wait(container.kill(9));
      assertEquals([host.process(container.pid)!.ending, other.ending], [{ signal: 9 }, { signal: 9 }]);
    }, { cgroups });
  });

  Deno.test(`pause freezes, resume thaws, and a paused container can be killed: ${cgroups}`, () => {
    withHost((host) => {
      const { container, logged } = running(host);
      const error = assertThrows(() => logged.wait(container.resume()), RuncError);
      assertEquals([error.code, error.message], ["container-state", "container not paused"]);
      logged.wait(container.pause());
      assertEquals(logged.wait(container.status()), "paused");
      const again = assertThrows(() => logged.wait(container.pause()), RuncError);
      assertEquals([again.message, again.hint], ["container not running", "it is paused already"]);
      logged.wait(container.resume());
      assertEquals(logged.wait(container.status()), "running");
      logged.wait(container.pause());
      logged.wait(container.kill(9));
      assertEquals(host.process(container.pid)!.ending, { signal: 9 });
      assertEquals(host.openFiles, []);
    }, { cgroups });
  });

  Deno.test(`pause of a container that a kill thaws meanwhile finds that it is not running: ${cgroups}`, () => {
    withHost((host) => {
      const { container, logged } = running(host);
      const { fs } = host;
      const file = fs.find(
        cgroups === "v1" ? "/sys/fs/cgroup/freezer/box/freezer.state" : "/sys/fs/cgroup/box/cgroup.freeze",
      )!;
      const { write } = file;
      const thaw = cgroups === "v1" ? "THAWED" : "0";
      let freezes = 0;
      // The first time that it is frozen, the sender of a signal thaws it; the second time, init has ended.
      file.write = (text) => {
        write!(text);
        if (text === thaw) return;
        if (freezes++ === 0) write!(thaw);
        else host.process(container.pid)!.end({ signal: 9 });
      };
      const error = assertThrows(() => logged.wait(container.pause()), RuncError);
      assertEquals([error.code, error.message], ["container-state", "container not running"]);
      assertEquals(logged.wait(container.status()), "stopped");
    }, { cgroups });
  });

  Deno.test(`delete --force ends a paused container and removes everything: ${cgroups}`, () => {
    withHost((host) => {
      const { container, logged } = running(host);
      logged.wait(container.pause());
      const error = assertThrows(() => logged.wait(container.delete()), RuncError);
      assertEquals(
        [error.message, error.hint],
        [
          "cannot delete container box that is not stopped: paused",
          "runc kill stops it, runc delete --force does both",
        ],
      );
      logged.wait(container.delete({ force: true }));
      host.processes.delete(container.pid);
      assertEquals(leftovers(host), []);
    }, { cgroups });
  });
}

Deno.test("delete ends a container that was never started", () => {
  withHost((host) => {
    const { container, logged } = created(host);
    logged.wait(container.delete());
    assertEquals(host.process(container.pid)!.ending, { signal: 9 });
    host.processes.delete(container.pid);
    assertEquals(leftovers(host), []);
  });
});

Deno.test("delete gives an init up that does not end within ten seconds", () => {
  withHost((host) => {
    const { container, logged } = running(host);
    const before = host.nowMs;
    // Sent, and without an effect: a process in an uninterruptible sleep.
    host.signal = () => {};
    const error = assertThrows(() => logged.wait(container.delete({ force: true })), RuncError);
    assertEquals([error.code, error.message], ["container-state", "container init still running"]);
    assertEquals(host.nowMs - before >= 10_000, true);
    assertEquals(host.fs.find("/run/runc/box/state.json") !== undefined, true, "it can be deleted later");
    assertEquals(host.openFiles, []);
  });
});

Deno.test("of two deletes, the second one finds nothing; with force that is no error", () => {
  withHost((host) => {
    const { container, logged } = created(host);
    logged.wait(container.delete());
    const error = assertThrows(() => logged.wait(container.delete()), RuncError);
    assertEquals(error.code, "container-missing");
    logged.wait(container.delete({ force: true }));
    logged.wait(container.destroy());
    assertThrows(() => ContainerHandle.load(logged.runtime, "box"), RuncError, "container does not exist");
  });
});

Deno.test("delete leaves a new container of the same name alone", () => {
  withHost((host) => {
    const { container, logged } = created(host);
    const state = JSON.parse(host.fs.get("/run/runc/box/state.json").text);
    host.fs.put("/run/runc/box/state.json", JSON.stringify({ ...state, init_process_start: 1 }));
    const error = assertThrows(() => logged.wait(container.delete()), RuncError);
    assertEquals(error.code, "container-missing");
    assertEquals(host.process(container.pid)!.hasEnded, false);
    assertEquals(host.openFiles, []);
  });
});

Deno.test("the state stays where a cgroup cannot be removed", () => {
  withHost((host) => {
    const { container, logged } = created(host);
    host.refuse("rmdir /sys/fs/cgroup/memory/box", Errno.EPERM);
    const error = assertThrows(() => logged.wait(container.delete()), RuncError);
    assertEquals(
      error.message,
      "unable to remove container's cgroup: Failed to remove paths: /sys/fs/cgroup/memory/box",
    );
    assertEquals(host.fs.find("/run/runc/box/state.json") !== undefined, true);
  });
});

const hooks = (kind: "poststart" | "poststop") => (config: Draft<Config>) => {
  config.hooks = { [kind]: [{ path: "/bin/hook" }] } as typeof config.hooks;
};

Deno.test("a poststop hook that fails is a warning; the container is gone", () => {
  withHost((host) => {
    const { container, logged } = created(host, { change: hooks("poststop") });
    assertEquals(container.removal, { kind: "runtime" });
    let seen: unknown;
    host.programs.set("/bin/hook", function* (process) {
      yield () => true;
      seen = [JSON.parse(new TextDecoder().decode(process.file(0).read(999)!)).status, host.fs.paths("/run/runc")];
      return 1;
    });
    logged.wait(container.delete());
    assertEquals(seen, ["stopped", []]);
    const warning = "warning: error running poststop hook #0: exit status 1, stdout: , stderr: ";
    assertEquals(logged.log.filter((line) => line.startsWith("warning")), [warning]);
  });
});

Deno.test("if a poststart hook fails, the container is killed", () => {
  withHost((host) => {
    const { container, logged } = created(host, { change: hooks("poststart") });
    // deno-lint-ignore require-yield
    host.programs.set("/bin/hook", function* () {
      return 1;
    });
    const error = assertThrows(() => logged.wait(container.start()), RuncError);
    assertEquals([error.code, error.field], ["hook-failed", "/hooks/poststart/0"]);
    assertEquals(host.process(container.pid)!.ending, { signal: 9 });
    assertEquals(host.openFiles, []);
  });
});

Deno.test("poststart hooks read the state, and run in the bundle", () => {
  withHost((host) => {
    const { container, logged } = created(host, { change: hooks("poststart") });
    let seen: unknown;
    // deno-lint-ignore require-yield
    host.programs.set("/bin/hook", function* (process) {
      const state = JSON.parse(new TextDecoder().decode(process.file(0).read(999)!));
      seen = [state.status, state.pid, process.cwd, process.descriptors.size];
      return 0;
    });
    logged.wait(container.start());
    assertEquals(seen, ["running", container.pid, "/bundle", 3]);
    logged.wait(container.poststart());
    assertEquals(host.openFiles, []);
  });
});

Deno.test("the ids are the names of the directories", () => {
  withHost((host) => {
    const { logged, container } = created(host);
    host.fs.mkdirs("/run/runc/another");
    host.fs.put("/run/runc/file", "");
    assertEquals(ContainerHandle.ids(logged.runtime), ["another", "box"]);
    assertEquals(container.removal.kind, "directories");
    assertEquals(container.rdtGroup, undefined);
    assertEquals(container.compileSeccomp(), undefined);
    assertEquals(container.rootlessCgroups, false);
    assertEquals(Object.keys(container.cgroupPaths).length > 3, true);
  });
});

Deno.test("where a user may not use the cgroup, only init is killed, with a warning; root's is an error", () => {
  withHost((host) => {
    const change = (config: Draft<Config>) => {
      config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "pid");
    };
    const { container, logged } = running(host, { change });
    host.refuse("open /sys/fs/cgroup/devices/box/cgroup.procs", Errno.EACCES);
    const error = assertThrows(() => logged.wait(container.kill(9)), RuncError);
    assertEquals(error.message.startsWith("unable to kill all processes: "), true);
    assertEquals(host.process(container.pid)!.hasEnded, false);
    const state = JSON.parse(host.fs.get("/run/runc/box/state.json").text);
    state.config.rootless_cgroups = true;
    host.fs.put("/run/runc/box/state.json", JSON.stringify(state));
    logged.wait(ContainerHandle.load(logged.runtime, "box").kill(9));
    assertEquals(host.process(container.pid)!.ending, { signal: 9 });
    assertEquals(logged.log.some((line) => line.startsWith("warning: only the container's first process")), true);
  });
});
