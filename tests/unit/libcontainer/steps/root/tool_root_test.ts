/** The root of a debugger: what its stage does, and in which order. */

import { assert, assertEquals } from "@std/assert";
import { type ToolRoot, toolRootSteps } from "../../../../../lib/libcontainer/steps/root/tool_root.ts";
import type { NamespaceType } from "../../../../../lib/specs/config.ts";
import { callLines, labels } from "../../../plan_reader.ts";

const tools: ToolRoot = {
  entries: [
    { path: "/usr", kind: "directory" },
    { path: "/bin", kind: "symlink", target: "usr/bin" },
    { path: "/note", kind: "file", content: "é" },
    { path: "/empty", kind: "file", content: "" },
  ],
  mounts: [{ source: "/opt/usr", path: "/usr" }],
};
const steps = (types: readonly NamespaceType[], euid: number) =>
  toolRootSteps(tools, types.map((type) => ({ type, from: "", path: "there" })), { arch: "x86_64", euid });

const devices = ["null", "zero", "full", "random", "urandom", "tty"].map((name) => `/dev/${name}`);
const deviceLabels = [
  "make /dev",
  ...devices.map((path) => `make ${path}`),
  "make /dev/pts",
  "make /dev/shm",
  "link /dev/ptmx to pts/ptmx",
  "link /dev/fd to /proc/self/fd",
  ...["stdin", "stdout", "stderr"].map((name, fd) => `link /dev/${name} to /proc/self/fd/${fd}`),
];
const rest = [
  "leave the container's mounts for a private copy of them",
  "make a tmpfs the root, and move the container's to /container",
  "make /usr",
  "link /bin to usr/bin",
  "make /note",
  "make /empty",
  ...deviceLabels,
  "show the host's /usr",
  ...devices.map((name) => `show the host's ${name}`),
  "mount a devpts of the debugger's own on /dev/pts",
  "show the container's /proc, if it has one",
  "show the container's /sys, if it has one",
  "close the new root",
];
const hide = "hide from the processes of the joined namespaces";
const takes = ["/opt/usr", ...devices].map((path) => `take ${path}, read-only`);

Deno.test("root takes the programs before it joins, and leaves the container's mount namespace before its first mount", () => {
  assertEquals(labels(steps(["pid", "mount"], 0)), [
    ...takes,
    hide,
    "join pid namespace there",
    "join mount namespace there",
    ...rest,
  ]);
});

Deno.test("another user takes them as root of the user namespace, from a copy of the host's mounts", () => {
  assertEquals(labels(steps(["mount", "user"], 1000)), [
    hide,
    "join user namespace there and become its root",
    "copy the host's mounts for the time being",
    ...takes,
    hide,
    "join mount namespace there",
    ...rest,
  ]);
});

Deno.test("programs are read-only and private, and a file's size is counted in bytes", () => {
  const calls = callLines(steps(["mount"], 0));
  const attributes = "{attr_set: MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOSUID|MOUNT_ATTR_NODEV, propagation: MS_PRIVATE}";
  assert(calls.some((line) => line.includes(attributes) && line.includes("AT_RECURSIVE")));
  assertEquals(calls.filter((line) => line.includes("write(")), ['write($file, "é", 2)']);
  const first = calls.findIndex((line) => line.includes("move_mount"));
  assert(calls.indexOf('mount(NULL, "/", NULL, MS_REC|MS_PRIVATE, NULL)') < first);
});
