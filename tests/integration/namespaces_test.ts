/** linux.namespaces: made, joined by path, and what belongs to them. */

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import type { NamespaceType } from "../../lib/specs/config.ts";
import { type Box, type Change, comparing, everyone, Running, until, withUserNamespace } from "./harness.ts";

/** The file below /proc/PID/ns of each type. namespaces(7) */
const files: Readonly<Record<NamespaceType, string>> = {
  pid: "pid",
  network: "net",
  mount: "mnt",
  ipc: "ipc",
  uts: "uts",
  cgroup: "cgroup",
  time: "time",
  user: "user",
};

/** Which namespace of each type a process of the host has. */
function namespacesOf(pid: number | "self"): Record<string, string> {
  return Object.fromEntries(
    Object.entries(files).map(([type, file]) => [type, Deno.readLinkSync(`/proc/${pid}/ns/${file}`)]),
  );
}

/** The types in which two processes differ. */
function differences(left: number | "self", right: number | "self"): string[] {
  const others = namespacesOf(right);
  return Object.entries(namespacesOf(left)).filter(([type, link]) => link !== others[type]).map(([type]) => type);
}

const withNamespaces = (...types: NamespaceType[]): Change => (config) => {
  config.linux.namespaces = types.map((type) => ({ type }));
  if (!types.includes("uts")) delete config.hostname;
};

/** Root of the container is user 100000 and group 200000 of the host. */
const mapped = withUserNamespace({ hostGid: 200_000 });

// --- made ----------------------------------------------------------------------------------------------------------------

comparing("the usual container has its own pid, network, mount, ipc and uts namespace and shares the others", (box) => {
  const pid = box.startSleeping();
  assertEquals(differences(pid, "self"), ["pid", "network", "mount", "ipc", "uts"]);
  box.remove();
}, everyone);

for (const type of ["cgroup", "time"] as const) {
  comparing(`a ${type} namespace is made where it is asked for`, (box) => {
    const pid = box.startSleeping(withNamespaces("mount", type));
    assertEquals(differences(pid, "self"), ["mount", type]);
    box.remove();
  });
}

comparing("without a pid namespace the container sees the host's processes", (box) => {
  const seen = box.sh("cat /proc/$PPID/comm; echo $$", (config) => {
    config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "pid");
  });
  assertNotEquals(seen.trimEnd().split("\n").at(-1), "1");
});

comparing("without a network namespace the container has the host's devices", (box) => {
  const seen = box.sh("ls /sys/class/net", (config) => {
    config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "network");
  });
  assertEquals(
    seen.trimEnd().split("\n").sort(),
    [...Deno.readDirSync("/sys/class/net")].map(({ name }) => name).sort(),
  );
}, everyone);

comparing(
  "without a mount namespace no mount of the host changes, with --no-pivot neither; the rootfs is one to unmount",
  (box) => {
    for (const options of [[], ["--no-pivot"]]) {
      const [before, after] = ["before", "after"].map((name) => `${box.directory}/${name}`);
      box.write((config) => {
        config.linux.namespaces = [{ type: "pid" }];
        config.mounts = [{ destination: "/proc", type: "proc", source: "proc" }];
        config.linux.maskedPaths = config.linux.readonlyPaths = [];
        delete config.hostname;
        config.process.args = ["sh", "-c", "ls -d /bin /..; cat /proc/self/stat | cut -d' ' -f1 | wc -l"];
        config.root.readonly = false;
      });
      // A mount namespace of the test's own, in case that it does.
      const commands =
        `mount --make-rshared /; cat /proc/self/mountinfo >${before}; "$@" && umount -R ${box.rootfs}; ` +
        `cat /proc/self/mountinfo >${after}`;
      const prefix = ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", commands, "sh"];
      assertEquals(box.must(["run", ...options, box.id], { prefix }), "/..\n/bin\n1\n");
      // A mount of another test goes when that removes its place.
      const mountsIn = (file: string) =>
        Deno.readTextFileSync(file).split("\n").filter((line) =>
          line.includes(box.directory) || !line.includes(" /tmp/")
        );
      assertEquals(mountsIn(after!), mountsIn(before!));
    }
  },
);

comparing("processes of the container see each other and nobody else", (box) => {
  const seen = box.sh("sleep 1000 & until grep -q sleep /proc/$!/comm; do :; done; ps -o pid,comm; kill $!");
  assertEquals(seen.trimEnd().split("\n").map((line) => line.trim().split(/ +/)[1]), ["COMMAND", "sh", "sleep", "ps"]);
}, everyone);

// --- user namespace ------------------------------------------------------------------------------------------------------

