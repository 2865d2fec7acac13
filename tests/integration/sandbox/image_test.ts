/** Sandboxes of images on disk: layers, defaults of the image, changes, attacks. As root; with busybox-static. */

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { RuncError, Sandbox, type SandboxOptions } from "../../../mod.ts";
import { dockerArchive, ociLayout } from "../../unit/sandbox/rootfs/image_maker.ts";
import { tar, type Written } from "../../unit/sandbox/rootfs/tar_writer.ts";
import { lacks } from "../interpreter_harness.ts";
import { cgroupsNamed, mounts } from "../leftovers.ts";
import { inWorkshop, listing, type Workshop } from "../rootfs/workshop.ts";
import { base, busybox, directory, writeFiles } from "./busybox_image.ts";

const app: readonly Written[] = [
  { name: "etc/passwd", content: "root:x:0:0::/:/bin/sh\napp:x:1000:1000::/app:/bin/sh\n" },
  { name: "etc/group", content: "app:x:1000:\nmore:x:1001:app\n" },
  { name: "etc/.wh.removed" },
  directory("app", { uid: 1000, gid: 1000 }),
  { name: "app/data", content: "data", uid: 1000, gid: 1000 },
];

/** What an image's config has. */
const config = { User: "app", WorkingDir: "/app", Env: ["NAME=value"], Entrypoint: ["sh", "-c"], Cmd: ["id -u"] };

const state = Deno.makeTempDirSync({ prefix: "runc-sandbox-image-" });
addEventListener("unload", () => Deno.removeSync(state, { recursive: true }));

function imageTest(name: string, test: (workshop: Workshop, create: Create) => Promise<void>): void {
  Deno.test({
    name: `${name} (needs busybox-static)`,
    ignore: lacks(busybox),
    fn: async () => {
      // The lock of the state is open as long as the program.
      await (await Sandbox.create({ directory: state })).close();
      await inWorkshop((workshop) =>
        test(
          workshop,
          (image, options = {}) =>
            Sandbox.create({ directory: state, root: { image, cache: workshop.cachePath }, ...options }),
        )
      );
    },
  });
}

type Create = (image: string, options?: SandboxOptions) => Promise<Sandbox>;

/** The overlays of the host but for those of other tests, which are below /tmp. */
function overlays({ path }: Workshop): number {
  const isOurs = (place: string) => [path, state].some((own) => place.startsWith(own)) || !place.startsWith("/tmp/");
  return mounts().filter(({ type, place }) => type === "overlay" && isOurs(place)).length;
}

imageTest(
  "a sandbox is as its image says; changes are its own, bounded, and gone with it",
  async (workshop, create) => {
    const image = join(workshop.path, "image.tar");
    Deno.writeFileSync(image, tar(...await dockerArchive({ layers: [tar(...base()), tar(...app)], config })));
    const before = overlays(workshop);
    {
      await using sandbox = await create(image);
      const said = await sandbox.sh`id; pwd; echo $NAME; cat data; ls /etc; touch data /new 2>&1; echo > /tmp/f`.text();
      assertEquals(
        said,
        "uid=1000(app) gid=1000(app) groups=1001(more)\n/app\nvalue\ndata" + "group\npasswd\n" +
          "touch: data: Read-only file system\ntouch: /new: Read-only file system\n",
      );
      assertEquals(sandbox.command, ["sh", "-c", "id -u"]);
      const [program, ...args] = sandbox.command;
      assertEquals((await (await sandbox.spawn(program!, { args, stdout: "piped" })).output()).stdoutText, "1000\n");
    }
    const layers = [...Deno.readDirSync(join(workshop.cachePath, "root/sha256"))].map(({ name }) =>
      join(workshop.cachePath, "root/sha256", name)
    );
    const unchanged = layers.map(listing);
    for (let round = 0; round < 2; round++) {
      await using sandbox = await create(image, { readonly: false, disk: "1MiB", user: "root" });
      const script = `cat /app/data; echo new > /app/data; rm -r /etc /bin/ls; mkdir /etc; echo /etc/*
      head -c 2000000 /dev/zero > /big; wc -c < /big`;
      // The image's data was changed in the round before, and no removed file shines through.
      assertEquals(await sandbox.sh`eval ${script}`.stderr("null").text(), `data/etc/*\n${2 ** 20}\n`);
      // The host's mounts do not have it: nothing has to be unmounted, whatever ends the program.
      assertEquals(overlays(workshop), before);
    }
    assertEquals(layers.map(listing), unchanged);
  },
);

