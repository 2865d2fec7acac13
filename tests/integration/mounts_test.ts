/** The mounts of config.json, as the container's own /proc/self/mountinfo shows them. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { type Box, type Change, comparing, everyone, type TestConfig, withUserNamespace } from "./harness.ts";
import { cgroupsNamed, mounts, mountsOf } from "./leftovers.ts";

/** What mountinfo says of each mount, without the numbers that differ from container to container. proc(5) */
function mountinfo(box: Box, change?: Change): string[] {
  return box.plain(box.sh("cat /proc/self/mountinfo", change)).trimEnd().split("\n").map((line) => {
    const [before = "", after = ""] = line.split(" - ");
    const [, , , root, place, options, ...propagation] = before.split(" ");
    return [root, place, options, ...propagation.map((tag) => tag.replace(/:\d+/, "")), "-", after].join(" ");
  });
}

/** What mountinfo says of the mount on `place`; undefined where there is none. */
function mountOn(box: Box, place: string, change: Change): string | undefined {
  return mountinfo(box, change).findLast((line) => line.split(" ")[1] === place);
}

const withMount = (mount: TestConfig["mounts"][number]): Change => (config) => {
  config.root.readonly = false;
  config.mounts.push(mount);
};

/** A bind mount of a directory of the host with a file in it. */
function bindOf(box: Box, options: readonly string[], destination = "/mnt"): Change {
  Deno.mkdirSync(`${box.directory}/data`, { recursive: true });
  Deno.writeTextFileSync(`${box.directory}/data/file`, "data\n");
  return withMount({ destination, type: "bind", source: `${box.directory}/data`, options: [...options] });
}

// --- the usual mounts ----------------------------------------------------------------------------------------------------

comparing("the usual mounts are those of Debian's runc, in every field", (box) => {
  // runc 1.1.5 does not limit the file system that masks directories.
  return mountinfo(box).map((line) => line.replace(" tmpfs tmpfs ro,size=4k,nr_inodes=1", " tmpfs tmpfs ro"));
}, everyone);

comparing("a cgroup namespace of its own shows the container's cgroup as the root", (box) => {
  const own = (config: TestConfig) => void config.linux.namespaces.push({ type: "cgroup" });
  const seen = box.sh("cat /proc/self/cgroup", own);
  assertEquals(new Set(seen.trimEnd().split("\n").map((line) => line.split(":")[2])), new Set(["/"]));
  return mountinfo(box, own).filter((line) => line.includes("/sys/fs/cgroup"));
}, everyone);