comparing("root of a user namespace is who the mappings say", (box) => {
  const pid = box.startSleeping(mapped);
  assertEquals(differences(pid, "self"), ["pid", "network", "mount", "ipc", "uts", "user"]);
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  assertMatch(status, /^Uid:\t100000\t100000\t100000\t100000$/m);
  assertMatch(status, /^Gid:\t200000\t200000\t200000\t200000$/m);
  box.remove();
  return box.sh("cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; id", mapped);
}, everyone);

comparing("the namespaces belong to the user namespace: its root may change them", (box) => {
  const seen = box.sh("hostname changed && hostname; ip link set lo down && cat /sys/class/net/lo/flags", (config) => {
    mapped(config);
    const all = ["CAP_SYS_ADMIN", "CAP_NET_ADMIN"];
    config.process.capabilities = { bounding: all, permitted: all, effective: all };
  });
  assertEquals(seen, "changed\n0x8\n");
}, everyone);

comparing("user, group and groups are ids of the user namespace", (box) => {
  const pid = box.startSleeping((config) => {
    mapped(config);
    config.process.user = { uid: 1000, gid: 1001, additionalGids: [10, 20] };
  });
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  box.remove();
  assertMatch(status, /^Uid:\t101000\t/m);
  assertMatch(status, /^Gid:\t201001\t/m);
  assertMatch(status, /^Groups:\t200010 200020 ?$/m);
}, everyone);

comparing("the usual mounts and devices are there in a user namespace", (box) => {
  return box.sh(
    "cut -d' ' -f5 /proc/self/mountinfo; ls -l /dev/null; echo x > /dev/null; head -c 3 /dev/zero | wc -c",
    mapped,
  )
    .replaceAll(/\w+ +\d+ +\d\d:\d\d/g, "<time>");
}, everyone);

comparing("standard streams belong to the container's root, so that it can open them again", (box) => {
  assertEquals(box.sh("echo out > /dev/stdout; echo err > /proc/self/fd/1", mapped), "out\nerr\n");
}, everyone);

comparing("files of the host's root belong to nobody in the user namespace, and cannot be changed", (box) => {
  const seen = box.sh("stat -c %u /bin/busybox; chmod 777 /bin/busybox 2>&1; true", (config) => {
    mapped(config);
    config.root.readonly = false;
  });
  assertEquals(seen, "65534\nchmod: /bin/busybox: Operation not permitted\n");
}, everyone);

comparing("an exec into a user namespace is root there", (box) => {
  const pid = box.startSleeping(mapped);
  const seen = box.must(["exec", box.id, "sh", "-c", "id -u; readlink /proc/self/ns/user"]);
  assertEquals(seen, `0\n${namespacesOf(pid).user}\n`);
  box.remove();
}, everyone);

// --- time ----------------------------------------------------------------------------------------------------------------

comparing("the clocks of a time namespace are ahead by the offsets", (box) => {
  const seen = box.sh("cat /proc/self/timens_offsets; cut -d. -f1 /proc/uptime", (config) => {
    config.linux.namespaces.push({ type: "time" });
    config.linux.timeOffsets = { monotonic: { secs: 86400, nanosecs: 500 }, boottime: { secs: 10_000_000 } };
  });
  assertMatch(seen, /^monotonic +86400 +500$/m);
  assertMatch(seen, /^boottime +10000000 +0$/m);
  const uptime = Number(seen.trimEnd().split("\n").at(-1));
  assert(uptime > 10_000_000, seen);
});

// --- joined by path ------------------------------------------------------------------------------------------------------

/** A process of the host with new namespaces, made by unshare(1). */
function holder(flags: readonly string[]): Running {
  const running = new Running(["/usr/bin/unshare", ...flags, "sh", "-c", "echo ready; exec sleep 1000"]);
  running.says("ready");
  return running;
}

const joins: readonly [type: NamespaceType, flag: string][] = [
  ["network", "--net"],
  ["ipc", "--ipc"],
  ["uts", "--uts"],
  ["cgroup", "--cgroup"],
  ["mount", "--mount"],
];
for (const [type, flag] of joins) {
  comparing(`a ${type} namespace is joined by path`, (box) => {
    using other = holder([flag]);
    const pid = box.startSleeping((config) => {
      config.linux.namespaces = config.linux.namespaces.filter((one) => one.type !== type);
      config.linux.namespaces.push({ type, path: `/proc/${other.pid}/ns/${files[type]}` });
    });
    assertEquals(namespacesOf(pid)[type], namespacesOf(other.pid)[type]);
    const differing = differences(pid, "self");
    box.remove();
    assert(differing.includes(type), differing.join());
    return differing;
  }, everyone);
}

/** A container that others join. Its id is `first`. */
function startFirst(box: Box, change: Change): number {
  box.write((config) => {
    config.process.args = ["sleep", "1000"];
    config.linux.cgroupsPath = `${box.cgroup}-first`;
    change(config);
  });
  box.must(["run", "--detach", "first"]);
  return box.state("first").pid;
}

