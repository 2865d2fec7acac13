/** Layers that a user without root unpacks, and the overlay that the user makes of them. Run as root, which becomes that user. */

import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { tar, utf8, type Written } from "../../unit/sandbox/rootfs/tar_writer.ts";
import { inWorkshop, output, type Workshop } from "./workshop.ts";

/** No account of this machine has it. */
const UID = 4000;

const program = `
  import { Kernel } from "./lib/ffi/kernel.ts";
  import { LayerCache } from "./lib/sandbox/rootfs/layer_cache.ts";
  import { visibleLayers } from "./lib/sandbox/rootfs/overlay.ts";
  import { Sha256 } from "./lib/sandbox/rootfs/sha256.ts";
  import { streamSource } from "./lib/sandbox/rootfs/byte_reader.ts";
  const kernel = new Kernel();
  const cache = new LayerCache(kernel, { directory: "home/cache", rootless: true });
  const layers = [];
  for (const name of Deno.args) {
    const bytes = Deno.readFileSync(name);
    const hash = new Sha256();
    hash.update(bytes);
    const open = () => Promise.resolve(streamSource(new Blob([bytes]).stream()));
    layers.push(await cache.unpacked({ diffId: "sha256:" + hash.hex(), open }));
  }
  const lower = visibleLayers(kernel, layers, true).toReversed().join(":");
  console.log("lowerdir=" + lower + ",upperdir=home/upper,workdir=home/work,userxattr");
`;

/** What the user needs, where the checkout may be out of reach. */
function prepare(workshop: Workshop): void {
  output("cp", "-a", new URL("../../../lib", import.meta.url).pathname, workshop.path);
  Deno.copyFileSync(Deno.execPath(), join(workshop.path, "deno"));
  Deno.writeTextFileSync(join(workshop.path, "program.ts"), program);
  Deno.writeTextFileSync(join(workshop.path, "deno.json"), "{}");
  output(
    "sh",
    "-ec",
    `cd "$1"; mkdir home home/upper home/work home/merged; chown -R ${UID}:${UID} home; chmod -R a+rX .`,
    "sh",
    workshop.path,
  );
}

/** Runs a program as the user, in the workshop. */
function asUser(workshop: Workshop, ...args: readonly string[]): string {
  const cached = `DENO_DIR=${join(workshop.path, "home/deno")}`;
  const ids = ["--reuid", `${UID}`, "--regid", `${UID}`, "--clear-groups"];
  return output("env", "-C", workshop.path, cached, "NO_COLOR=1", "setpriv", ...ids, ...args);
}

const f = (name: string, more: Partial<Written> = {}): Written => ({ name, content: name, ...more });

Deno.test("without root, files belong to the user, devices are left out, and the overlay shows the image", async () => {
  await inWorkshop((workshop) => {
    prepare(workshop);
    const capability = Uint8Array.of(1, 0, 0, 2, 0, 0x20, 0, 0, ...new Array(12).fill(0));
    const layers: readonly (readonly Written[])[] = [
      [
        { name: "d/", type: "5", mode: 0o755, uid: 5 },
        f("d/a", { uid: 1, gid: 2, mode: 0o4711 }),
        f("gone"),
        { name: "null", type: "3", major: 1, minor: 3 },
        { name: "fifo", type: "6" },
        { name: "closed/", type: "5", mode: 0 },
        f("closed/in"),
        f("capable", { pax: { "SCHILY.xattr.security.capability": capability, "SCHILY.xattr.user.a": utf8("b") } }),
      ],
      [f(".wh.gone"), { name: "d/", type: "5", mode: 0o755 }, f("d/.wh..wh..opq"), f("d/b")],
    ];
    for (const [index, entries] of layers.entries()) {
      Deno.writeFileSync(join(workshop.path, `${index}.tar`), tar(...entries));
    }
    const options = asUser(workshop, "./deno", "run", "--allow-all", "--no-config", "program.ts", "0.tar", "1.tar")
      .trim();
    assertEquals(options.endsWith(",userxattr"), true);
    const lower = options.slice(options.lastIndexOf(":") + 1, options.indexOf(",upperdir"));
    const names = output("find", join(workshop.path, lower), "-mindepth", "1", "-printf", "%U:%G %y %m %P\\n");
    assertEquals(names.trim().split("\n").sort(), [
      `${UID}:${UID} d 0 closed`,
      `${UID}:${UID} d 755 d`,
      `${UID}:${UID} f 4711 d/a`,
      `${UID}:${UID} f 644 capable`,
      `${UID}:${UID} f 644 closed/in`,
      `${UID}:${UID} f 644 gone`,
      `${UID}:${UID} p 644 fifo`,
    ]);
    const show = 'mount -t overlay overlay -o "$1" home/merged && cd home/merged && find . -type f -printf "%P "';
    const merged = asUser(
      workshop,
      "unshare",
      "--user",
      "--map-root-user",
      "--mount",
      "sh",
      "-ec",
      show,
      "sh",
      options,
    );
    assertEquals(merged.trim().split(" ").sort(), ["capable", "closed/in", "d/b"]);
    return Promise.resolve();
  });
});
