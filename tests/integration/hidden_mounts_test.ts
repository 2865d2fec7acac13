/**
 * Cgroup file systems that mountinfo lists and that another mount hides. Each test is in a mount namespace of its own, so that the host's mounts
 * stay as they are.
 */

import { assertEquals, assertMatch } from "@std/assert";
import { readCgroupLayout } from "../../lib/cgroups/layout.ts";
import { type Box, comparing, kernel } from "./harness.ts";

const layout = readCgroupLayout(kernel);
const hybrid = { ignore: layout.mode !== "hybrid" };
const v1Names = layout.hierarchies.filter(({ controllers }) => controllers.length > 0)
  .map(({ mountPoint }) => mountPoint.slice("/sys/fs/cgroup/".length));

/** A test for a host with v1 and cgroup2. */
const hybridTest = (name: string, body: (box: Box) => unknown) =>
  hybrid.ignore ? Deno.test({ name: `${name} (needs a hybrid host)`, ...hybrid, fn: () => {} }) : comparing(name, body);

/** Shell commands: a tmpfs at `directory` with every v1 hierarchy in it. */
const v1At = (directory: string) =>
  [
    `mkdir -p ${directory}`,
    `mount -t tmpfs tmpfs ${directory}`,
    ...v1Names.map((name) => `mkdir ${directory}/${name}; mount --bind /sys/fs/cgroup/${name} ${directory}/${name}`),
  ].join("; ");

/** Runs a container in a mount namespace where `commands` have been run; returns the cgroups that it was in, as /proc tells. */
function runAfter(box: Box, commands: string): Record<string, string> {
  const prefix = ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", `set -e; ${commands}; exec "$@"`, "sh"];
  const text = box.sh("cat /proc/self/cgroup", ({ linux }) => {
    linux.namespaces = linux.namespaces.filter(({ type }) => type !== "cgroup");
  }, { prefix });
  return Object.fromEntries(
    text.trim().split("\n").map((line) => {
      const [, controllers = "", path = ""] = line.split(":");
      return [controllers, path];
    }),
  );
}

hybridTest("a cgroup2 below a tmpfs with the v1 hierarchies is not used", (box) => {
  const fresh = `${box.directory}/fresh`;
  const { devices, "": unified } = runAfter(box, `${v1At(fresh)}; mount --rbind ${fresh} /sys/fs/cgroup`);
  assertEquals([devices, unified === box.cgroup], [box.cgroup, false]);
});

hybridTest("a cgroup2 with something mounted over it is not used", (box) => {
  const { devices, "": unified } = runAfter(box, "mount -t tmpfs tmpfs /sys/fs/cgroup/unified");
  assertEquals([devices, unified === box.cgroup], [box.cgroup, false]);
});

hybridTest(
  "a v1 hierarchy with something mounted over it is not used, and one mounted elsewhere too is used there",
  (box) => {
    const elsewhere = `${box.directory}/elsewhere`;
    const { devices, freezer, pids } = runAfter(
      box,
      `mkdir ${elsewhere}; mount --bind /sys/fs/cgroup/pids ${elsewhere}; ` +
        "for name in freezer pids; do mount -t tmpfs tmpfs /sys/fs/cgroup/$name; done",
    );
    assertEquals([devices, pids, freezer === box.cgroup], [box.cgroup, box.cgroup, false]);
  },
);

hybridTest("a cgroup2 at /sys/fs/cgroup below another mount of sysfs does not make it a v2 host", (box) => {
  const elsewhere = `${box.directory}/elsewhere`;
  const { devices, "": unified } = runAfter(
    box,
    `${v1At(elsewhere)}; umount --recursive /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; ` +
      "mount --bind /sys /sys",
  );
  assertEquals([devices, unified === box.cgroup], [box.cgroup, false]);
});

hybridTest("of two cgroup2 mounts the one that is hidden is not used", (box) => {
  const [one, other] = [`${box.directory}/one`, `${box.directory}/other`];
  const commands = `umount --recursive /sys/fs/cgroup; mkdir ${one} ${other}; ` +
    `mount -t cgroup2 cgroup2 ${one}; mount -t tmpfs tmpfs ${one}; mount -t cgroup2 cgroup2 ${other}`;
  const { devices, "": unified } = runAfter(box, commands);
  assertEquals([devices === box.cgroup, unified], [false, box.cgroup]);
});

hybridTest("where the devices hierarchy is hidden the error says that there is none", (box) => {
  const over = "mount -t tmpfs tmpfs /sys/fs/cgroup/devices";
  const { code, msg } = box.refused(["run", box.id], {
    prefix: ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", `${over}; exec "$@"`, "sh"],
  });
  assertEquals(code, "host-lacks");
  assertMatch(msg, /mountpoint for devices not found/);
});
