import { assertEquals } from "@std/assert";
import { mountFindings } from "../../../../lib/libcontainer/inspect/mounts.ts";
import { propagatesAs } from "../../../../lib/libcontainer/inspect/mount_flags.ts";
import type { Config, Mount } from "../../../../lib/specs/config.ts";
import { endedView, fileAt, named, stateOf, viewOf } from "./fixed.ts";

const ROOT = "1 0 0:1 / / rw - overlay overlay rw\n";

/** The finding of one mount at /mnt, whose line of mountinfo ends with `shown`: options, optional fields, -, type, … */
function mounted(mount: Omit<Mount, "destination">, shown: string, root = "/") {
  const view = viewOf({ mounts: `${ROOT}2 1 0:2 ${root} /mnt ${shown}\n`, files: { "/mnt": fileAt("/mnt", 2) } });
  const finding = named(mountFindings(stateOf({ mounts: [{ destination: "/mnt", ...mount }] }), view), "/mnt");
  return [finding.verdict, finding.note];
}

const tmpfs = { type: "tmpfs", source: "tmpfs" };
const bind = { type: "bind", source: "/srv" };

const cases: readonly [
  what: string,
  mount: Omit<Mount, "destination">,
  shown: string,
  verdict: string,
  note?: string,
][] = [
  ["flags of the mount", { ...tmpfs, options: ["nosuid", "noexec"] }, "rw,nosuid,noexec - tmpfs tmpfs rw", "same"],
  ["flags of the file system", { ...tmpfs, options: ["ro", "sync"] }, "rw - tmpfs tmpfs ro,sync", "same"],
  [
    "a missing flag",
    { ...tmpfs, options: ["nosuid", "nodev"] },
    "rw,nodev - tmpfs tmpfs rw",
    "different",
    "not nosuid",
  ],
  ["a flag that nobody asked for", tmpfs, "rw,noexec - tmpfs tmpfs rw", "different", "also noexec"],
  [
    "a flag that an option excludes",
    { ...tmpfs, options: ["exec", "rw"] },
    "rw,noexec - tmpfs tmpfs rw",
    "different",
    "noexec, which an option excludes",
  ],
  ["recursive flags", { ...bind, options: ["rbind", "rro", "rnosuid"] }, "ro,nosuid - ext4 /dev/vda rw", "same"],
  [
    "a recursive flag that is missing",
    { ...bind, options: ["rbind", "rro"] },
    "rw - ext4 /dev/vda rw",
    "different",
    "not ro",
  ],
  ["access times", { ...tmpfs, options: ["noatime", "nodiratime"] }, "rw,noatime,nodiratime - tmpfs tmpfs rw", "same"],
  [
    "relatime needs nothing",
    { ...tmpfs, options: ["relatime", "strictatime"] },
    "rw,relatime - tmpfs tmpfs rw",
    "same",
  ],
  [
    "what a bind mount has of its source",
    { ...bind, options: ["bind"] },
    "rw,nodev - ext4 /dev/vda rw",
    "same",
    "nodev as its source",
  ],
  [
    "a bind mount of something read-only",
    { ...bind, options: ["bind"] },
    "ro - ext4 /dev/vda rw",
    "different",
    "also ro",
  ],
  ["another type", { type: "proc", source: "proc" }, "rw - tmpfs tmpfs rw", "different", "the type is tmpfs"],
  ["a cgroup mount on v2", { type: "cgroup", source: "cgroup", options: ["ro"] }, "ro - cgroup2 cgroup rw", "same"],
  [
    "a cgroup mount on v1, a tmpfs",
    { type: "cgroup", source: "cgroup", options: ["ro"] },
    "rw - tmpfs tmpfs rw",
    "same",
  ],
  ["a size in other words", { ...tmpfs, options: ["size=64m"] }, "rw - tmpfs tmpfs rw,size=65536k", "same"],
  ["a size rounded up", { ...tmpfs, options: ["size=1000"] }, "rw - tmpfs tmpfs rw,size=4k", "same"],
  [
    "another size",
    { ...tmpfs, options: ["size=1m"] },
    "rw - tmpfs tmpfs rw,size=2048k",
    "different",
    "its size is 2097152 bytes",
  ],
  ["propagation", { ...bind, options: ["bind", "rslave"] }, "rw master:7 - ext4 /dev/vda rw", "same"],
  [
    "another propagation",
    { ...bind, options: ["bind", "private"] },
    "rw shared:7 - ext4 /dev/vda rw",
    "different",
    "not private",
  ],
];
for (const [what, mount, shown, verdict, note] of cases) {
  Deno.test(`mountFindings(): ${what}`, () => assertEquals(mounted(mount, shown), [verdict, note]));
}

