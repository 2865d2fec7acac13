/** What an image does to a checkpoint and its restore: CRIU knows the mounts of the host by texts that the image has a say in. */

import { assertEquals, assertMatch } from "@std/assert";
import { dirname } from "@std/path";
import { criuTest } from "../integration/criu_harness.ts";
import type { Change } from "../integration/harness.ts";

criuTest(
  "CVE-2026-119101, CVE-2026-115520, CVE-2026-119614: no link of the image names a directory of the host for CRIU to mount",
  (box) => {
    const { directory, rootfs } = box.box;
    const [volume, secret] = [`${directory}/volumes/volume`, `${directory}/host/volume`];
    for (const path of [volume, secret]) {
      Deno.mkdirSync(path, { recursive: true });
      Deno.writeTextFileSync(`${path}/whose`, path === volume ? "of the volume\n" : "of the host\n");
    }
    const link = (target: string) => {
      Deno.removeSync(`${rootfs}/data`);
      Deno.symlinkSync(target, `${rootfs}/data`);
    };
    Deno.mkdirSync(`${rootfs}/plain`);
    Deno.symlinkSync("/plain", `${rootfs}/data`);
    const change: Change = ({ mounts }) =>
      mounts.push({ destination: "/data", type: "bind", source: volume, options: ["bind"] });
    box.startCounting(change);
    box.checkpoint();

    // "mnt[/plain]:…" is how CRIU finds the mount /plain. What follows is a path of the host, on which a link of the image lies.
    const trap = `${rootfs}/trap`;
    link(`/plain]:${trap}`);
    Deno.mkdirSync(`${trap}]:${directory}`, { recursive: true });
    Deno.symlinkSync(dirname(secret), `${trap}]:${dirname(volume)}`);
    const restore = ["restore", "--detach", "--image-path", box.images, box.id];
    const { code, stderr } = box.runc(restore);
    // Where it has been restored: with which directory?
    if (code === 0) assertEquals(box.box.must(["exec", box.id, "cat", "/plain/whose"]), "of the volume\n");
    assertMatch(stderr, /a mount on \\"\/plain\]:.*\\" cannot be named to CRIU/);
    assertEquals(box.box.containers(), []);

    // As it was before, it is restored with the volume.
    link("/plain");
    box.restore();
    assertEquals(box.box.must(["exec", box.id, "cat", "/plain/whose"]), "of the volume\n");
    box.box.remove();
    // Nor is such a container saved: its image would be one that nobody can restore.
    Deno.removeSync(`${rootfs}/count`);
    link("/plain]:x");
    box.startCounting(change);
    const { msg, code: refusal } = box.refused(["checkpoint", "--image-path", `${directory}/other`, box.id]);
    assertMatch(msg, /a mount on "\/plain\]:x" cannot be named to CRIU/);
    assertEquals(refusal, "unsupported");
    box.countsOn();
    box.box.remove();
  },
);
