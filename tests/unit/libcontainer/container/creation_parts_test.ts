/** What only some containers need: hooks inside, devices, copies, groups of Intel RDT, the other executor. */

import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { FileType } from "../../../../lib/ffi/constants.ts";
import { Errno } from "../../../../lib/ffi/errno.ts";
import { seccompActions } from "../../../../lib/libcontainer/seccomp/names.ts";
import { ContainerHandle } from "../../../../lib/libcontainer/container/handle.ts";
import { bpfFilter } from "../../host/filters.ts";
import { createOn, type Creating, leftovers, plainConfig, runtimeOn } from "../../host/containers.ts";
import { directory, type FakeHost, file } from "../../host/host.ts";
import { PlainFile } from "../../host/open_files.ts";
import type { Conduct, Speaker } from "../../host/stage.ts";
import { networkOf } from "../../host/network.ts";
import { withHost } from "../../host/with_host.ts";

const insideHooks: NonNullable<Creating["change"]> = (config) => {
  config.hooks = {
    createContainer: [{ path: "/bin/create" }],
    startContainer: [{ path: "/bin/start" }],
  } as typeof config.hooks;
};

/** The files among init's descriptors that hooks read or print to. */
function hookFiles(init: Speaker): PlainFile[] {
  return [...init.process.descriptors.values()].map(({ file }) => file)
    .filter((file): file is PlainFile => file instanceof PlainFile && file.node.isDirectory === false);
}

Deno.test("hooks in the container read its state, and what they print is logged", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    let states: unknown;
    const requests: Conduct["requests"] = function* (init) {
      yield () => true;
      const files = hookFiles(init);
      states = files.flatMap(({ node }) => node.seals === 0 || node.label !== "state" ? [] : [JSON.parse(node.text)]);
      files.find(({ node }) => node.label === "hook stdout")!.write(new TextEncoder().encode("printed"));
    };
    const { process, container } = createOn(host, logged, { change: insideHooks, conduct: { requests } });
    using _ = process;
    const state = { ociVersion: "1.3.0", id: "box", pid: 1, bundle: "/bundle" };
    assertEquals(states, [{ ...state, status: "creating" }, { ...state, status: "created" }]);
    assertEquals(logged.log.includes("debug: hooks in the container: stdout: printed, stderr: "), true);
    assertEquals(container.pid > 0, true);
  });
});

Deno.test("network devices move while init waits", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    networkOf(host, host.self.namespaces.get("net")!).set("eth9", { index: 3, isUp: true, addresses: [] });
    const change: Creating["change"] = (config) => void (config.linux.netDevices = { eth9: { name: "net0" } });
    const { process, container } = createOn(host, logged, { change, conduct: { network: true } });
    using _ = process;
    const there = host.process(container.pid)!.namespaces.get("net")!;
    assertEquals([...networkOf(host, there).keys()], ["net0"]);
  });
});

const copyUp: NonNullable<Creating["change"]> = (config) => {
  config.mounts = [
    ...config.mounts,
    {
      destination: "/var",
      type: "tmpfs",
      source: "tmpfs",
      options: ["tmpcopyup"],
    } as typeof config.mounts[number],
  ];
};

/** Init asks for a copy of /from to /to, and copies the content of files itself. */
const copying = (number: number, errno = 0): Conduct => ({
  requests: function* (init: Speaker) {
    const { fs } = init.host;
    const fds = ["/from", "/to"].map((path) => new PlainFile(fs.get(path), path, true));
    init.say("copyUp", number, { fds });
    for (;;) {
      const [from, to] = (yield* init.await()).map((each) => each as PlainFile);
      if (from === undefined) break;
      to!.write(from.read(1 << 20));
      init.say("copied", -errno);
    }
  },
});

/** The number of the mount that {@link copyUp} adds: behind those of the default config. */
const lastMount = (host: FakeHost): number => plainConfig(host).mounts!.length;

Deno.test("with tmpcopyup, the parent makes the tree and init copies the contents", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    host.fs.put("/from/a/b", "content").mode = FileType.S_IFREG | 0o640;
    host.fs.put("/from/c", "more");
    host.fs.put("/to", directory());
    using _ = createOn(host, logged, { change: copyUp, conduct: copying(lastMount(host)) }).process;
    assertEquals(host.fs.paths("/to"), ["/to/a", "/to/a/b", "/to/c"]);
    assertEquals([host.fs.get("/to/a/b").text, host.fs.get("/to/c").text], ["content", "more"]);
  });
});

Deno.test("a copy that fails is an error of the mount", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    host.fs.put("/from/a", "content");
    host.fs.put("/to", directory());
    const creating = { change: copyUp, conduct: copying(lastMount(host), Errno.ENOSPC) };
    const error = assertThrows(() => createOn(host, logged, creating), RuncError);
    assertEquals(/tmpcopyup: failed to copy: sendfile of "a": no space left on device$/.test(error.message), true);
    assertEquals(leftovers(host), []);
  });
});

