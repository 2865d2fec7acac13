import { assertEquals } from "@std/assert";
import { deviceFindings } from "../../../../lib/libcontainer/inspect/devices.ts";
import type { FileView } from "../../../../lib/libcontainer/inspect/kernel_view.ts";
import { splitNumber } from "../../../../lib/libcontainer/inspect/read_files.ts";
import { fileAt, named, stateOf, usualDevicesList, viewOf } from "./fixed.ts";

const fuse = { path: "/dev/fuse", type: "c", major: 10, minor: 229, fileMode: 0o600, uid: 7, gid: 8 };
const node = (changed: Partial<FileView> = {}): FileView => ({
  path: "/dev/fuse",
  mode: 0o020600,
  uid: 7,
  gid: 8,
  device: { major: 10, minor: 229 },
  ...changed,
});

function fuseOf(file: FileView | undefined, linux = {}) {
  const files: Record<string, FileView> = file === undefined ? {} : { "/dev/fuse": file };
  const finding = named(
    deviceFindings(stateOf({ linux: { devices: [fuse], ...linux } }), viewOf({ files })),
    "/dev/fuse",
  );
  return [finding.field, finding.config, finding.kernel, finding.verdict];
}

Deno.test("a device node has a type, numbers, a mode and an owner", () => {
  const wanted = "c 10:229, mode 0600, owner 7:8";
  const field = "/linux/devices/0";
  assertEquals(fuseOf(node()), [field, wanted, wanted, "same"]);
  assertEquals(fuseOf(node({ mode: 0o020666 })), [field, wanted, "c 10:229, mode 0666, owner 7:8", "different"]);
  assertEquals(fuseOf(node({ uid: 0 })), [field, wanted, "c 10:229, mode 0600, owner 0:8", "different"]);
  assertEquals(fuseOf(node({ mode: 0o060600 })), [field, wanted, "b 10:229, mode 0600, owner 7:8", "different"]);
  assertEquals(fuseOf(fileAt("/dev/fuse")), [field, wanted, "no device", "different"]);
  assertEquals(fuseOf({ error: "ENOENT" }), [field, wanted, "does not exist", "different"]);
  assertEquals(fuseOf({ error: "EACCES" }), [field, wanted, undefined, "unknown"]);
  assertEquals(fuseOf(undefined), [field, wanted, undefined, "unknown"]);
});

Deno.test("in a user namespace a node is the host's, with any owner and mode", () => {
  const mapping = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
  const linux = { namespaces: [{ type: "user" as const }], uidMappings: mapping, gidMappings: mapping };
  assertEquals(fuseOf(node({ uid: 0, gid: 0, mode: 0o020666 }), linux).slice(1), ["c 10:229", "c 10:229", "same"]);
  assertEquals(fuseOf(node({ device: { major: 1, minor: 3 } }), linux).slice(1), ["c 10:229", "c 1:3", "different"]);
});

Deno.test("a bind mount of /dev has nodes of its own", () => {
  const state = stateOf({
    mounts: [{ destination: "/dev", type: "bind", source: "/dev", options: ["rbind"] }],
    linux: { devices: [fuse] },
  });
  assertEquals(deviceFindings(state, viewOf()).map(({ name }) => name), ["access"]);
});

function access(list: string | undefined, paths: Readonly<Record<string, string>> = { devices: "/d" }, devices = {}) {
  const files: Record<string, string> = list === undefined ? {} : { "devices/devices.list": list };
  const view = viewOf({}, { cgroups: { paths, entered: {}, files, ceilings: {} } });
  const finding = named(deviceFindings(stateOf({ linux: { resources: devices } }), view), "access");
  return [finding.verdict, finding.note];
}

Deno.test("the rules of the v1 controller are compared as a whole", () => {
  assertEquals(access(usualDevicesList), ["same", undefined]);
  assertEquals(access(usualDevicesList + "c 10:229 rwm\n"), ["different", undefined]);
  assertEquals(access("a *:* rwm\n"), ["different", undefined]);
  const open = { devices: [{ allow: true, type: "a", access: "rwm" }] };
  assertEquals(access("a *:* rwm\n", undefined, open), ["same", undefined]);
  assertEquals(access(undefined), ["unknown", undefined]);
  assertEquals(access(undefined, { "": "/sys/fs/cgroup/box" }), [
    "unknown",
    "cgroup v2 decides by a BPF program, which cannot be read back",
  ]);
});

Deno.test("splitNumber() has large numbers, too", () => {
  assertEquals(splitNumber(0x103), { major: 1, minor: 3 });
  // makedev(259, 0x12345), as stat(2) gives it.
  assertEquals(splitNumber(0x12310345), { major: 259, minor: 0x12345 });
  assertEquals(splitNumber(0xfff00000 + 0x801), { major: 8, minor: 0xfff01 });
});