comparing("a pid namespace is joined by path: both containers see each other's processes", (box) => {
  const first = startFirst(box, () => {});
  const pid = box.startSleeping((config) => {
    config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "pid");
    config.linux.namespaces.push({ type: "pid", path: `/proc/${first}/ns/pid` });
  });
  assertEquals(namespacesOf(pid).pid, namespacesOf(first).pid);
  // A pid namespace ends with its process 1, so the second goes first.
  box.remove();
  box.remove("first");
}, everyone);

comparing("a time namespace is joined by path", (box) => {
  const first = startFirst(box, (config) => {
    config.linux.namespaces.push({ type: "time" });
    config.linux.timeOffsets = { boottime: { secs: 5_000_000 } };
  });
  const pid = box.startSleeping((config) => {
    config.linux.namespaces.push({ type: "time", path: `/proc/${first}/ns/time` });
  });
  assertEquals(namespacesOf(pid).time, namespacesOf(first).time);
  assertMatch(Deno.readTextFileSync(`/proc/${pid}/timens_offsets`), /^boottime +5000000 +0$/m);
  box.remove();
  box.remove("first");
});

/** A user namespace that the test made and mapped. `more`: of other types too, as unshare(1) has them. */
function mappedHolder(more: readonly string[] = [], setgroups: "allow" | "deny" = "allow"): Running {
  // It waits for its maps; what it then does is seen from its uid.
  const running = new Running(["/usr/bin/unshare", "--user", ...more, "sh", "-c", "echo ready; exec sleep 1000"]);
  running.says("ready");
  if (setgroups === "deny") Deno.writeTextFileSync(`/proc/${running.pid}/setgroups`, "deny");
  Deno.writeTextFileSync(`/proc/${running.pid}/uid_map`, "0 100000 65536\n");
  Deno.writeTextFileSync(`/proc/${running.pid}/gid_map`, "0 200000 65536\n");
  return running;
}

comparing("a user namespace is joined by path, with its mappings", (box) => {
  using other = mappedHolder();
  const pid = box.startSleeping((config) => {
    config.linux.namespaces.push({ type: "user", path: `/proc/${other.pid}/ns/user` });
  });
  assertEquals(namespacesOf(pid).user, namespacesOf(other.pid).user);
  assertMatch(Deno.readTextFileSync(`/proc/${pid}/status`), /^Uid:\t100000\t/m);
  box.remove();
});

/** The user namespace of `pid` as the kernel shows it, and bound to a file. Runs `body` with each path. */
function byEachPath(box: Box, pid: number, body: (path: string) => void): void {
  const file = `${box.directory}/user-namespace`;
  Deno.writeTextFileSync(file, "");
  const mount = (...args: string[]) =>
    assertEquals(new Deno.Command(args[0]!, { args: args.slice(1) }).outputSync().code, 0);
  mount("mount", "--bind", `/proc/${pid}/ns/user`, file);
  try {
    for (const path of [`/proc/${pid}/ns/user`, file]) body(path);
  } finally {
    mount("umount", file);
  }
}

comparing("in a user namespace that is joined files belong to its root: stdio, places of mounts, copies", (box) => {
  using other = mappedHolder();
  Deno.mkdirSync(`${box.rootfs}/covered`);
  for (const [name, id] of [["zero", 0], ["some", 1000]] as const) {
    Deno.writeTextFileSync(`${box.rootfs}/covered/${name}`, "");
    Deno.chownSync(`${box.rootfs}/covered/${name}`, 100000 + id, 200000 + id);
  }
  // What is made in there is made by its root.
  Deno.chownSync(box.rootfs, 100000, 200000);
  byEachPath(box, other.pid, (path) => {
    Deno.symlinkSync("/made/here", `${box.rootfs}/link`);
    const join: Change = (config) => {
      config.root.readonly = false;
      config.linux.namespaces.push({ type: "user", path });
      config.mounts.push(
        { destination: "/covered", type: "tmpfs", source: "tmpfs", options: ["tmpcopyup"] },
        { destination: "/link", type: "tmpfs", source: "tmpfs", options: ["mode=755"] },
      );
    };
    const seen = box.sh("echo out > /dev/stdout; stat -c '%u %g' /covered/zero /covered/some /made", join);
    assertEquals(seen, "out\n0 0\n1000 1000\n0 0\n", path);
    box.startSleeping(join);
    assertEquals(box.must(["exec", box.id, "sh", "-c", "echo out > /dev/stdout; id -u"]), "out\n0\n", path);
    box.remove();
    Deno.removeSync(`${box.rootfs}/link`);
    Deno.removeSync(`${box.rootfs}/made`, { recursive: true });
  });
});