Deno.test("a device's directory is made where it is missing", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    const root = host.fs.put("/bundle/rootfs", directory());
    const change: Creating["change"] = (config) => {
      config.linux.devices = [{ path: "/dev/deep/null", type: "c", major: 1, minor: 3 } as never];
    };
    const requests: Conduct["requests"] = function* (init) {
      init.say("target", 0x1000000, { fds: [new PlainFile(root, "root", true)] });
      yield* init.await();
    };
    using _ = createOn(host, logged, { change, conduct: { requests } }).process;
    assertEquals(host.fs.get("/bundle/rootfs/dev/deep").isDirectory, true);
  });
});

/** A host with resctrl. */
function resctrl(host: FakeHost): void {
  const top = host.fs.put("/sys/fs/resctrl", directory());
  top.magic = 0x7655821;
  host.fs.put("/sys/fs/resctrl/info/L3", directory());
  host.fs.put("/sys/fs/resctrl/info/last_cmd_status", "ok\n");
  top.onMake = (made) => {
    const files = { tasks: file("", () => {}), schemata: file("L3:0=ff\n") };
    for (const [name, node] of Object.entries(files)) made.add(name, node);
    made.mayRemove = () => true;
  };
}

const rdt: NonNullable<Creating["change"]> = (config) => {
  config.linux.intelRdt = { l3CacheSchema: "L3:0=f" } as typeof config.linux.intelRdt;
};

Deno.test("with Intel RDT, a group has the schemas, which update changes; delete removes it", () => {
  withHost((host) => {
    resctrl(host);
    const logged = runtimeOn(host);
    createOn(host, logged, { change: rdt }).process[Symbol.dispose]();
    const container = ContainerHandle.load(logged.runtime, "box");
    const schemata = host.fs.get("/sys/fs/resctrl/box/schemata");
    assertEquals([schemata.text, container.rdtGroup?.path], ["L3:0=f\n", "/sys/fs/resctrl/box"]);
    logged.wait(container.update({}, { l3CacheSchema: "L3:0=3" }));
    assertEquals(schemata.text, "L3:0=3\n");
    schemata.write = () => host.check("schemata");
    host.refuse("schemata", Errno.EINVAL);
    assertThrows(() => logged.wait(container.update({}, { l3CacheSchema: "L3:0=1" })), RuncError, "invalid argument");
    assertEquals(logged.log.some((line) => line.includes("Setting back intelrdt configs failed")), true);
    host.refusals.clear();
    logged.wait(container.delete());
    assertEquals(host.fs.find("/sys/fs/resctrl/box"), undefined);
  });
});

Deno.test("a refused schema is an error, and the group is removed", () => {
  withHost((host) => {
    resctrl(host);
    host.refuse("open /sys/fs/resctrl/box/schemata", Errno.EINVAL);
    const error = assertThrows(() => createOn(host, runtimeOn(host), { change: rdt }), RuncError);
    assertEquals([error.code, error.field], ["cgroup-failed", "/linux/intelRdt"]);
    assertEquals(/last_cmd_status: ok$/.test(error.message), true);
    assertEquals([host.fs.find("/sys/fs/resctrl/box"), leftovers(host)], [undefined, []]);
  });
});

Deno.test("a process of an exec enters the container's group", () => {
  withHost((host) => {
    resctrl(host);
    const logged = runtimeOn(host);
    const { process, container } = createOn(host, logged, { change: rdt });
    process[Symbol.dispose]();
    logged.wait(container.start());
    const written: string[] = [];
    host.fs.get("/sys/fs/resctrl/box/tasks").write = (text) => void written.push(text);
    const asked = { args: ["sh"], cwd: "/", user: { uid: 0, gid: 0 } };
    host.refuse("execve", Errno.ENOENT);
    assertThrows(() => logged.wait(container.exec({ process: asked, stdio: [0, 1, 2] })), RuncError);
    host.refusals.clear();
    host.refuse("open /sys/fs/resctrl/box/tasks", Errno.ESRCH);
    const error = assertThrows(() => logged.wait(container.exec({ process: asked, stdio: [0, 1, 2] })), RuncError);
    assertEquals(/error adding pid \d+ to Intel RDT: intelrdt: unable to add pid \d+: /.test(error.message), true);
  });
});

