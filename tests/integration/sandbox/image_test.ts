/** From an image on disk to a program in a sandbox: layers, overlay, defaults of the image. As root; with busybox-static. */

import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { createRuntime, Kernel, loadSpec, runOutput } from "../../../mod.ts";
import { imageProcess } from "../../../lib/sandbox/rootfs/image/image_process.ts";
import { openImage } from "../../../lib/sandbox/rootfs/image/open_image.ts";
import { overlayOptions, readInLayers, visibleLayers } from "../../../lib/sandbox/rootfs/overlay.ts";
import { sandboxConfig } from "../../../lib/sandbox/config/sandbox_config.ts";
import { dockerArchive } from "../../unit/sandbox/rootfs/image_maker.ts";
import { tar, type Written } from "../../unit/sandbox/rootfs/tar_writer.ts";
import { lacks } from "../interpreter_harness.ts";
import { inWorkshop, listing, output } from "../rootfs/workshop.ts";

const kernel = new Kernel();
const busybox = "/usr/bin/busybox";

const directory = (name: string, more: Partial<Written> = {}): Written => ({ name, type: "5", mode: 0o755, ...more });

const base = (): readonly Written[] => [
  ...["bin", "dev", "etc", "proc", "run", "sys", "tmp"].map((name) => directory(name)),
  { name: "bin/busybox", content: Deno.readFileSync(busybox), mode: 0o755 },
  ...["sh", "cat", "id", "ls", "rm", "pwd"].map((name): Written => ({
    name: `bin/${name}`,
    type: "2",
    linkName: "busybox",
  })),
  { name: "etc/passwd", content: "root:x:0:0::/:/bin/sh\n" },
  { name: "etc/removed", content: "old" },
];
const app: readonly Written[] = [
  { name: "etc/passwd", content: "root:x:0:0::/:/bin/sh\napp:x:1000:1000::/app:/bin/sh\n" },
  { name: "etc/group", content: "app:x:1000:\nmore:x:1001:app\n" },
  { name: "etc/.wh.removed" },
  directory("app", { uid: 1000, gid: 1000 }),
  { name: "app/data", content: "data", uid: 1000, gid: 1000 },
];

/** What an image's config has. */
const config = {
  User: "app",
  WorkingDir: "/app",
  Env: ["NAME=value"],
  Entrypoint: ["sh", "-c"],
  Cmd: [
    "id; pwd; echo $NAME; cat data; ls /etc; echo new > data; rm /etc/group 2>/dev/null; echo $?",
  ],
};

const name = "a program of an image runs as the image says, and changes the overlay only (needs busybox-static)";
Deno.test({
  name,
  ignore: lacks(busybox),
  fn: () =>
    inWorkshop(async (workshop) => {
      const archive = join(workshop.path, "image.tar");
      Deno.writeFileSync(archive, tar(...await dockerArchive({ layers: [tar(...base()), tar(...app)], config })));
      const image = await openImage(archive, { architecture: "amd64" });
      const cache = workshop.cache();
      const paths = await Promise.all(image.layers.map((layer) => cache.unpacked(layer)));
      const before = paths.map(listing);
      const layers = visibleLayers(kernel, paths, false);
      const [upper, work, root] = ["upper", "work", "root"].map((name) => join(workshop.path, name));
      for (const path of [upper!, work!, root!]) Deno.mkdirSync(path);
      const read = (path: string) => new TextDecoder().decode(readInLayers(kernel, layers, path, 65536));
      const defaults = imageProcess(image.config, { passwd: read("etc/passwd"), group: read("etc/group") });
      output(
        "mount",
        "-t",
        "overlay",
        "overlay",
        "-o",
        overlayOptions({ layers, upper: upper!, work: work!, rootless: false }),
        root!,
      );
      try {
        const made = sandboxConfig({
          options: { readonly: false },
          facts: { arch: kernel.arch, controllers: new Set(["memory", "pids"]), openFiles: 1024 },
          root: { kind: "directory", ...defaults },
          rootPath: root!,
          cgroupsPath: `/runc-sandbox-test-${Deno.pid}`,
          args: defaults.args!,
        });
        const runtime = createRuntime({ kernel, root: join(workshop.path, "state") });
        const spec = loadSpec(runtime, made.config, workshop.path);
        const { stdout, stderr } = await runOutput(runtime, { id: "box", spec });
        assertEquals([new TextDecoder().decode(stdout), new TextDecoder().decode(stderr)], [
          "uid=1000(app) gid=1000(app) groups=1001(more)\n/app\nvalue\ndata" + "group\npasswd\n1\n",
          "",
        ]);
      } finally {
        output("umount", root!);
      }
      assertEquals(paths.map(listing), before);
      assertEquals(Deno.readTextFileSync(join(upper!, "app/data")), "new\n");
    }),
});
