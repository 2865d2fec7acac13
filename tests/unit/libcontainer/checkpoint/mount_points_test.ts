import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { mountPoints } from "../../../../lib/libcontainer/checkpoint/mount_points.ts";
import { state } from "./states.ts";

const rootfs = "/srv/bundle/rootfs";
const resolve = (path: string) => path.replace(/^\/link/, "/real");
const mount = (device: string, destination: string, source = device) => ({ device, destination, source });
const pointsOf = (...mounts: ReturnType<typeof mount>[]) =>
  mountPoints(state({ mounts, readonlyfs: false }), { resolve });

Deno.test("mountPoints() makes places in the rootfs, but not those that CRIU restores", () => {
  const points = pointsOf(
    mount("proc", "/proc"),
    mount("tmpfs", "/dev"),
    mount("devpts", "/dev/pts"),
    mount("bind", "/dev/shm", "/s"),
    mount("sysfs", "/sys"),
    mount("cgroup", "/sys/fs/cgroup"),
    mount("bind", `${rootfs}/data`, "/d"),
    mount("bind", "/device", "/e"),
  );
  assertEquals(points, [
    { destination: "/proc", base: rootfs, path: "/proc" },
    { destination: "/dev", base: rootfs, path: "/dev" },
    { destination: "/sys", base: rootfs, path: "/sys" },
    { destination: "/data", base: rootfs, path: "/data", source: "/d" },
    { destination: "/device", base: rootfs, path: "/device", source: "/e" },
  ]);
});

Deno.test("mountPoints() makes a place below a bind mount in the source of that mount", () => {
  const points = pointsOf(
    mount("bind", "/link/a", "/outer"),
    mount("bind", "/real/a/b/c", "/inner"),
    mount("bind", "/link/a/b/c/d", "/file"),
    mount("tmpfs", "/real/a/t"),
    mount("bind", "/real/a/t/u", "/x"),
    mount("bind", "/real/ab", "/y"),
  );
  assertEquals(points.map(({ base, path }) => base + path), [
    `${rootfs}/real/a`,
    "/outer/b/c",
    "/inner/d",
    "/outer/t",
    `${rootfs}/real/ab`,
  ]);
});

Deno.test("mountPoints() makes /tmp, which CRIU needs in a read-only root, unless something is mounted there", () => {
  const pathsOf = (readonlyfs: boolean, ...mounts: ReturnType<typeof mount>[]) =>
    mountPoints(state({ mounts, readonlyfs }), { resolve }).map(({ path }) => path);
  assertEquals(pathsOf(true, mount("proc", "/proc")), ["/proc", "/tmp"]);
  assertEquals(pathsOf(true, mount("tmpfs", "/tmp")), ["/tmp"]);
  assertEquals(pathsOf(false), []);
});

Deno.test("mountPoints() refuses, before anything is made, names that CRIU would read as those of other mounts", () => {
  const refused = () => pointsOf(mount("bind", "/first", "/a"), mount("bind", "/link]:/etc", "/b"));
  assertThrows(refused, RuncError, 'a mount on "/real]:/etc" cannot be named to CRIU');
});