Deno.test("a slave without a master is private, and is no difference", () => {
  const wanted: readonly [wanted: string, shown: string, is: boolean][] = [
    ["slave", "private", true],
    ["slave", "shared slave", false],
    ["slave", "unbindable", false],
    ["shared", "shared slave", true],
    ["shared", "slave", false],
    ["private", "slave", false],
    ["unbindable", "unbindable", true],
  ];
  for (const [name, shown, is] of wanted) assertEquals(propagatesAs(name, shown), is, `${name} ${shown}`);
});

Deno.test("a mount that is gone, and one that another one hides, are told apart", () => {
  const state = stateOf({
    mounts: [
      { destination: "/gone", ...tmpfs },
      { destination: "/twice", ...tmpfs },
      { destination: "/twice/.", type: "tmpfs", source: "tmpfs", options: ["ro"] },
      { destination: "/missing", ...tmpfs },
      { destination: "/secret", ...tmpfs },
      { destination: "/unread", ...tmpfs },
    ],
  });
  const view = viewOf({
    mounts: `${ROOT}2 1 0:2 / /twice rw - tmpfs tmpfs rw\n3 2 0:3 / /twice ro - tmpfs tmpfs ro\n`,
    files: {
      "/gone": fileAt("/gone", 1),
      "/twice/.": fileAt("/twice", 3),
      "/missing": { error: "ENOENT" },
      "/secret": { error: "EACCES" },
    },
  });
  const found = mountFindings(state, view);
  const told = (name: string) => [named(found, name).verdict, named(found, name).kernel, named(found, name).note];
  assertEquals(told("/gone"), ["different", "not mounted", undefined]);
  assertEquals(told("/missing"), ["different", "not mounted", "ENOENT"]);
  assertEquals(told("/secret"), ["unknown", undefined, "EACCES"]);
  assertEquals(told("/unread"), ["unknown", undefined, undefined]);
  assertEquals(found.filter(({ name }) => name === "/twice").map(({ verdict, note }) => [verdict, note]), [
    ["unknown", "/mounts/2 changes or hides it"],
    ["unset", undefined],
  ]);
  assertEquals(told("/twice/."), ["same", "tmpfs: ro, private", undefined]);
});

Deno.test("a mount that linux.readonlyPaths names is read-only for that reason", () => {
  const mount = { destination: "/tmp", ...tmpfs };
  const view = viewOf({ mounts: `${ROOT}2 1 0:2 / /tmp ro - tmpfs tmpfs rw\n`, files: { "/tmp": fileAt("/tmp", 2) } });
  const verdictOf = (readonlyPaths: string[]) =>
    named(mountFindings(stateOf({ mounts: [mount], linux: { readonlyPaths } }), view), "/tmp").verdict;
  assertEquals([verdictOf(["/tmp"]), verdictOf([])], ["same", "different"]);
});

Deno.test("mounts that the config does not have are listed, and are no difference", () => {
  const view = viewOf({ mounts: `${ROOT}2 1 0:2 /null /proc/keys ro,nosuid - devtmpfs udev rw,size=4k\n` });
  const found = mountFindings(stateOf(), view);
  assertEquals(found.map(({ name, verdict, kernel }) => [name, verdict, kernel]), [
    ["/", "same", "overlay: rw, private"],
    ["/proc/keys", "unset", "/null of devtmpfs udev: ro nosuid, private, size=4k"],
  ]);
});

Deno.test("the root is compared by its access and its propagation", () => {
  const rootOf = (config: Partial<Config>, line: string) => {
    const finding = named(mountFindings(stateOf(config), viewOf({ mounts: `1 0 0:1 / / ${line}\n` })), "/");
    return [finding.config, finding.verdict];
  };
  const readonly = { root: { path: "rootfs", readonly: true } };
  assertEquals(rootOf(readonly, "ro - overlay overlay rw"), ["ro", "same"]);
  assertEquals(rootOf(readonly, "rw - overlay overlay rw"), ["ro", "different"]);
  assertEquals(rootOf({}, "ro - overlay overlay rw"), ["rw", "different"]);
  const shared = { linux: { rootfsPropagation: "shared" } };
  assertEquals(rootOf(shared, "rw shared:1 - overlay overlay rw"), ["rw shared", "same"]);
  assertEquals(rootOf(shared, "rw master:1 - overlay overlay rw"), ["rw shared", "different"]);
});

Deno.test("without a process, mounts are unknown", () => {
  const found = mountFindings(stateOf({ mounts: [{ destination: "/mnt", ...tmpfs }] }), endedView);
  assertEquals(found.map(({ verdict }) => verdict), ["unknown", "unknown"]);
});
