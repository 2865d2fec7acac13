import { assertEquals } from "@std/assert";
import { type Entry, find, type View, type ViewedMount } from "../../../../lib/libcontainer/checks/read/lookup.ts";

const directory: Entry = { kind: "directory" };
const file: Entry = { kind: "file" };

/** The host's files, by path. */
const files: Readonly<Record<string, Entry>> = {
  "/r/bin": { link: "usr/bin" },
  "/r/usr": directory,
  "/r/usr/bin": directory,
  "/r/usr/bin/sh": { link: "/bin/busybox" },
  "/r/usr/bin/busybox": file,
  "/r/usr/bin/up": { link: "../../../../../etc/passwd" },
  "/r/etc": directory,
  "/r/etc/passwd": file,
  "/r/loop": { link: "loop" },
  "/r/lib": { link: "usr/lib" },
  "/host/usr": directory,
  "/host/usr/lib": directory,
  "/host/usr/lib/ld.so": file,
  "/tool": file,
};

const view = (mounts: readonly ViewedMount[] = []): View => ({ rootfs: "/r", mounts, look: (path) => files[path] });

const cases: readonly [path: string, mounts: readonly ViewedMount[], wanted: string][] = [
  ["/", [], "/r"],
  ["/usr/bin/busybox", [], "/r/usr/bin/busybox"],
  // Absolute and relative links, and one that would leave the root.
  ["/bin/sh", [], "/r/usr/bin/busybox"],
  ["/bin/up", [], "/r/etc/passwd"],
  ["/../../etc/./passwd", [], "/r/etc/passwd"],
  ["/loop", [], "missing"],
  ["/etc/passwd/x", [], "missing"],
  ["/none", [], "missing"],
  // A link of the root file system into a bind mount.
  ["/lib/ld.so", [], "missing"],
  ["/lib/ld.so", [{ destination: "/usr", source: "/host/usr" }], "/host/usr/lib/ld.so"],
  ["/usr/bin/sh", [{ destination: "/usr", source: "/host/usr" }], "missing"],
  ["/usr/bin/busybox", [{ destination: "/usr/bin" }], "unknown"],
  // A mount of a file, at a place that the runtime makes.
  ["/new/tool", [{ destination: "/new/tool", source: "/tool" }], "/tool"],
  // The last mount covers the others.
  ["/usr/lib/ld.so", [{ destination: "/usr" }, { destination: "/usr", source: "/host/usr" }], "/host/usr/lib/ld.so"],
  ["/etc/passwd", [{ destination: "/", source: "/host" }], "missing"],
];

for (const [path, mounts, wanted] of cases) {
  Deno.test(`find() follows ${path} with mounts at "${mounts.map(({ destination }) => destination)}"`, () => {
    const found = find(view(mounts), path);
    assertEquals(found.state === "found" ? found.hostPath : found.state, wanted);
  });
}