imageTest("an image has many layers, and the same one several times", async (workshop, create) => {
  const numbered = (index: number) =>
    tar({ name: `f${index}`, content: "text" }, { name: "last", content: `${index}` });
  const removing = tar({ name: "d/.wh.f" }, { name: "d/g" });
  const twice = tar(directory("d"), { name: "d/f", content: "again" });
  const layers = [
    tar(...base()),
    twice,
    removing,
    ...Array.from({ length: 150 }, (_, index) => numbered(index)),
    twice,
  ];
  const image = join(workshop.path, "image");
  writeFiles(image, await ociLayout({ layers }));
  await using sandbox = await create(image, { readonly: false, disk: "64KiB" });
  const script = "ls -d /f* | wc -l; cat /last; rm /f0; ls /d; cat /d/f; ls -d /f* | wc -l";
  assertEquals(await sandbox.sh`eval ${script}`.text(), "150\n149f\ng\nagain149\n");
});

imageTest("an image cannot reach the host: links for its own files, devices, whiteouts", async (workshop, create) => {
  const secret = join(workshop.path, "secret");
  Deno.writeTextFileSync(secret, "evil:x:7:7::/:/bin/sh\n");
  const outside = join(workshop.path, "outside");
  Deno.mkdirSync(outside);
  const entries = base().filter(({ name }) => !["run", "etc/passwd"].includes(`${name}`));
  const links = [["run", `../../../..${outside}`], ["etc/passwd", secret]];
  const evil: readonly Written[] = [
    ...links.map(([name, linkName]): Written => ({ name: name!, type: "2", linkName })),
    { name: "null", type: "3", mode: 0o666, major: 1, minor: 3 },
  ];
  writeFiles(
    join(workshop.path, "image"),
    await ociLayout({ layers: [tar(...entries), tar(...evil)], config: { User: "0", WorkingDir: "/made" } }),
  );
  const image = join(workshop.path, "image");
  await using sandbox = await create(image);
  const said = await sandbox.sh`pwd; cat /etc/passwd; echo x > /null; echo x > /run/f; ls ${outside}`.noThrow()
    .result();
  assertMatch(said.stderrText!, /passwd[^]*null: Permission denied/);
  assertEquals(said.stdoutText, "/made\nf\n");
  assertEquals([...Deno.readDirSync(outside)], []);
  const named = join(workshop.path, "named");
  writeFiles(named, await ociLayout({ layers: [tar(...entries), tar(...evil)], config: { User: "evil" } }));
  const error = await assertRejects(() => create(named), RuncError, "evil");
  assertEquals(error.code, "image-invalid");
});

imageTest("SIGKILL of the program ends a sandbox of an image, and its root with it", async (workshop) => {
  const image = join(workshop.path, "image");
  writeFiles(image, await ociLayout({ layers: [tar(...base()), tar({ name: "data", content: "data" })] }));
  const before = overlays(workshop);
  const program = new URL("./end_program.ts", import.meta.url).pathname;
  const ownState = join(workshop.path, "state");
  const run = (how: string) => {
    const args = ["run", "-A", "--no-check", program, ownState, how, image, workshop.cachePath];
    return new Deno.Command(Deno.execPath(), { args, stdout: "piped", stderr: "null" });
  };
  await using child = run("wait").spawn();
  let text = "";
  let inSandbox = "";
  for await (const bytes of child.stdout) {
    text += new TextDecoder().decode(bytes);
    if (!text.endsWith("\n")) continue;
    inSandbox = Deno.readTextFileSync(`/proc/${JSON.parse(text).pid}/mountinfo`);
    child.kill("SIGKILL");
  }
  await child.status;
  // The overlay was in the sandbox's mount namespace alone, which is gone with its last process.
  assertMatch(inSandbox, / - overlay /);
  assertEquals(overlays(workshop), before);
  const { id, pids } = JSON.parse(text) as { id: string; pids: readonly number[] };
  const isAlive = (pid: number) => {
    try {
      return !/^State:\t[ZX]/m.test(Deno.readTextFileSync(`/proc/${pid}/status`));
    } catch {
      return false;
    }
  };
  for (let tries = 0; pids.some(isAlive); tries++) {
    if (tries === 1000) throw new Error(`still alive: ${pids}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  // The next program uses the same layers, and removes what is left.
  assertEquals([(await run("exit").output()).code, cgroupsNamed(id)], [3, []]);
});