comparing("the directory of the hierarchies has the mode of what it lies on, as every directory in it", (box) => {
  const look = "stat -c '%a %u %g %n' /sys/fs/cgroup /sys/fs/cgroup/*";
  const on =
    (...mounts: { destination: string; type: string; source: string; options?: string[] }[]): Change => (config) => {
      config.mounts = [...config.mounts.filter(({ destination }) => !destination.startsWith("/sys")), ...mounts];
    };
  const sys = { destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", "ro"] };
  const cgroup = {
    destination: "/sys/fs/cgroup",
    type: "cgroup",
    source: "cgroup",
    options: ["nosuid", "noexec", "nodev"],
  };
  const usual = box.sh(look);
  assertMatch(usual, /^555 0 0 \/sys\/fs\/cgroup\n/);
  const writable = box.sh(look, on(sys, cgroup));
  const bare = box.sh(look, (config) => {
    on(cgroup)(config);
    config.root.readonly = false;
  });
  assertMatch(bare, /^755 0 0 \/sys\/fs\/cgroup\n/);
  return { usual, writable, bare };
}, everyone);

comparing("the container sees its own cgroup and cannot change it", (box) => {
  const seen = box.sh(`exec 2>&1
    while read -r pid; do echo $pid; done < /sys/fs/cgroup/pids/cgroup.procs
    mkdir /sys/fs/cgroup/pids/new; echo 1 > /sys/fs/cgroup/pids/pids.max; true`);
  const refused = [
    "mkdir: can't create directory '/sys/fs/cgroup/pids/new'",
    "sh: can't create /sys/fs/cgroup/pids/pids.max",
  ]
    .map((what) => `${what}: Read-only file system\n`);
  assertEquals(seen, `1\n${refused.join("")}`);
}, everyone);

comparing("the host's mounts do not change", (box) => {
  const before = mountsOf(box.name);
  const seen = box.startSleeping();
  assertEquals(mountsOf(box.name), before);
  assertEquals(mounts(seen).some(({ place }) => place.includes("old")), false);
  box.remove();
}, everyone);

// --- bind mounts ---------------------------------------------------------------------------------------------------------

comparing("a directory is bound, at a place that is made for it", (box) => {
  const seen = box.sh("cat /mnt/deep/file; stat -c '%a %u %F' /mnt", bindOf(box, ["bind"], "/mnt/deep"));
  assertEquals(seen, "data\n755 0 directory\n");
}, everyone);

comparing("a file is bound, over one that is made for it", (box) => {
  Deno.writeTextFileSync(`${box.directory}/file`, "text\n");
  const mount = { destination: "/new/file", type: "bind", source: `${box.directory}/file`, options: ["bind", "ro"] };
  assertEquals(
    box.sh("cat /new/file; touch /new/file 2>/dev/null || echo refused", withMount(mount)),
    "text\nrefused\n",
  );
  assertEquals(Deno.readTextFileSync(`${box.rootfs}/new/file`), "");
}, everyone);

comparing("a relative source starts at the bundle", (box) => {
  Deno.mkdirSync(`${box.bundle}/data`);
  Deno.writeTextFileSync(`${box.bundle}/data/file`, "bundle\n");
  const mount = { destination: "/mnt", type: "bind", source: "data", options: ["bind"] };
  assertEquals(box.sh("cat /mnt/file", withMount(mount)), "bundle\n");
}, everyone);

const bindOptions: readonly (readonly string[])[] = [
  ["bind"],
  ["rbind"],
  ["bind", "ro"],
  ["bind", "nosuid", "nodev", "noexec"],
  ["bind", "noatime"],
  ["bind", "strictatime"],
  ["bind", "nodiratime"],
  ["bind", "ro", "rw"],
  ["bind", "private"],
  ["bind", "shared"],
  ["bind", "slave"],
  ["rbind", "rprivate"],
  ["rbind", "rslave"],
  ["bind", "unbindable"],
];
for (const options of bindOptions) {
  comparing(`a bind mount with ${options.join(",")} is as Debian's runc makes it`, (box) => {
    const seen = mountOn(box, "/mnt", bindOf(box, options));
    assertStringIncludes(seen ?? "none", " /mnt ");
    return seen;
  }, everyone);
}

const effects: readonly [fact: string, options: string[], script: string, seen: string][] = [
  ["ro: nothing can be written", ["ro"], "touch /mnt/new 2>&1", "touch: /mnt/new: Read-only file system\n"],
  ["noexec: nothing can be executed", ["noexec"], "/mnt/program 2>&1", "sh: /mnt/program: Permission denied\n"],
  [
    "nodev: no device can be opened",
    ["nodev"],
    "cat /mnt/null 2>&1",
    "cat: can't open '/mnt/null': Permission denied\n",
  ],
  [
    "nosymfollow: no symlink is followed",
    ["nosymfollow"],
    "cat /mnt/link 2>&1",
    "cat: can't open '/mnt/link': Too many levels of symbolic links\n",
  ],
];
for (const [fact, options, script, expected] of effects) {
  comparing(`a bind mount with ${fact}`, (box) => {
    const change = bindOf(box, ["bind", ...options]);
    Deno.writeTextFileSync(`${box.directory}/data/program`, "#!/bin/sh\necho runs\n", { mode: 0o755 });
    Deno.symlinkSync("file", `${box.directory}/data/link`);
    new Deno.Command("mknod", { args: ["-m", "666", `${box.directory}/data/null`, "c", "1", "3"] }).outputSync();
    assertEquals(box.sh(`${script}; true`, change), expected);
  });
}

comparing("nosuid: a setuid program gives nothing", (box) => {
  const change = bindOf(box, ["bind", "nosuid"]);
  Deno.copyFileSync("/usr/bin/busybox", `${box.directory}/data/id`);
  Deno.chmodSync(`${box.directory}/data/id`, 0o4755);
  const asUser: Change = (config) => {
    change(config);
    config.process.user = { uid: 1000, gid: 1000 };
    config.process.noNewPrivileges = false;
  };
  assertEquals(box.sh("/mnt/id -u", asUser), "1000\n");
}, everyone);

comparing("what is mounted below a bound directory comes along with rbind only", (box) => {
  const below = (options: string[]): Change => (config) => {
    config.mounts.push({ destination: "/mnt", type: "bind", source: "/sys/fs", options });
    config.root.readonly = false;
  };
  const count = (options: string[]) =>
    mountinfo(box, below(options)).filter((line) => line.split(" ")[1]!.startsWith("/mnt")).length;
  assertEquals(count(["bind"]), 1);
  assertEquals(count(["rbind"]), mounts().filter(({ place }) => place.startsWith("/sys/fs/")).length + 1);
}, everyone);

for (const [propagation, arrives] of [["rslave", true], ["rprivate", false]] as const) {
  comparing(
    `a mount that the host makes later ${arrives ? "arrives" : "does not arrive"} in an ${propagation} bind mount`,
    (box) => {
      const change = bindOf(box, ["rbind", propagation]);
      const data = `${box.directory}/data`;
      mountOnHost(["--bind", data, data]);
      mountOnHost(["--make-shared", data]);
      Deno.mkdirSync(`${data}/later`);
      const pid = box.startSleeping(change);
      mountOnHost(["-t", "tmpfs", "tmpfs", `${data}/later`]);
      const seen = mounts(pid).some(({ place }) => place === "/mnt/later");
      box.remove();
      for (const path of [`${data}/later`, data]) new Deno.Command("umount", { args: [path] }).outputSync();
      assertEquals(seen, arrives);
    },
    everyone,
  );
}

/** A tree of two file systems on the host, at `data` and below it, as long as `body` runs. Their options are restrictive. */
function withTree(box: Box, body: (change: (options: readonly string[]) => Change) => void): void {
  const data = `${box.directory}/data`;
  Deno.mkdirSync(data);
  const restricted = "ro,nosuid,nodev,noexec,noatime,nodiratime";
  mountOnHost(["-t", "tmpfs", "-o", "mode=755", "tmpfs", data]);
  Deno.mkdirSync(`${data}/below`);
  mountOnHost(["-t", "tmpfs", "-o", restricted, "tmpfs", `${data}/below`]);
  mountOnHost(["-o", `remount,bind,${restricted}`, data]);
  try {
    body((options) => withMount({ destination: "/mnt", type: "bind", source: data, options: ["rbind", ...options] }));
  } finally {
    for (const path of [`${data}/below`, data]) new Deno.Command("umount", { args: [path] }).outputSync();
  }
}

/** The options of the mount itself, as mountinfo shows them. */
const optionsOn = (box: Box, place: string, change: Change) => mountOn(box, place, change)?.split(" ")[2];

const all = "ro,nosuid,nodev,noexec,noatime,nodiratime";
/** What a bind mount of such a mount has, and what the one below it has. */
const clearings: readonly [options: readonly string[], top: string, below: string][] = [
  [[], all, all],
  // An option that is named says that all of them are meant; access times are kept where none is named.
  [["rw"], "rw,noatime,nodiratime", all],
  [["suid"], "rw,noatime,nodiratime", all],
  [["dev", "nosuid"], "rw,nosuid,noatime,nodiratime", all],
  [["exec", "ro"], "ro,noatime,nodiratime", all],
  [["atime"], "rw,noatime,nodiratime", all],
  [["relatime"], "rw,relatime", all],
  [["strictatime"], "rw", all],
  [["diratime", "noatime"], "rw,noatime", all],
  [["nodiratime"], "rw,nodiratime,relatime", all],
  [["noatime", "strictatime"], "rw", all],
  [["symfollow", "nodev"], "rw,nodev,noatime,nodiratime", all],
  // Of the tree one by one.
  [["rrw"], "rw,nosuid,nodev,noexec,noatime,nodiratime", "rw,nosuid,nodev,noexec,noatime,nodiratime"],
  [["rsuid", "rdev"], "ro,noexec,noatime,nodiratime", "ro,noexec,noatime,nodiratime"],
  [["rexec", "rdiratime"], "ro,nosuid,nodev,noatime", "ro,nosuid,nodev,noatime"],
  [["rrelatime"], "ro,nosuid,nodev,noexec,nodiratime,relatime", "ro,nosuid,nodev,noexec,nodiratime,relatime"],
  [
    ["ratime", "rsymfollow"],
    "ro,nosuid,nodev,noexec,nodiratime,relatime",
    "ro,nosuid,nodev,noexec,nodiratime,relatime",
  ],
  [["rstrictatime"], "ro,nosuid,nodev,noexec,nodiratime", "ro,nosuid,nodev,noexec,nodiratime"],
  [["rnosymfollow"], `${all},nosymfollow`, `${all},nosymfollow`],
  // Both at once: first the mount, then the tree.
  [["rw", "rro"], "ro,noatime,nodiratime", all],
];
comparing("options of bind mounts set and clear what they say, for the mount or for the tree", (box) => {
  withTree(box, (bindTree) => {
    for (const [options, top, below] of clearings) {
      const seen = mountinfo(box, bindTree(options));
      const of = (place: string) => seen.findLast((line) => line.split(" ")[1] === place)?.split(" ")[2];
      assertEquals([of("/mnt"), of("/mnt/below")], [top, below], options.join());
    }
  });
});

comparing("remount changes a bind mount that an earlier entry made, in a user namespace too", (box) => {
  for (const within of [() => {}, withUserNamespace()]) {
    const seen = mountinfo(box, (config) => {
      bindOf(box, ["bind", "nosuid"])(config);
      config.mounts.push({ destination: "/mnt", options: ["bind", "remount", "ro", "nodev"] });
      within(config);
    }).filter((line) => line.split(" ")[1] === "/mnt").map((line) => line.split(" ")[2]);
    // In a user namespace the host's own way to tell access times stays.
    assertEquals(seen, ["ro,nodev,relatime"]);
  }
  const { msg } = box.runRefused(bindOf(box, ["bind", "remount", "ro"], "/home"));
  assertMatch(msg, /error mounting .* to rootfs at "\/home": .*invalid argument/);
});

comparing("where a user namespace has to keep an option, what is named is refused and the rest is done", (box) => {
  Deno.mkdirSync(`${box.rootfs}/mnt`);
  withTree(box, (bindTree) => {
    const within = (options: readonly string[]): Change => (config) => {
      bindTree(options)(config);
      withUserNamespace()(config);
    };
    assertEquals(optionsOn(box, "/mnt", within(["nosuid"])), all);
    assertEquals(optionsOn(box, "/mnt", within(["ro", "symfollow"])), all);
    assertEquals(optionsOn(box, "/mnt", within(["noatime", "nodiratime"])), all);
    for (
      const [option, message] of [
        ["rw", /cannot clear locked flags MS_RDONLY: operation not permitted/],
        ["suid", /cannot clear locked flags MS_NOSUID/],
        ["dev", /cannot clear locked flags MS_NODEV/],
        ["exec", /cannot clear locked flags MS_NOEXEC/],
        ["strictatime", /cannot change locked atime flags/],
        ["relatime", /cannot change locked atime flags/],
        ["rrw", /failed to set recursive vfs flags: operation not permitted/],
      ] as const
    ) {
      assertMatch(box.runRefused(within([option])).msg, message, option);
    }
  });
});

comparing(
  "a directory that only the host's root may enter gets a directory as its place in a user namespace",
  (box) => {
    Deno.mkdirSync(`${box.directory}/closed`, { mode: 0o700 });
    Deno.mkdirSync(`${box.rootfs}/mnt`);
    const seen = box.sh("stat -c '%F %a' /mnt/new; ls /mnt/new 2>&1; true", (config) => {
      withMount({ destination: "/mnt/new", source: `${box.directory}/closed`, options: ["bind"] })(config);
      config.mounts.splice(-1, 0, { destination: "/mnt", type: "tmpfs", source: "tmpfs" });
      withUserNamespace()(config);
    });
    assertEquals(seen, "directory 700\nls: can't open '/mnt/new': Permission denied\n");
  },
);

function mountOnHost(args: string[]): void {
  assertEquals(new Deno.Command("mount", { args }).outputSync().code, 0, `mount ${args.join(" ")}`);
}

const rootPropagations: readonly [propagation: string, tag: string][] = [
  ["private", ""],
  ["rprivate", ""],
  ["slave", ""],
  ["rslave", ""],
  ["shared", "shared "],
  ["rshared", "shared "],
  ["unbindable", "unbindable "],
];
for (const [propagation, tag] of rootPropagations) {
  comparing(`with rootfsPropagation ${propagation} mountinfo calls the root "${tag}"`, (box) => {
    const seen = mountOn(box, "/", (config) => config.linux.rootfsPropagation = propagation);
    assertMatch(seen!, new RegExp(`^<directory>/bundle/rootfs / \\S+ ${tag}- `));
  });
}

// --- file systems --------------------------------------------------------------------------------------------------------

const tmpfsOptions: readonly (readonly string[])[] = [
  [],
  ["size=64k"],
  ["mode=1770", "uid=1000", "gid=5"],
  ["nosuid", "nodev", "noexec", "nr_inodes=50"],
  ["ro"],
  ["sync", "dirsync"],
  ["sync", "async", "iversion", "noiversion"],
  ["mand", "nomand", "silent", "loud"],
  ["noatime", "nodiratime"],
  ["strictatime"],
  ["relatime", "shared"],
  ["slave", "noexec"],
];
for (const options of tmpfsOptions) {
  comparing(`a tmpfs with ${options.join(",") || "no options"} is as Debian's runc makes it`, (box) => {
    const mount = { destination: "/mnt", type: "tmpfs", source: "tmpfs", options: [...options] };
    return mountOn(box, "/mnt", withMount(mount));
  }, everyone);
}

comparing("a tmpfs has the mode and owner that its options say, also where its place exists", (box) => {
  Deno.mkdirSync(`${box.rootfs}/mnt`);
  const mount = { destination: "/mnt", type: "tmpfs", source: "tmpfs", options: ["mode=1770", "uid=1000", "gid=5"] };
  assertEquals(box.sh("stat -c '%a %u %g' /mnt", withMount(mount)), "1770 1000 5\n");
});

comparing("a tmpfs takes the mode of the directory that it covers", (box) => {
  Deno.mkdirSync(`${box.rootfs}/covered`);
  Deno.chmodSync(`${box.rootfs}/covered`, 0o2751);
  const mount = { destination: "/covered", type: "tmpfs", source: "tmpfs" };
  assertEquals(box.sh("stat -c %a /covered", withMount(mount)), "2751\n");
}, everyone);

comparing("later mounts are made inside a read-only tmpfs", (box) => {
  const seen = box.sh("ls -A /mnt; touch /mnt/x 2>&1; true", (config) => {
    bindOf(box, ["bind"], "/mnt/inner")(config);
    config.mounts.splice(-1, 0, { destination: "/mnt", type: "tmpfs", source: "tmpfs", options: ["ro"] });
  });
  assertEquals(seen, "inner\ntouch: /mnt/x: Read-only file system\n");
}, everyone);

comparing("defaults is an option that says nothing, lazytime and nosymfollow are known", (box) => {
  const options = ["defaults", "lazytime", "nosymfollow", "size=64k"];
  const seen = mountOn(box, "/mnt", withMount({ destination: "/mnt", type: "tmpfs", source: "tmpfs", options }));
  assertMatch(seen!, / \/mnt rw,relatime,nosymfollow - tmpfs tmpfs rw,lazytime,size=64k/);
});

comparing("what is mounted on /dev is read-only when the nodes are in it", (box) => {
  const seen = box.sh("ls /dev; touch /dev/new 2>&1; grep -c ' /dev ramfs ro' /proc/mounts", (config) => {
    config.mounts = config.mounts.filter(({ destination }) => !destination.startsWith("/dev"));
    config.mounts.push({ destination: "/dev", type: "ramfs", source: "ramfs", options: ["ro"] });
  });
  assertStringIncludes(seen, "null\nptmx\n");
  assertStringIncludes(seen, "touch: /dev/new: Read-only file system\n1\n");
  return seen;
}, everyone);

comparing("a tmpfs that a hook's child goes on writing to cannot be made read-only, after five tries", (box) => {
  const { msg, field, errno, hint } = box.runRefused((config) => {
    config.mounts.push({ destination: "/mnt", type: "tmpfs", source: "tmpfs", options: ["ro"] });
    config.root.readonly = false;
    config.hooks = {
      createContainer: [{
        path: "/usr/bin/perl",
        args: ["perl", "-e", "open(F, '>', 'mnt/file') or die; fork or sleep 1000"],
      }],
    };
  });
  assertMatch(msg, /unable to mount \/mnt as readonly max retries reached$/);
  assertEquals([field, errno, hint], ["/mounts/7/options", "EBUSY", "a process has a file in there open for writing"]);
});

comparing("mounts are made in the config's order: a later one covers an earlier one", (box) => {
  const seen = box.sh("ls /mnt", (config) => {
    bindOf(box, ["bind"])(config);
    config.mounts.push({ destination: "/mnt", type: "tmpfs", source: "tmpfs" });
  });
  assertEquals(seen, "");
}, everyone);

comparing("mqueue is the container's own", (box) => {
  assertEquals(box.sh("touch /dev/mqueue/queue; ls /dev/mqueue"), "queue\n");
  assertEquals(box.sh("ls /dev/mqueue"), "");
}, everyone);

comparing("sysfs is that of the container's network namespace", (box) => {
  assertEquals(box.sh("ls /sys/class/net"), "lo\n");
}, everyone);

// --- places --------------------------------------------------------------------------------------------------------------

/** A directory of the host, and a file in it, that a symlink of the rootfs names. */
function makeTrap(box: Box): string {
  const trap = `${box.directory}/trap`;
  Deno.mkdirSync(trap);
  Deno.writeTextFileSync(`${trap}/file`, "host\n");
  return trap;
}

/** Nothing was made in the trap, nothing written to it. */
function assertUntouched(trap: string): void {
  assertEquals([...Deno.readDirSync(trap)].map(({ name }) => name), ["file"]);
  assertEquals(Deno.readTextFileSync(`${trap}/file`), "host\n");
}

for (const [kind, up] of [["an absolute", ""], ["a relative", "../../../../../../../../.."]] as const) {
  comparing(`a directory's place behind ${kind} symlink out of the rootfs is found inside`, (box) => {
    const trap = makeTrap(box);
    Deno.mkdirSync(`${box.rootfs}${trap}`, { recursive: true });
    Deno.symlinkSync(`${up}${trap}`, `${box.rootfs}/link`);
    assertEquals(box.sh(`cat /link/new/file ${trap}/new/file`, bindOf(box, ["bind"], "/link/new")), "data\ndata\n");
    assertUntouched(trap);
  }, everyone);

  comparing(`a file's place that is ${kind} symlink out of the rootfs is found inside`, (box) => {
    const trap = makeTrap(box);
    Deno.mkdirSync(`${box.rootfs}${trap}`, { recursive: true });
    Deno.writeTextFileSync(`${box.rootfs}${trap}/file`, "inside\n");
    Deno.symlinkSync(`${up}${trap}/file`, `${box.rootfs}/link`);
    Deno.writeTextFileSync(`${box.directory}/bound`, "bound\n");
    const mount = { destination: "/link", type: "bind", source: `${box.directory}/bound`, options: ["bind"] };
    assertEquals(box.sh(`cat /link ${trap}/file`, withMount(mount)), "bound\nbound\n");
    assertUntouched(trap);
  }, everyone);

  comparing(`what ${kind} dangling symlink out of the rootfs leads to is made inside`, (box) => {
    const trap = makeTrap(box);
    Deno.symlinkSync(`${up}${trap}/new`, `${box.rootfs}/link`);
    assertEquals(box.sh(`cat ${trap}/new/file`, bindOf(box, ["bind"], "/link")), "data\n");
    Deno.removeSync(`${box.rootfs}${trap}`, { recursive: true });
    const seen = box.sh(
      `cd ${trap}; cat new/deep/file; stat -c '%a %u %F' new new/deep .`,
      bindOf(box, ["bind"], "/link/deep"),
    );
    assertEquals(seen.split("\n")[0], "data");
    assertUntouched(trap);
    return seen;
  }, everyone);
}

/** Symlinks of the rootfs that lead to nothing, a place, and where that is. */
const danglings: readonly [
  fact: string,
  links: readonly [name: string, target: string][],
  place: string,
  real: string,
][] = [
  ["the last component", [["/etc/hosts", "/run/hosts"]], "/etc/hosts", "/run/hosts"],
  ["one in the middle", [["/jump", "/run/foo/bar"]], "/jump/baz/hosts", "/run/foo/bar/baz/hosts"],
  [
    "one that leads to another",
    [["/jump", "/run/foo/bar"], ["/etc/hosts", "/jump/baz/hosts"]],
    "/etc/hosts",
    "/run/foo/bar/baz/hosts",
  ],
  ["a relative one", [["/etc/hosts", "../run/./a/hosts"]], "/etc/hosts", "/run/a/hosts"],
  ["one that climbs above the root", [["/etc/hosts", "../../../../run/hosts"]], "/etc/hosts", "/run/hosts"],
];
for (const [fact, links, place, real] of danglings) {
  for (const kind of ["file", "directory"] as const) {
    comparing(`the place of a ${kind} behind a dangling symlink is made: ${fact}`, (box) => {
      for (const [name, target] of links) Deno.symlinkSync(target, `${box.rootfs}${name}`);
      Deno.mkdirSync(`${box.directory}/data`);
      for (const name of ["file", "data/file"]) Deno.writeTextFileSync(`${box.directory}/${name}`, "bound\n");
      const source = kind === "file" ? `${box.directory}/file` : `${box.directory}/data`;
      const mount = { destination: place, type: "bind", source, options: ["bind"] };
      const inside = kind === "file" ? "" : "/file";
      assertEquals(box.sh(`cat ${place}${inside} ${real}${inside}`, withMount(mount)), "bound\nbound\n");
      return Deno.lstatSync(`${box.rootfs}${real}`).isFile;
    }, everyone);
  }
}

comparing(
  "a tmpfs is mounted behind a dangling symlink, and what is made for it belongs to the container's root",
  (box) => {
    Deno.symlinkSync("/run/made", `${box.rootfs}/link`);
    new Deno.Command("chown", { args: ["-h", "100000:100000", box.rootfs] }).outputSync();
    const seen = box.sh("stat -f -c %T /link; stat -c '%a %u %g' /run", (config) => {
      withMount({ destination: "/link/deep", type: "tmpfs", source: "tmpfs" })(config);
      withUserNamespace()(config);
    });
    assertEquals(seen.split("\n")[1], "755 0 0");
  },
);

comparing("in a user namespace a dangling symlink may lead into a file system that belongs to it", (box) => {
  Deno.mkdirSync(`${box.rootfs}/run`);
  Deno.symlinkSync("/run/made/hosts", `${box.rootfs}/etc/hosts`);
  Deno.writeTextFileSync(`${box.directory}/bound`, "bound\n");
  const seen = box.sh("cat /etc/hosts; stat -c '%a %u %g' /run/made", (config) => {
    withUserNamespace()(config);
    config.mounts.push(
      { destination: "/run", type: "tmpfs", source: "tmpfs", options: ["mode=755"] },
      { destination: "/etc/hosts", type: "bind", source: `${box.directory}/bound`, options: ["bind"] },
    );
  });
  assertEquals(seen, "bound\n755 0 0\n");
});

comparing("a place behind a symlink that leads to itself is refused", (box) => {
  Deno.symlinkSync("/loop", `${box.rootfs}/loop`);
  const { field, msg } = box.runRefused(bindOf(box, ["bind"], "/loop/x"));
  assertEquals(field, "/mounts/7");
  assertMatch(msg, /too many levels of symbolic links/);
});

comparing("a place behind a symlink that leads to the root itself is refused", (box) => {
  Deno.symlinkSync("/", `${box.rootfs}/link`);
  for (const type of ["tmpfs", "bind"]) {
    const change = type === "bind"
      ? bindOf(box, ["bind"], "/link")
      : withMount({ destination: "/link", type, source: type });
    const { field, msg } = box.runRefused(change);
    assertEquals(field, "/mounts/7");
    assertMatch(msg, /mountpoint "\/link" is on the top of rootfs/);
  }
});

// --- crun's options for symlinks -----------------------------------------------------------------------------------------

comparing("copy-symlink: a source that is a symlink is made again, any other is mounted", (box) => {
  const change = bindOf(box, ["bind", "copy-symlink"], "/mnt/data");
  Deno.symlinkSync("/etc/passwd", `${box.directory}/link`);
  const source = `${box.directory}/link`;
  const seen = box.sh("cat /mnt/data/file; readlink /new/link; grep -c /new /proc/self/mountinfo; true", (config) => {
    change(config);
    config.mounts.push({ destination: "/new/link", type: "bind", source, options: ["bind", "copy-symlink"] });
  });
  assertEquals(seen, "data\n/etc/passwd\n0\n");
  const again: Change = (config) => {
    config.mounts.push({ destination: "/new/link", type: "bind", source, options: ["bind", "copy-symlink"] });
  };
  // The one that was made.
  assertEquals(box.sh("readlink /new/link", again), "/etc/passwd\n");
  Deno.removeSync(`${box.rootfs}/new/link`);
  Deno.symlinkSync("/etc/shadow-", `${box.rootfs}/new/link`);
  assertMatch(box.runRefused(again).msg, /"\/new\/link" is there already and is a symlink to somewhere else$/);
  Deno.removeSync(`${box.rootfs}/new/link`);
  Deno.writeTextFileSync(`${box.rootfs}/new/link`, "");
  assertMatch(box.runRefused(again).msg, /"\/new\/link" is there already and is no symlink$/);
  const both = bindOf(box, ["bind", "copy-symlink", "src-nofollow"]);
  assertMatch(box.runRefused(both).msg, /copy-symlink goes with neither src-nofollow nor dest-nofollow/);
});

comparing("src-nofollow and dest-nofollow: a symlink is mounted over a symlink", (box) => {
  Deno.symlinkSync("/etc/passwd", `${box.directory}/link`);
  Deno.symlinkSync("/etc/group", `${box.rootfs}/link`);
  const options = ["bind", "src-nofollow", "dest-nofollow"];
  const seen = box.sh(
    "readlink /link",
    withMount({ destination: "/link", type: "bind", source: `${box.directory}/link`, options }),
  );
  assertEquals(seen, "/etc/passwd\n");
});

// --- tmpcopyup -----------------------------------------------------------------------------------------------------------

comparing("tmpcopyup: a tmpfs begins with what it covers, in every type, mode and owner", (box) => {
  const covered = `${box.rootfs}/covered`;
  Deno.mkdirSync(`${covered}/deep/er`, { recursive: true });
  Deno.writeTextFileSync(`${covered}/deep/file`, "x".repeat(100_000));
  Deno.writeTextFileSync(`${covered}/deep/er/setuid`, "y", { mode: 0o644 });
  Deno.chownSync(`${covered}/deep/er/setuid`, 1000, 5);
  Deno.chmodSync(`${covered}/deep/er/setuid`, 0o4711);
  Deno.chmodSync(`${covered}/deep`, 0o1730);
  Deno.chmodSync(covered, 0o2751);
  Deno.symlinkSync("/etc/passwd", `${covered}/link`);
  Deno.symlinkSync("nowhere", `${covered}/deep/dangling`);
  for (const [name, ...numbers] of [["null", "c", "1", "3"], ["fifo", "p"]]) {
    assertEquals(new Deno.Command("mknod", { args: [`${covered}/${name}`, ...numbers] }).outputSync().code, 0);
  }
  const names = "covered/deep covered/deep/* covered/deep/er/* covered/fifo covered/link covered/null";
  const list = `cd /; stat -c '%n %F %a %u %g %s %t:%T' ${names} | sort; readlink covered/link; stat -c %a covered`;
  const seen = box.sh(
    `${list}; echo new > covered/deep/file; cat covered/deep/file`,
    withMount({
      destination: "/covered",
      type: "tmpfs",
      source: "tmpfs",
      options: ["tmpcopyup", "nosuid", "size=1m"],
    }),
  );
  assertStringIncludes(seen, "covered/deep/er/setuid regular file 4711 1000 5 1 0:0\n");
  assertStringIncludes(seen, "covered/null character special file ");
  assertEquals(Deno.statSync(`${covered}/deep/file`).size, 100_000);
  // The tmpfs's directories have sizes of its own; runc 1.1.5 does not keep the mode of what is covered.
  return seen.replace(/(directory .*) \d+ (0:0)/g, "$1 $2");
});

comparing("tmpcopyup: the tmpfs has the options that are asked for", (box) => {
  Deno.mkdirSync(`${box.rootfs}/covered`);
  const options = ["tmpcopyup", "ro", "nosuid", "nodev", "noexec", "size=64k", "mode=1770"];
  const seen = mountOn(box, "/covered", withMount({ destination: "/covered", type: "tmpfs", source: "here", options }));
  assertMatch(seen!, /^\/ \/covered ro,nosuid,nodev,noexec,relatime - tmpfs here rw,size=64k,mode=1770/);
});

comparing("tmpcopyup: in a user namespace the files keep their owners, as it knows them", (box) => {
  Deno.mkdirSync(`${box.rootfs}/covered/deep`, { recursive: true });
  for (const [name, id] of [["one", 100000], ["two", 101000]] as const) {
    Deno.writeTextFileSync(`${box.rootfs}/covered/deep/${name}`, "", { mode: 0o600 });
    Deno.chownSync(`${box.rootfs}/covered/deep/${name}`, id, id);
  }
  Deno.chownSync(`${box.rootfs}/covered/deep`, 100000, 100000);
  const seen = box.sh(
    "cd /covered/deep; stat -c '%n %a %u %g' . one two; echo new > one; grep ' /covered ' /proc/mounts | cut -c 1-13",
    (config) => {
      withMount({ destination: "/covered", type: "tmpfs", source: "tmpfs", options: ["tmpcopyup"] })(config);
      withUserNamespace()(config);
    },
  );
  assertEquals(seen, ". 755 0 0\none 600 0 0\ntwo 600 1000 1000\ntmpfs /covered\n".replace("/covered", "/covere"));
});

comparing("tmpcopyup: a directory's symlinks lead the copy nowhere", (box) => {
  const trap = makeTrap(box);
  Deno.mkdirSync(`${box.rootfs}/covered`);
  Deno.symlinkSync(trap, `${box.rootfs}/covered/link`);
  const mount = { destination: "/covered", type: "tmpfs", source: "tmpfs", options: ["tmpcopyup"] };
  assertEquals(box.sh("readlink /covered/link; ls /covered/link 2>/dev/null; true", withMount(mount)), `${trap}\n`);
  assertUntouched(trap);
});

comparing("tmpcopyup: what the copy takes is counted as the container's memory", (box) => {
  Deno.mkdirSync(`${box.rootfs}/covered/deep`, { recursive: true });
  const size = 8 << 20;
  // An image may have it for nothing: a hole.
  Deno.truncateSync(makeFile(`${box.rootfs}/covered/deep/hole`), size);
  Deno.writeTextFileSync(`${box.rootfs}/covered/empty`, "");
  box.write(withMount({ destination: "/covered", type: "tmpfs", source: "tmpfs", options: ["tmpcopyup"] }));
  box.must(["create", box.id]);
  const directory = cgroupsNamed(box.name).find((path) => path.includes("/memory/"));
  assert(directory !== undefined, "this test is for a host with the v1 memory controller");
  const used = Number(Deno.readTextFileSync(`${directory}/memory.usage_in_bytes`));
  box.remove();
  assert(used >= size, `${used} bytes`);
});

function makeFile(path: string): string {
  Deno.writeTextFileSync(path, "");
  return path;
}

comparing("tmpcopyup: what does not fit is an error that names the file", (box) => {
  Deno.mkdirSync(`${box.rootfs}/covered/deep`, { recursive: true });
  Deno.writeTextFileSync(`${box.rootfs}/covered/deep/file`, "x".repeat(100_000));
  const options = ["tmpcopyup", "size=16k"];
  const { msg } = box.runRefused(withMount({ destination: "/covered", type: "tmpfs", source: "tmpfs", options }));
  assertMatch(
    msg,
    /error mounting "tmpfs" to rootfs at "\/covered": tmpcopyup: failed to copy: .*"deep\/file": no space left on device/,
  );
});

comparing("dots in a place end at the rootfs", (box) => {
  assertEquals(box.sh("cat /mnt/file", bindOf(box, ["bind"], "/../../../tmp/../mnt")), "data\n");
}, everyone);

// --- refusals ------------------------------------------------------------------------------------------------------------

type Refusal = readonly [fact: string, change: (box: Box) => Change, pattern: RegExp];

const refusals: readonly Refusal[] = [
  [
    "a tmpfs on /proc",
    () => withMount({ destination: "/proc", type: "tmpfs", source: "tmpfs" }),
    /"\/proc" cannot be mounted because it is not of type proc/,
  ],
  [
    "a tmpfs below /proc",
    () => withMount({ destination: "/proc/sys", type: "tmpfs", source: "tmpfs" }),
    /"\/proc\/sys" cannot be mounted because it is inside \/proc/,
  ],
  [
    "a directory bound on /proc",
    (box) => bindOf(box, ["bind"], "/proc"),
    /"\/proc" cannot be mounted because it is not of type proc/,
  ],
  [
    "a directory bound below /proc",
    (box) => bindOf(box, ["bind"], "/proc/self/attr"),
    /cannot be mounted because it is inside \/proc/,
  ],
  ["a mount below /proc by dots", (box) => bindOf(box, ["bind"], "/tmp/../proc/sys"), /inside \/proc/],
  ["a mount below /proc by a symlink", (box) => {
    Deno.symlinkSync("/proc/sys", `${box.rootfs}/link`);
    return bindOf(box, ["bind"], "/link");
  }, /inside \/proc/],
  ["a place that is the rootfs itself", (box) => bindOf(box, ["bind"], "/"), /on the top of rootfs/],
  [
    "a source that is not there",
    () => withMount({ destination: "/mnt", type: "bind", source: "/missing", options: ["bind"] }),
    /error mounting "\/missing" to rootfs at "\/mnt": .*no such file or directory/,
  ],
  [
    "a bind mount with data",
    (box) => bindOf(box, ["bind", "size=1"]),
    /bind mounts cannot have any filesystem-specific options applied/,
  ],
  [
    "a file system that the kernel does not know",
    () => withMount({ destination: "/mnt", type: "nofs", source: "x" }),
    /error mounting "x" to rootfs at "\/mnt": .*no such device/,
  ],
  [
    "an option that the file system does not know",
    () => withMount({ destination: "/mnt", type: "tmpfs", source: "x", options: ["nonsense=1"] }),
    /error mounting .*data=nonsense=1.*invalid argument/,
  ],
];
for (const [fact, change, pattern] of refusals) {
  comparing(`refused: ${fact}`, (box) => {
    const { msg, field } = box.runRefused(change(box));
    assertMatch(msg, pattern);
    assertMatch(field ?? "none", /^\/mounts\/7/);
  });
}

for (const type of ["proc", "sysfs"]) {
  const destination = type === "proc" ? "/proc" : "/sys";
  comparing(`refused: ${type} on a symlink`, (box) => {
    Deno.removeSync(`${box.rootfs}${destination}`);
    Deno.symlinkSync("/tmp", `${box.rootfs}${destination}`);
    const { msg } = box.runRefused(() => {});
    assertMatch(msg, new RegExp(`filesystem "${type}" must be mounted on ordinary directory`));
  }, everyone);
}

comparing("files of /proc that lxcfs emulates may be bound over", (box) => {
  Deno.writeTextFileSync(`${box.directory}/uptime`, "1.00 1.00\n");
  const mount = { destination: "/proc/uptime", type: "bind", source: `${box.directory}/uptime`, options: ["bind"] };
  assertEquals(box.sh("cat /proc/uptime", withMount(mount)), "1.00 1.00\n");
}, everyone);

comparing("a relative place is below the root, with a warning", (box) => {
  const { code, stdout, stderr } = box.run((config) => {
    bindOf(box, ["bind"], "mnt")(config);
    config.process.args = ["cat", "/mnt/file"];
  });
  assertEquals([code, stdout], [0, "data\n"]);
  assertMatch(stderr, /level=warning .*mnt/);
});