Deno.test("the executor in JavaScript: the stage gets our binary and the image", () => {
  withHost((host) => {
    host.fs.put("/usr/bin/deno", "binary");
    const logged = runtimeOn(host, { executor: "deno", reexec: { path: "/usr/bin/deno", args: ["run", "main.ts"] } });
    let files: readonly string[] = [];
    const requests: Conduct["requests"] = function* (init) {
      yield () => true;
      files = [...init.process.descriptors.values()].map(({ file }) => file.label);
    };
    using _ = createOn(host, logged, { conduct: { requests } }).process;
    assertEquals([files.includes("a mount"), files.includes("memfd:runc-init")], [true, true]);
    assertEquals(logged.log.some((line) => line.endsWith("our binary is behind a read-only mount of its own")), true);
  });
});

Deno.test("where close_range is refused, other descriptors are close-on-exec during the start", () => {
  withHost((host) => {
    host.isFiltered = true;
    host.refuse("close_range", Errno.ENOSYS);
    const kept = host.self.open(new PlainFile(file(), "the caller's"), { cloexec: false });
    const logged = runtimeOn(host);
    let given: readonly string[] = [];
    const requests: Conduct["requests"] = function* (init) {
      yield () => true;
      given = [...init.process.descriptors.values()].map(({ file }) => file.label);
    };
    using _ = createOn(host, logged, { conduct: { requests } }).process;
    assertEquals(given.includes("the caller's"), false);
    assertEquals(host.self.descriptors.get(kept)!.cloexec, false, "it is inherited again");
  });
});

Deno.test("with a filter, it is checked that init has become its program", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    const change: Creating["change"] = (config) => {
      config.linux.seccomp = { defaultAction: "SCMP_ACT_ALLOW" } as typeof config.linux.seccomp;
    };
    const options = { startBy: "parent", seccomp: bpfFilter() } as const;
    const { process } = createOn(host, logged, { change, options });
    using _ = process;
    logged.wait(process.start());
    assertEquals(host.process(process.pid)!.name, "sleep");
  });
});

Deno.test("without new privileges, the filter and its listener come after the start", () => {
  withHost((host) => {
    const agent = host.listen("/run/agent");
    const logged = runtimeOn(host);
    const change: Creating["change"] = (config) => {
      config.process.noNewPrivileges = true;
      config.linux.seccomp = {
        defaultAction: "SCMP_ACT_ALLOW",
        syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_NOTIFY" }],
        listenerPath: "/run/agent",
      } as typeof config.linux.seccomp;
    };
    const notify = { name: "mkdir", action: seccompActions.SCMP_ACT_NOTIFY, errnoRet: null, args: null };
    const seccomp = bpfFilter({ syscalls: [notify], listener_path: "/run/agent" });
    const requests: Conduct["requests"] = function* (init) {
      yield () => true;
      init.process.descriptors.set(50, { file: new PlainFile(file(), "listener").retain(), cloexec: true });
    };
    const { process } = createOn(host, logged, {
      change,
      conduct: { lateListener: 50, requests },
      options: { startBy: "parent", seccomp },
    });
    using _ = process;
    assertEquals(agent.texts, []);
    logged.wait(process.start());
    assertEquals(agent.texts.map((text) => JSON.parse(text).pid), [process.pid]);
  });
});

Deno.test("without cgroups for a user and without a pid namespace, the container is made with a warning", () => {
  withHost((host) => {
    const logged = runtimeOn(host, { rootlessCgroups: true });
    const change: Creating["change"] = (config) => {
      config.linux.cgroupsPath = "";
      config.linux.namespaces = [
        ...config.linux.namespaces.filter(({ type }) => type !== "pid"),
        { type: "user" } as never,
      ];
      config.linux.uidMappings = [{ containerID: 0, hostID: 1000, size: 1 }];
      config.linux.gidMappings = [{ containerID: 0, hostID: 1000, size: 1 }];
      config.linux.resources = {} as never;
      config.mounts = config.mounts.filter(({ type }) => type !== "devpts");
    };
    using _ = createOn(host, logged, { change, conduct: { userNamespace: true, cgroup: undefined } }).process;
    const warnings = logged.log.filter((line) => line.startsWith("warning"));
    assertEquals(warnings.length, 1, warnings.join("\n"));
    assertEquals(warnings[0]!.startsWith("warning: Creating a rootless container with no cgroup and no private"), true);
  }, { uid: 1000 });
});

Deno.test("descriptors that the caller passes on reach the process, and the sockets are the caller's", () => {
  withHost((host) => {
    const fd = host.self.open(new PlainFile(file(), "passed"), { cloexec: false, least: 3 });
    assertEquals(fd, 3);
    const logged = runtimeOn(host);
    let third: string | undefined;
    const requests: Conduct["requests"] = function* (init) {
      yield () => true;
      third = init.process.file(3).label;
    };
    using _ = createOn(host, logged, { conduct: { requests }, options: { inheritedFds: 1, listenFds: 1 } }).process;
    assertEquals(third, "passed");
  });
});
