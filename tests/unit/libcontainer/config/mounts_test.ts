import { assertEquals } from "@std/assert";
import { fillsDev, labelMounts, type ParsedMount, parseMounts } from "../../../../lib/libcontainer/config/mounts.ts";
import type { Mount } from "../../../../lib/specs/config.ts";

const paths = { bundle: "/bundle", rootfs: "/bundle/rootfs" };
const parse = (...mounts: readonly Mount[]) => parseMounts(mounts, paths);
const kindOf = (mount: Mount) => parse(mount)[0]!.kind;
const ids = [{ containerID: 0, hostID: 1000, size: 1 }];

Deno.test("a mount's kind follows from its options, then from its type", () => {
  const cases: readonly [mount: Mount, kind: ParsedMount["kind"]][] = [
    [{ destination: "/", options: ["bind"] }, "bind"],
    [{ destination: "/", type: "tmpfs", options: ["ro", "rbind"] }, "bind"],
    [{ destination: "/", type: "cgroup", options: ["bind"] }, "bind"],
    [{ destination: "/", type: "bind" }, "fileSystem"],
    [{ destination: "/", type: "bind", options: ["ro"] }, "fileSystem"],
    [{ destination: "/", options: ["remount", "bind", "ro"] }, "remount"],
    // Other ids make it a new mount.
    [{ destination: "/", options: ["bind", "remount", "idmap"] }, "bind"],
    [{ destination: "/", options: ["bind", "remount"], uidMappings: ids, gidMappings: ids }, "bind"],
    [{ destination: "/", type: "tmpfs", options: ["remount"] }, "fileSystem"],
    [{ destination: "/", type: "cgroup", options: ["ro"] }, "cgroup"],
    [{ destination: "/", type: "cgroup2" }, "fileSystem"],
    [{ destination: "/" }, "fileSystem"],
  ];
  for (const [mount, kind] of cases) assertEquals(kindOf(mount), kind, JSON.stringify(mount));
});

Deno.test("a mount knows its place in config.json and in the container", () => {
  const cases: readonly [destination: string, clean: string, path?: string][] = [
    ["/a/b", "/a/b"],
    ["a/../b//c/", "/b/c"],
    ["", "/"],
    ["/../..", "/"],
    ["/bundle/rootfs/x", "/x", "/bundle/rootfs/x"],
    ["/bundle/./rootfs//x/", "/x", "/bundle/rootfs/x"],
    ["/bundle/rootfs", "/bundle/rootfs"],
  ];
  const parsed = parse(...cases.map(([destination]) => ({ destination })));
  assertEquals(
    parsed.map(({ index, from, destination, path }) => [index, from, destination, path]),
    cases.map(([, clean, path], index) => [index, `/mounts/${index}`, clean, path ?? clean]),
  );
  const [last] = parseMounts([{ destination: "/x" }], paths, 7);
  assertEquals([last!.index, last!.from], [7, "/mounts/7"]);
  assertEquals(parseMounts(undefined, paths), []);
});

Deno.test("a relative source of a bind mount is below the bundle, an absolute one stays as it is", () => {
  const source = (source: string | undefined, ...more: string[]) => {
    const [mount] = parse({ destination: "/in", source, options: ["bind", ...more] });
    return mount!.kind === "bind" || mount!.kind === "remount" ? mount!.source : undefined;
  };
  assertEquals(["data", "./a/../b/", "../x", "", undefined].map((text) => source(text)), [
    "/bundle/data",
    "/bundle/b",
    "/x",
    "/bundle",
    "/bundle",
  ]);
  // What a symlink before ".." leads to is the kernel's to say.
  assertEquals(source("/link/../x"), "/link/../x");
  assertEquals(source("data", "remount"), "/bundle/data");
});

Deno.test("of idmap and ridmap the later one counts; without mappings they mean the container's ids", () => {
  const of = (options: readonly string[], more: Partial<Mount> = {}) =>
    parse({ destination: "/in", options, ...more })[0]!.ids;
  assertEquals(of(["bind"]), undefined);
  assertEquals(of(["bind"], { uidMappings: [], gidMappings: [] }), undefined);
  assertEquals(of(["idmap"]), { mappings: undefined, recursive: false });
  assertEquals(of(["ridmap"]), { mappings: undefined, recursive: true });
  assertEquals(of(["idmap", "ridmap"])?.recursive, true);
  assertEquals(of(["ridmap", "idmap"])?.recursive, false);
  const mappings = { uid: ids, gid: ids };
  assertEquals(of(["bind"], { uidMappings: ids, gidMappings: ids }), { mappings, recursive: false });
  assertEquals(of(["ridmap"], { uidMappings: ids, gidMappings: ids }), { mappings, recursive: true });
});

Deno.test("fillsDev(): not where /dev is a bind mount", () => {
  const fills = (mount: Mount) => fillsDev(parse(mount));
  assertEquals(fills({ destination: "/dev/", source: "/dev", options: ["rbind"] }), false);
  assertEquals(fills({ destination: "/dev", options: ["bind", "remount", "ro"] }), false);
  assertEquals(fills({ destination: "/dev/shm", source: "/x", options: ["bind"] }), true);
  assertEquals(fills({ destination: "/dev", type: "tmpfs" }), true);
  assertEquals(fillsDev([]), true);
});

const LABEL = "system_u:object_r:container_file_t:s0:c4,c5";

Deno.test("labelMounts() labels file systems, not binds, not those with labels of their own", () => {
  const mounts = parse(
    { destination: "/proc", type: "proc" },
    { destination: "/sys", type: "sysfs" },
    { destination: "/dev", type: "tmpfs", options: ["mode=755"] },
    { destination: "/dev/pts", type: "devpts", options: ["newinstance"] },
    { destination: "/run", type: "tmpfs" },
    { destination: "/dev/mqueue", type: "mqueue" },
    { destination: "/sys/fs/cgroup", type: "cgroup" },
    { destination: "/data", type: "tmpfs", source: "/data", options: ["rbind"] },
  );
  const labelled = labelMounts(mounts, LABEL);
  assertEquals(
    labelled.filter((mount, index) => mount !== mounts[index]).map(({ path, options }) => [path, options.data]),
    [
      ["/dev", `mode=755,context="${LABEL}"`],
      ["/dev/pts", `newinstance,context="${LABEL}"`],
      ["/run", `context="${LABEL}"`],
    ],
  );
  for (const none of [undefined, ""]) assertEquals(labelMounts(mounts, none), mounts);
});