comparing("a user namespace that denies setgroups is joined, and the groups stay as they are", (box) => {
  using other = mappedHolder([], "deny");
  byEachPath(box, other.pid, (path) => {
    const seen = box.sh("id -u; cat /proc/self/setgroups", (config) => {
      config.linux.namespaces.push({ type: "user", path });
      config.process.user = { uid: 1000, gid: 1000, additionalGids: [10] };
    });
    assertEquals(seen, "1000\ndeny\n", path);
  });
});

comparing("mappings beside the path of a user namespace are its own, with a warning, or are refused", (box) => {
  using other = mappedHolder();
  byEachPath(box, other.pid, (path) => {
    const join = (hostUid: number) => withUserNamespace({ hostUid, hostGid: 200_000, path });
    const { code, stderr } = box.run(join(100000));
    assertEquals(code, 0, stderr);
    assertMatch(stderr, /level=warning msg="linux.uidMappings repeats what the user namespace/);
    const refused = box.runRefused(join(5000));
    assertMatch(refused.msg, /both namespace path and non-matching mapping specified/);
    assertEquals(refused.field, "/linux/uidMappings");
  });
});

comparing("namespaces are joined that belong to another user namespace than the one that is joined", (box) => {
  using user = mappedHolder();
  using others = mappedHolder(["--net", "--uts", "--ipc"]);
  using ofHost = holder(["--cgroup"]);
  const from = { network: others, uts: others, ipc: others, cgroup: ofHost, user } as const;
  const joins = Object.entries(from) as [keyof typeof from, Running][];
  const pid = box.startSleeping((config) => {
    config.linux.namespaces = joins.map(([type, { pid }]) => ({ type, path: `/proc/${pid}/ns/${files[type]}` }));
    config.linux.namespaces.push({ type: "mount" }, { type: "pid" });
    // These file systems are for those who have rights in the network and ipc namespaces.
    config.mounts = config.mounts.filter(({ type }) => type !== "sysfs" && type !== "mqueue" && type !== "cgroup");
    config.linux.maskedPaths = [];
    config.linux.readonlyPaths = [];
    delete config.hostname;
  });
  for (const [type, holder] of joins) assertEquals(namespacesOf(pid)[type], namespacesOf(holder.pid)[type], type);
  box.remove();
});

comparing("a pod: a second container joins all but the mount namespace of the first", (box) => {
  const shared = ["time", "cgroup", "pid", "network", "user", "ipc", "uts"] as const;
  const first = startFirst(box, (config) => {
    mapped(config);
    config.linux.namespaces.push({ type: "cgroup" }, { type: "time" });
    config.linux.timeOffsets = { boottime: { secs: 5_000_000 } };
  });
  const pid = box.startSleeping((config) => {
    config.linux.namespaces = [
      { type: "mount" },
      ...shared.map((type) => ({ type, path: `/proc/${first}/ns/${files[type]}` })),
    ];
  });
  assertEquals(differences(pid, first), ["mount"]);
  const seen = box.must(["exec", box.id, "sh", "-c", "id -u; cut -d. -f1 /proc/uptime"]);
  assert(Number(seen.split("\n")[1]) > 5_000_000, seen);
  box.remove();
  box.remove("first");
});

comparing("the order in which namespaces are listed does not matter", (box) => {
  const first = startFirst(box, mapped);
  for (const order of [["network", "user", "uts"], ["uts", "network", "user"]] as const) {
    const pid = box.startSleeping((config) => {
      config.linux.namespaces = order.map((type) => ({ type, path: `/proc/${first}/ns/${files[type]}` }));
      config.linux.namespaces.push({ type: "mount" }, { type: "pid" }, { type: "ipc" });
    });
    assertEquals(differences(pid, first), ["pid", "mount", "ipc"]);
    box.remove();
  }
  box.remove("first");
});

comparing("a path that is no namespace, or one of another type, is refused", (box) => {
  for (const path of ["/missing", "/etc/passwd", "/proc/self/ns/uts"]) {
    const { msg, field } = box.runRefused((config) => {
      config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "ipc");
      config.linux.namespaces.push({ type: "ipc", path });
    });
    assertMatch(msg, /namespace path|join|namespace/);
    assertMatch(field ?? "none", /^\/linux\/namespaces\/4/);
  }
});

// --- exec ----------------------------------------------------------------------------------------------------------------

comparing("an exec is in every namespace of the container, those too that it shares with nobody", (box) => {
  const pid = box.startSleeping((config) => {
    config.linux.namespaces.push({ type: "cgroup" }, { type: "time" });
  });
  box.must(["exec", "--detach", "--pid-file", `${box.directory}/pid`, box.id, "sleep", "1000"]);
  const other = Number(Deno.readTextFileSync(`${box.directory}/pid`));
  until("the exec's program", () => Deno.readTextFileSync(`/proc/${other}/comm`) === "sleep\n");
  assertEquals(differences(pid, other), []);
  box.remove();
});
