import { assert, assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../../lib/errors.ts";
import type { HostFacts } from "../../../../../lib/libcontainer/config/launch_request.ts";
import { parseMounts } from "../../../../../lib/libcontainer/config/mounts.ts";
import { finishMountSteps } from "../../../../../lib/libcontainer/steps/mounts/finish.ts";
import { helpedMounts } from "../../../../../lib/libcontainer/steps/mounts/helped_mounts.ts";
import { mountSteps } from "../../../../../lib/libcontainer/steps/mounts/mounts.ts";
import type { Step } from "../../../../../lib/plan/op.ts";
import type { Mount } from "../../../../../lib/specs/config.ts";
import { allOps, callLines, callsNamed, callsOf, labels, origins, structArg, structHex } from "../../../plan_reader.ts";
import { config, facts, facts2, request } from "../../fixed.ts";

interface Around {
  readonly facts?: HostFacts;
  readonly cgroupNamespace?: boolean;
}

function steps(mounts: readonly Mount[], around: Around = {}): readonly Step[] {
  const spec = config((draft) => {
    if (around.cgroupNamespace) draft.linux.namespaces.push({ type: "cgroup", path: "" });
  });
  return mountSteps(parseMounts(mounts, request), spec, around.facts ?? facts);
}

/** The calls that put something somewhere, in order. */
const placing = (all: readonly Step[]) =>
  callLines(all).filter((line) => /^(mount|open_tree|move_mount|mount_setattr|symlinkat)\(/.test(line));

/** The 32 bytes of each `struct mount_attr`, as attr_set, attr_clr, propagation (their low words, in hex). */
const attributes = (all: readonly Step[]) =>
  callsNamed(all, "mount_setattr").map((op) => {
    const words = structHex(structArg(op, 3)).split(" ");
    const word = (index: number) => words[index]!.match(/../g)!.reverse().join("").replace(/^0+(?=.)/, "");
    assertEquals([words.length, word(1), word(3), word(5), word(6), word(7)], [8, "0", "0", "0", "0", "0"]);
    return [word(0), word(2), word(4)].join(" ");
  });

const tmpfs: Mount = { destination: "/t", type: "tmpfs", source: "tmpfs" };
const bind = (...options: readonly string[]): Mount => ({
  destination: "/in",
  source: "/out",
  options: ["bind", ...options],
});

Deno.test("mounts are made in the config's order", () => {
  const all = steps([{ ...tmpfs, destination: "/b" }, bind(), { ...tmpfs, destination: "/a" }, {
    ...tmpfs,
    destination: "/b",
  }]);
  assertEquals(origins(all), [
    ["mount tmpfs on /b", "/mounts/0"],
    ["bind /out on /in", "/mounts/1"],
    ["mount tmpfs on /a", "/mounts/2"],
    ["mount tmpfs on /b", "/mounts/3"],
  ]);
});

Deno.test("destinations are cleaned and taken below the root; one that has the rootfs's path in front of it is meant inside", () => {
  const cases: readonly [destination: string, clean: string][] = [
    ["/a/b", "/a/b"],
    ["a/b/", "/a/b"],
    ["/a//./b/../c", "/a/c"],
    ["/../../x", "/x"],
    ["/bundle/rootfs/x", "/x"],
    ["/bundle/rootfsx", "/bundle/rootfsx"],
  ];
  for (const [destination, clean] of cases) {
    assertEquals(labels(steps([{ ...tmpfs, destination }])), [`mount tmpfs on ${clean}`]);
  }
});

Deno.test("nothing can be mounted on the root itself", () => {
  for (const destination of ["/", "", ".", "/a/.."]) {
    const error = assertThrows(() => steps([{ ...tmpfs, destination }]), RuncError, "is on the top of rootfs");
    assertEquals([error.code, error.field], ["config-invalid", "/mounts/0/destination"]);
  }
});

Deno.test("no path of the rootfs is given to the kernel by name", () => {
  const all = steps([...config().mounts!, bind("rshared")]);
  for (const line of callLines(all)) {
    if (/^(mount|mkdirat|symlinkat|move_mount|mount_setattr)\(/.test(line)) {
      // Sources, types, data and links may be any text; where something is put is "." or one name below a descriptor.
      assert(!/^mount\("[^"]*", "\/|^(mkdirat|move_mount|mount_setattr)\([^,]*, "[^"]*\//.test(line), line);
    }
    if (line.startsWith("openat2(")) assert(/^openat2\(\$root, .*RESOLVE_IN_ROOT/.test(line), line);
  }
});

Deno.test("proc and sysfs are mounted where the path says, through no symlink", () => {
  const places = (mount: Mount) => callLines(steps([mount])).filter((line) => line.startsWith("openat2("));
  for (const type of ["proc", "sysfs"]) {
    const opened = places({ destination: type === "proc" ? "/proc" : "/deep/sys", type, source: type });
    assert(opened.length > 0 && opened.every((line) => line.includes("RESOLVE_NO_SYMLINKS")), type);
  }
  assert(places(tmpfs).every((line) => !line.includes("RESOLVE_NO_SYMLINKS")));
});

Deno.test("what is asked for in or instead of /proc is refused", () => {
  const allowed = ["cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo"]
    .concat(["sys/kernel/ns_last_pid", "sys/crypto/fips_enabled"]);
  const fine: readonly Mount[] = [
    { destination: "/proc", type: "proc" },
    { ...bind(), destination: "/proc" },
    { ...tmpfs, destination: "/process" },
    ...allowed.map((name) => ({ ...bind(), destination: `/proc/${name}` })),
  ];
  const refused: readonly [mount: Mount, why: string][] = [
    [{ ...tmpfs, destination: "/proc" }, "because it is not of type proc"],
    [{ destination: "/proc", type: "sysfs" }, "because it is not of type proc"],
    // The option makes a bind mount, not the type.
    [{ destination: "/proc", type: "bind", source: "/proc" }, "because it is not of type proc"],
    [{ ...tmpfs, destination: "/proc/sys" }, "because it is inside /proc"],
    [{ ...bind(), destination: "/x/../proc/self" }, "because it is inside /proc"],
    [{ ...bind(), destination: "proc/net/dev" }, "because it is inside /proc"],
    [{ ...bind(), destination: "/proc/uptime/x" }, "because it is inside /proc"],
    [{ destination: "/proc/1", type: "proc" }, "because it is inside /proc"],
  ];
  for (const mount of fine) assertEquals(steps([mount]).length, 1, mount.destination);
  for (const [mount, why] of refused) {
    const error = assertThrows(() => steps([tmpfs, mount]), RuncError, why, mount.destination);
    assertEquals(error.field, "/mounts/1/destination");
  }
});

Deno.test("a place that turns out to lie on a procfs is refused when it is open", () => {
  const failures = (mount: Mount) =>
    steps([mount]).flatMap(({ ops }) => allOps(ops)).filter((op) => op.op === "fail").map(({ why }) => why);
  for (const mount of [tmpfs, bind(), { destination: "/x", type: "mqueue" }, { destination: "/c", type: "cgroup" }]) {
    assert(failures(mount).some((why) => why.includes("because it is inside /proc")), mount.type);
  }
  assertEquals(failures({ ...bind(), destination: "/proc/uptime" }), []);
  assert(failures({ ...bind(), destination: "/proc" }).every((why) => why.includes("because it is not of type proc")));
});

Deno.test("file systems get type, source, flags and data as the config has them", () => {
  const cases: readonly [mount: Mount, call: string][] = [
    [{ destination: "/proc", type: "proc", source: "proc" }, 'mount("proc", ".", "proc", 0, NULL)'],
    [
      { destination: "/sys", type: "sysfs", options: ["ro", "nosuid"] },
      'mount("sysfs", ".", "sysfs", MS_RDONLY|MS_NOSUID, NULL)',
    ],
    [
      { destination: "/d", type: "devpts", source: "x", options: ["newinstance", "noexec", "gid=5"] },
      'mount("x", ".", "devpts", MS_NOEXEC, "newinstance,gid=5")',
    ],
    [
      { destination: "/o", type: "overlay", source: "overlay", options: ["lowerdir=/a:/b"] },
      'mount("overlay", ".", "overlay", 0, "lowerdir=/a:/b")',
    ],
    [{ destination: "/b", type: "bind", source: "/x" }, 'mount("/x", ".", "bind", 0, NULL)'],
    [{ destination: "/n" }, 'mount("", ".", "", 0, NULL)'],
  ];
  for (const [mount, call] of cases) assertEquals(placing(steps([mount])), [call]);
});

Deno.test("a tmpfs is writable until everything is made in it", () => {
  const flags = (options: readonly string[]) => placing(steps([{ ...tmpfs, options }])).at(-1);
  assertEquals(flags(["ro", "mode=755"]), 'mount("tmpfs", ".", "tmpfs", 0, "mode=755")');
  assertEquals(flags(["ro", "nosuid", "mode=755"]), 'mount("tmpfs", ".", "tmpfs", MS_NOSUID, "mode=755")');
  const later = (...mounts: readonly Mount[]) => origins(finishMountSteps(parseMounts(mounts, request)));
  assertEquals(later({ ...tmpfs, options: ["ro"] }), [["make /t read-only", "/mounts/0/options"]]);
  assertEquals(later(tmpfs, { destination: "/dev", type: "devtmpfs", options: ["ro"] }), [
    ["make /dev read-only", "/mounts/1/options"],
  ]);
  assertEquals(later(tmpfs, bind("ro"), { destination: "/sys", type: "sysfs", options: ["ro"] }), []);
});

Deno.test("whatever is mounted on /dev is writable until the nodes are made", () => {
  const dev = { destination: "/dev/", type: "ramfs", source: "ramfs", options: ["ro", "nosuid"] };
  assertEquals(placing(steps([dev])), ['mount("ramfs", ".", "ramfs", MS_NOSUID, NULL)']);
  assertEquals(placing(steps([{ ...dev, destination: "/d" }])), [
    'mount("ramfs", ".", "ramfs", MS_RDONLY|MS_NOSUID, NULL)',
  ]);
});

Deno.test("a mount with files open for writing is made read-only five times, with pauses between them", () => {
  const all = callsOf(finishMountSteps(parseMounts([{ ...tmpfs, options: ["ro"] }], request)));
  assertEquals(all.map(({ call }) => call).join(" "), `mount_setattr${" ppoll mount_setattr".repeat(4)}`);
  for (const call of all.filter(({ call }) => call === "mount_setattr").slice(0, -1)) {
    assertEquals(call.onError?.map(({ errnos }) => errnos), [["EBUSY"]]);
  }
  // struct timespec: no seconds, 100,000,000 nanoseconds.
  assertEquals(structHex(structArg(all[1]!, 2)), "00000000 00000000 00e1f505 00000000");
  assertEquals(all.at(-1)!.meaning?.EBUSY, "unable to mount /t as readonly max retries reached");
});

Deno.test("a tmpfs without a mode takes that of the directory under it", () => {
  const looks = (options: readonly string[]) =>
    callLines(steps([{ ...tmpfs, options }])).filter((line) => line.startsWith("fstat("));
  assertEquals(looks(["mode=755"]), []);
  for (const options of [["size=1k"], []]) assertEquals(looks(options), ["fstat($target, &stat)"]);
});

Deno.test("a bind mount is a copy that gets its options before it is placed", () => {
  const kinds = (mount: Mount) => placing(steps([mount])).map((line) => line.split("(")[0]);
  assertEquals(kinds(bind()), ["open_tree", "move_mount"]);
  assertEquals(kinds(bind("ro")), ["open_tree", "mount_setattr", "mount_setattr", "move_mount"]);
  assertEquals(kinds(bind("rro")), ["open_tree", "mount_setattr", "move_mount"]);
  const [copy] = placing(steps([bind()]));
  assertEquals(copy, 'open_tree(AT_FDCWD, "/out", OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC)');
  const [tree] = placing(steps([{ ...bind(), options: ["rbind"] }]));
  assertEquals(tree, 'open_tree(AT_FDCWD, "/out", OPEN_TREE_CLONE|AT_RECURSIVE|OPEN_TREE_CLOEXEC)');
});

Deno.test("bind with remount changes the mount that is there, and takes no source", () => {
  const all = steps([bind("remount", "ro", "rslave", "rnoexec")]);
  assertEquals(labels(all), ["change the options of the mount on /in"]);
  assertEquals(placing(all).map((line) => line.split(",")[0]), Array(4).fill("mount_setattr($target"));
  // ro and nothing else; the same without what is locked; noexec for the tree; slaves.
  assertEquals(attributes(all), ["1 20000e 0", "1 200000 0", "8 0 0", "0 0 80000"]);
  const user = config((draft) => draft.linux.namespaces.push({ type: "user", path: "" }));
  assertEquals(helpedMounts(parseMounts([bind("remount", "ro")], request), user, facts), []);
});

Deno.test("propagation is set on the very mount that was placed, whatever its name means by then", () => {
  const all = callLines(steps([bind("rslave")]));
  const moved = all.findIndex((line) => line.startsWith("move_mount($source"));
  assertEquals(all.slice(moved + 1).map((line) => line.split(",")[0]), [
    "close($target)",
    "mount_setattr($source",
    "close($source)",
  ]);
});

Deno.test("copy-symlink goes with no other of crun's options", () => {
  for (const other of ["src-nofollow", "dest-nofollow"]) {
    const error = assertThrows(() => steps([bind("copy-symlink", other)]), RuncError, "copy-symlink goes with neither");
    assertEquals([error.code, error.field], ["config-invalid", "/mounts/0/options"]);
  }
});

Deno.test("crun's options decide whether symlinks are followed", () => {
  const cases: readonly [options: readonly string[], source: string, target: boolean][] = [
    [[], "OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC", false],
    [["src-nofollow"], "OPEN_TREE_CLONE|AT_SYMLINK_NOFOLLOW|OPEN_TREE_CLOEXEC", false],
    [["copy-symlink"], "OPEN_TREE_CLONE|AT_SYMLINK_NOFOLLOW|OPEN_TREE_CLOEXEC", false],
    [["dest-nofollow"], "OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC", true],
  ];
  for (const [options, source, target] of cases) {
    const all = callLines(steps([bind(...options)]));
    assertEquals(all.filter((line) => line.startsWith("open_tree(")), [`open_tree(AT_FDCWD, "/out", ${source})`]);
    const opened = all.filter((line) => line.startsWith('openat2($root, "/in"'));
    assert(opened.length > 0 && opened.every((line) => line.includes("O_NOFOLLOW") === target), options.join());
  }
  const copied = callLines(steps([bind("copy-symlink")])).filter((line) => /^(readlinkat|symlinkat)/.test(line));
  assertEquals(copied, [
    'readlinkat($source, "", &symlink_of_mount_0, 4096)',
    'symlinkat(&symlink_of_mount_0, $target, "in")',
    // Where there is one already.
    'readlinkat($target, "in", &symlink, 4096)',
  ]);
});

Deno.test("tmpcopyup makes a tmpfs without a place, with the options that mount(2) would take", () => {
  const calls = (...options: string[]) =>
    callLines(steps([{ ...tmpfs, options: ["tmpcopyup", ...options] }])).filter((line) =>
      /^(fs(open|config|mount)|move_mount|sendmsg)/.test(line)
    );
  const begin = [
    'fsopen("tmpfs", FSOPEN_CLOEXEC)',
    'fsconfig($file_system, FSCONFIG_SET_STRING, "source", "tmpfs", 0)',
  ];
  const make = "fsconfig($file_system, FSCONFIG_CMD_CREATE, NULL, NULL, 0)";
  const place = 'move_mount($source, "", $target, "", MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_EMPTY_PATH)';
  const string = (name: string, value: string) => `fsconfig($file_system, FSCONFIG_SET_STRING, "${name}", ${value}, 0)`;
  const cases: readonly [options: string[], set: string[], attributes: string][] = [
    [[], [string("mode", '"<that of the directory>"')], "0"],
    [["mode=755", "size=1m"], [string("mode", '"755"'), string("size", '"1m"')], "0"],
    [
      ["mode=755", "noswap"],
      [string("mode", '"755"'), 'fsconfig($file_system, FSCONFIG_SET_FLAG, "noswap", NULL, 0)'],
      "0",
    ],
    // Read-only comes at the end, with all others.
    [["mode=755", "ro", "nosuid", "noatime"], [string("mode", '"755"')], "MOUNT_ATTR_NOSUID|MOUNT_ATTR_NOATIME"],
    [
      ["mode=755", "sync"],
      [string("mode", '"755"'), 'fsconfig($file_system, FSCONFIG_SET_FLAG, "sync", NULL, 0)'],
      "0",
    ],
    // A label's categories are no options.
    [
      ["mode=755", 'context="u:r:t:s0:c1,c2"', "size=1m"],
      [string("mode", '"755"'), string("context", '"u:r:t:s0:c1,c2"'), string("size", '"1m"')],
      "0",
    ],
  ];
  for (const [options, set, attributes] of cases) {
    const [asked] = calls(...options).filter((line) => line.startsWith("sendmsg"));
    const seen = calls(...options).filter((line) => !line.startsWith("sendmsg") && !line.startsWith("fstatfs"));
    assertEquals(seen, [...begin, ...set, make, `fsmount($file_system, FSMOUNT_CLOEXEC, ${attributes})`, place]);
    assert(asked!.includes("sync"));
  }
});

Deno.test("a relative bind source is below the bundle", () => {
  const cases: readonly [source: string | undefined, path: string][] = [
    ["/out", "/out"],
    ["data", "/bundle/data"],
    ["./data/", "/bundle/data"],
    ["../other", "/other"],
    ["", "/bundle"],
    [undefined, "/bundle"],
  ];
  for (const [source, path] of cases) {
    assertEquals(placing(steps([{ ...bind(), source }]))[0]!.split('"')[1], path, source);
  }
});

Deno.test("a missing place of a bind mount becomes what its source is: a file or a directory", () => {
  const [step] = steps([{ ...bind(), destination: "/a/b" }]);
  const made = callLines([step!]).filter((line) => /^mkdirat|O_CREAT/.test(line));
  assertEquals(made, [
    'mkdirat($parent, "a", 0755)',
    'openat($parent, "b", O_CREAT|O_EXCL|O_CLOEXEC|O_NOFOLLOW, 0644)',
    'mkdirat($parent, "b", 0755)',
  ]);
});

Deno.test("a bind mount cannot have data for the file system", () => {
  const error = assertThrows(() => steps([bind("ro", "size=5")]), RuncError, "filesystem-specific options");
  assertEquals([error.code, error.field], ["config-invalid", "/mounts/0/options"]);
});

// attr_set and attr_clr in hex; include/uapi/linux/mount.h: 1 ro, 2 nosuid, 4 nodev, 8 noexec, 10 noatime, 20 strictatime,
// 70 access time modes, 80 nodiratime, 200000 nosymfollow. Flags and access times that are not named: as a remount leaves them.
Deno.test("the attributes of a bind mount are exactly the ones asked for", () => {
  const cases: readonly [options: readonly string[], set: string, cleared: string][] = [
    [["ro"], "1", "20000e"],
    [["nosuid", "nodev", "noexec"], "e", "200001"],
    [["nosymfollow"], "200000", "f"],
    [["rw"], "0", "20000f"],
    [["ro", "rw"], "0", "20000f"],
    [["dev"], "0", "20000f"],
    [["ro", "exec"], "1", "20000e"],
    // What only a superblock has changes nothing here, but it asks for a remount.
    [["sync"], "0", "20000f"],
  ];
  for (const [options, set, cleared] of cases) {
    assertEquals(attributes(steps([bind(...options)]))[0], `${set} ${cleared} 0`, options.join());
  }
  for (const options of [[], ["defaults"], ["remount"], ["rprivate"]]) {
    const named = steps([bind(...options)]);
    assert(!placing(named).some((line) => line.includes("attr_set")), options.join());
  }
});

Deno.test("access times of a bind mount change only where a mode is named", () => {
  const cases: readonly [options: readonly string[], set: string, cleared: string][] = [
    [["ro"], "1", "20000e"],
    [["noatime"], "10", "2000ff"],
    [["relatime"], "0", "2000ff"],
    [["strictatime"], "20", "2000ff"],
    [["nodiratime"], "80", "20007f"],
    [["noatime", "nodiratime", "ro"], "91", "20007e"],
    [["atime"], "0", "20000f"],
    // mount(2): MS_STRICTATIME overrides the other two; mount_setattr(2) takes only one mode.
    [["noatime", "strictatime"], "20", "2000ff"],
  ];
  for (const [options, set, cleared] of cases) {
    assertEquals(attributes(steps([bind(...options)]))[0], `${set} ${cleared} 0`, options.join());
  }
});

Deno.test("where a parent user namespace locked options, only those are cleared that were named, and the one that is never locked", () => {
  const cases: readonly [options: readonly string[], set: string, cleared: string][] = [
    [["ro"], "1", "200000"],
    [["ro", "exec"], "1", "200008"],
    [["rw", "suid", "dev"], "0", "200007"],
    [["ro", "noatime"], "11", "200070"],
  ];
  for (const [options, set, cleared] of cases) {
    const all = steps([bind(...options)]);
    assertEquals(attributes(all)[1], `${set} ${cleared} 0`, options.join());
    const [first] = callsNamed(all, "mount_setattr");
    assertEquals(first!.onError?.map(({ errnos }) => errnos), [["EPERM"]]);
  }
});

Deno.test("options with r in front are set on the whole tree", () => {
  const cases: readonly [options: readonly string[], attributes: string][] = [
    [["rro", "rnosuid"], "3 0 0"],
    [["rrw", "rsymfollow"], "0 200001 0"],
    [["rnoatime"], "10 70 0"],
  ];
  for (const [options, wanted] of cases) {
    const all = steps([bind(...options)]);
    assertEquals(attributes(all), [wanted], options.join());
    assert(placing(all).some((line) => line.includes("AT_EMPTY_PATH|AT_RECURSIVE, {attr_set")));
  }
});

Deno.test("a file system of its own gets them at the end: mount points are made in it first", () => {
  const mounts = [{ ...tmpfs, options: ["mode=755", "rnoexec", "rprivate"] }];
  assertEquals(attributes(steps(mounts)), ["0 0 40000"]);
  const last = finishMountSteps(parseMounts(mounts, request));
  assertEquals(last.map(({ label, from }) => [label, from]), [[
    "set attributes of all mounts on /t",
    "/mounts/0/options",
  ]]);
  assertEquals(attributes(last), ["8 0 0"]);
});

Deno.test("propagation is set after mounting, in order, on the mount or on the tree", () => {
  for (const mount of [bind("rslave", "shared"), { ...tmpfs, options: ["mode=1", "rslave", "shared"] }]) {
    const all = steps([mount]);
    assertEquals(attributes(all), ["0 0 80000", "0 0 100000"]);
    assertEquals(placing(all).slice(-2).map((line) => line.includes("AT_RECURSIVE")), [true, false]);
  }
});

Deno.test("a cgroup mount has its propagation too", () => {
  const mount = { destination: "/c", type: "cgroup", options: ["rslave"] };
  for (const host of [facts, facts2]) {
    const all = attributes(steps([mount], { facts: host, cgroupNamespace: true }));
    assert(all.includes("0 0 80000"), host.cgroupMode);
  }
});

const cgroup: Mount = { destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: ["nosuid", "ro"] };

Deno.test("cgroup v1 without a namespace shows copies of the container's cgroups", () => {
  const all = placing(steps([cgroup]));
  assertEquals(all[0], 'mount("tmpfs", ".", "tmpfs", MS_NOSUID|MS_NODEV|MS_NOEXEC, "mode=755")');
  const copies = all.filter((line) => line.startsWith("open_tree(")).map((line) => line.split('"')[1]);
  assertEquals(copies, facts.cgroupMounts.map(({ source }) => source));
  assertEquals(attributes(steps([cgroup]))[0], "3 20000c 0");
});

Deno.test("cgroup v1 with a namespace mounts each hierarchy anew", () => {
  const all = placing(steps([cgroup], { cgroupNamespace: true })).filter((line) => line.startsWith("mount("));
  assertEquals(all.length, 10);
  const flags = "MS_RDONLY|MS_NOSUID|MS_NODEV|MS_NOEXEC";
  assertEquals(all[1], `mount("systemd", ".", "cgroup", ${flags}, "name=systemd")`);
  assertEquals(all[3], `mount("cgroup", ".", "cgroup", ${flags}, "cpu,cpuacct")`);
  const [, writable] = placing(steps([{ ...cgroup, options: [] }], { cgroupNamespace: true }));
  assertEquals(writable, 'mount("systemd", ".", "cgroup", MS_NOSUID|MS_NODEV|MS_NOEXEC, "name=systemd")');
});

Deno.test("joined hierarchies of cgroup v1 have a link for each controller", () => {
  const links = callsNamed(steps([cgroup]), "symlinkat");
  assertEquals(callLines([{ label: "", from: "", ops: links }]), [
    'symlinkat("cpu,cpuacct", $base, "cpu")',
    'symlinkat("cpu,cpuacct", $base, "cpuacct")',
    'symlinkat("net_cls,net_prio", $base, "net_cls")',
    'symlinkat("net_cls,net_prio", $base, "net_prio")',
  ]);
  assert(links.every(({ tolerate }) => tolerate?.includes("EEXIST")));
});

Deno.test("cgroup v2 is mounted with a namespace, or the container's copied where that is not allowed", () => {
  const all = steps([cgroup], { facts: facts2, cgroupNamespace: true });
  const [mount, copy] = placing(all);
  assertEquals(mount, 'mount("cgroup", ".", "cgroup2", MS_RDONLY|MS_NOSUID, NULL)');
  assertEquals(copy, 'open_tree(AT_FDCWD, "/sys/fs/cgroup/box", OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC)');
  assertEquals(callsNamed(all, "mount")[0]!.onError?.map(({ errnos }) => errnos), [["EPERM", "EBUSY"]]);
});

Deno.test("cgroup v2 without a namespace is a copy of the host's: a mount would change the host's own options", () => {
  const all = steps([cgroup], { facts: facts2, cgroupNamespace: false });
  assertEquals(placing(all)[0], 'open_tree(AT_FDCWD, "/sys/fs/cgroup", OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC)');
  assertEquals(callsNamed(all, "mount"), []);
});

Deno.test("a cgroup that is out of sight shows nothing, where managing cgroups may fail (CVE-2023-25809)", () => {
  const opened = (rootlessCgroups: boolean) => {
    const all = steps([cgroup], { facts: { ...facts2, rootlessCgroups } });
    const [open] = callsNamed(all, "open_tree");
    return [open!.tolerate, placing(all).find((line) => line.startsWith("mount("))];
  };
  assertEquals(opened(false), [undefined, undefined]);
  assertEquals(opened(true), [["ENOENT"], 'mount("tmpfs", ".", "tmpfs", MS_RDONLY, "nr_blocks=1,nr_inodes=1")']);
});

Deno.test("a failed mount reads as runc's callers know it", () => {
  const [mount] = callsNamed(steps([{ ...tmpfs, options: ["nosuid", "mode=7"] }]), "mount");
  assertEquals(
    mount!.meaning?.["*"],
    'error mounting "tmpfs" to rootfs at "/t": mount src=tmpfs, dst=/t, flags=MS_NOSUID, data=mode=7',
  );
});
