import { assertEquals } from "@std/assert";
import { mountOptionNames, parseMountOptions, splitData } from "../../../../lib/libcontainer/config/mount_options.ts";

/** What an option is. Numbers are the kernel's: include/uapi/linux/mount.h. */
type Kind = "set" | "clear" | "propagation" | "recursive set" | "recursive clear" | "extension" | "nothing";

const MS_REC = 0x4000, ATIME = 0x70;

/** All options that runc and the runtime-spec know, each alone. */
const options: readonly (readonly [name: string, kind: Kind, bits: number])[] = [
  ["bind", "set", 0x1000],
  ["rbind", "set", 0x1000 | MS_REC],
  ["ro", "set", 0x1],
  ["nosuid", "set", 0x2],
  ["nodev", "set", 0x4],
  ["noexec", "set", 0x8],
  ["sync", "set", 0x10],
  ["remount", "set", 0x20],
  ["mand", "set", 0x40],
  ["dirsync", "set", 0x80],
  ["nosymfollow", "set", 0x100],
  ["noatime", "set", 0x400],
  ["nodiratime", "set", 0x800],
  ["silent", "set", 0x8000],
  ["relatime", "set", 0x200000],
  ["iversion", "set", 0x800000],
  ["strictatime", "set", 0x1000000],
  ["lazytime", "set", 0x2000000],
  // runc hands it to the file system as data; the runtime-spec says that it is known.
  ["defaults", "nothing", 0],
  ["rw", "clear", 0x1],
  ["suid", "clear", 0x2],
  ["dev", "clear", 0x4],
  ["exec", "clear", 0x8],
  ["async", "clear", 0x10],
  ["nomand", "clear", 0x40],
  ["symfollow", "clear", 0x100],
  ["atime", "clear", 0x400],
  ["diratime", "clear", 0x800],
  ["loud", "clear", 0x8000],
  ["norelatime", "clear", 0x200000],
  ["noiversion", "clear", 0x800000],
  ["nostrictatime", "clear", 0x1000000],
  ["nolazytime", "clear", 0x2000000],
  ["unbindable", "propagation", 0x20000],
  ["private", "propagation", 0x40000],
  ["slave", "propagation", 0x80000],
  ["shared", "propagation", 0x100000],
  ["runbindable", "propagation", 0x20000 | MS_REC],
  ["rprivate", "propagation", 0x40000 | MS_REC],
  ["rslave", "propagation", 0x80000 | MS_REC],
  ["rshared", "propagation", 0x100000 | MS_REC],
  ["rro", "recursive set", 0x1],
  ["rnosuid", "recursive set", 0x2],
  ["rnodev", "recursive set", 0x4],
  ["rnoexec", "recursive set", 0x8],
  ["rnodiratime", "recursive set", 0x80],
  ["rnosymfollow", "recursive set", 0x200000],
  ["rrw", "recursive clear", 0x1],
  ["rsuid", "recursive clear", 0x2],
  ["rdev", "recursive clear", 0x4],
  ["rexec", "recursive clear", 0x8],
  ["rdiratime", "recursive clear", 0x80],
  ["rsymfollow", "recursive clear", 0x200000],
  ["tmpcopyup", "extension", 0],
  ["copy-symlink", "extension", 0],
  ["dest-nofollow", "extension", 0],
  ["src-nofollow", "extension", 0],
  ["idmap", "extension", 0],
  ["ridmap", "extension", 0],
];

/** The access time modes are one field: whatever is said about them, all of it is in attr_clr. mount_setattr(2) */
const recursiveAccessTimes: readonly (readonly [name: string, set: number])[] = [
  ["rrelatime", 0],
  ["rnoatime", 0x10],
  ["rstrictatime", 0x20],
  ["rnorelatime", 0],
  ["ratime", 0],
  ["rnostrictatime", 0],
];

const none = {
  flags: 0,
  clearedFlags: 0,
  propagation: [] as readonly number[],
  recursiveSet: 0,
  recursiveClear: 0,
  extensions: [] as readonly string[],
  data: "",
};

const alone: Readonly<Record<Kind, (name: string, bits: number) => Partial<typeof none>>> = {
  set: (_, flags) => ({ flags }),
  clear: (_, clearedFlags) => ({ clearedFlags }),
  propagation: (_, flags) => ({ propagation: [flags] }),
  "recursive set": (_, recursiveSet) => ({ recursiveSet }),
  "recursive clear": (_, recursiveClear) => ({ recursiveClear }),
  extension: (name) => ({ extensions: [name] }),
  nothing: () => ({}),
};

Deno.test("each option alone means what runc's means", () => {
  for (const [name, kind, bits] of options) {
    assertEquals(parseMountOptions([name]), { ...none, ...alone[kind](name, bits) }, name);
  }
  for (const [name, set] of recursiveAccessTimes) {
    assertEquals(parseMountOptions([name]), { ...none, recursiveSet: set, recursiveClear: ATIME }, name);
  }
});

Deno.test("there are no other options than those, and features lists all but the id mapped ones", () => {
  const names = [...options, ...recursiveAccessTimes].map(([name]) => name);
  assertEquals(mountOptionNames, names.filter((name) => !name.endsWith("idmap")).sort());
});

Deno.test("options together", () => {
  const cases: readonly [options: readonly string[], parsed: Partial<typeof none>][] = [
    [[], {}],
    [["nosuid", "noexec", "ro"], { flags: 0xb }],
    // The later one wins.
    [["ro", "rw"], { clearedFlags: 1 }],
    [["rw", "ro"], { flags: 1 }],
    [["nosuid", "suid", "nosuid"], { flags: 2 }],
    [["rro", "rrw"], { recursiveClear: 1 }],
    [["rrw", "rro"], { recursiveSet: 1 }],
    [["rnoatime", "rstrictatime"], { recursiveSet: 0x20, recursiveClear: ATIME }],
    [["rnoatime", "rro", "rrelatime"], { recursiveSet: 0x1, recursiveClear: ATIME }],
    [["rrelatime", "rnoatime", "rnodiratime"], { recursiveSet: 0x90, recursiveClear: ATIME }],
    [["rnoatime", "ratime"], { recursiveClear: ATIME }],
    // `ro` is this mount's, `rro` is the tree's: they do not touch each other.
    [["ro", "rrw"], { flags: 1, recursiveClear: 1 }],
    // Propagation changes one after the other.
    [["rslave", "shared"], { propagation: [0x84000, 0x100000] }],
    // What is not known is for the file system, in order.
    [["mode=755", "nosuid", "size=65536k", "acl"], { flags: 2, data: "mode=755,size=65536k,acl" }],
    [["RO", "ro "], { data: "RO,ro " }],
    [["constructor", "toString", "__proto__"], { data: "constructor,toString,__proto__" }],
    [["tmpcopyup", "idmap"], { extensions: ["tmpcopyup", "idmap"] }],
  ];
  for (const [options, parsed] of cases) {
    assertEquals(parseMountOptions(options), { ...none, ...parsed }, options.join(","));
  }
});

Deno.test("splitData() separates at commas that are in no quotes", () => {
  const cases: readonly [data: string, options: readonly string[]][] = [
    ["", []],
    ["size=1m,mode=755", ["size=1m", "mode=755"]],
    [",a,,b,", ["a", "b"]],
    ['context="u:r:t:s0:c1,c2",size=1m', ['context="u:r:t:s0:c1,c2"', "size=1m"]],
    ['a="x,y', ['a="x,y']],
  ];
  for (const [data, options] of cases) assertEquals(splitData(data), options, data);
});
