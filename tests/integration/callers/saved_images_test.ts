/** Images that Podman, Buildah, Skopeo and Docker have written, as roots of sandboxes: files as the engine shows them. */

import { assert, assertEquals } from "@std/assert";
import { basename, join } from "@std/path";
import { type ImageRoot, Sandbox } from "../../../mod.ts";
import { dockerArchive } from "../../unit/sandbox/rootfs/image_maker.ts";
import { tar, utf8, type Written } from "../../unit/sandbox/rootfs/tar_writer.ts";
import { attribute, output } from "../rootfs/workshop.ts";
import { docker, dockersNeeds } from "./docker.ts";
import { type Engine, must } from "./engine.ts";
import { podmanAsRoot, podmansNeeds } from "./podman.ts";
import { missing, runtime, Workshop } from "./workshop.ts";

/** A file capability: cap_net_raw=ep. Revision 2, effective; include/uapi/linux/capability.h */
const capability = Uint8Array.of(1, 0, 0, 2, 0, 0x20, 0, 0, ...new Array(12).fill(0));

const [a, b, c] = ["a", "b", "c"].map((letter) => letter.repeat(120));
const directory = (name: string, more: Partial<Written> = {}): Written => ({ name, type: "5", mode: 0o755, ...more });

/** What `RUN` and `COPY` lines do not make. */
const files: readonly Written[] = [
  directory("etc"),
  { name: "etc/group", content: "root:x:0:\nsomeone:x:1000:\nmore:x:1001:other,someone\n" },
  directory("files"),
  {
    name: "files/capable",
    content: "program",
    mode: 0o755,
    pax: { "SCHILY.xattr.security.capability": capability, "SCHILY.xattr.user.name": "value" },
  },
  { name: "files/hard", type: "1", linkName: "files/capable", mode: 0o755 },
  { name: "files/setuid", content: "setuid", mode: 0o4755, uid: 1000, gid: 1000, mtime: 1 },
  { name: "files/owned", content: "", pax: { uid: "3000000", gid: "4000000", mtime: "1000000000.123456789" } },
  { name: "files/absolute", type: "2", linkName: "/etc/passwd" },
  { name: "files/upwards", type: "2", linkName: "../../../nowhere" },
  { name: "files/far", type: "2", pax: { linkpath: `${a}/${b}` } },
  { name: "files/null", type: "3", mode: 0o666, major: 1, minor: 3 },
  { name: "files/loop", type: "4", mode: 0o660, major: 7, minor: 70 },
  { name: "files/fifo", type: "6", mode: 0o600 },
  { name: utf8("files/é\n"), content: "name" },
  directory("long", { pax: { path: `files/${a}` } }),
  directory("long", { pax: { path: `files/${a}/${b}` } }),
  { name: "long", content: "long", pax: { path: `files/${a}/${b}/${c}` } },
  ...["opaque", "removed", "removed/deep", "replaced"].map((name) => directory(name)),
  ...["opaque/low", "removed/deep/file", "replaced/file", "file"].map((name) => ({ name, content: "low" })),
];

/** An opaque directory, and whiteouts. */
const changes: readonly Written[] = [
  directory("opaque", { mode: 0o700 }),
  { name: "opaque/.wh..wh..opq" },
  { name: "opaque/high", content: "high" },
  directory("removed"),
  { name: "removed/.wh.deep" },
  { name: "replaced", content: "a file by now" },
  directory("file"),
  { name: "file/inner", content: "inner" },
];

/** Each line is a layer. */
const containerfile = `
FROM localhost/made
RUN mkdir -p /d/sub /gone/deep /d/full && echo 1 >/d/one && echo 2 >/d/two && echo x >/gone/deep/x && ln /d/one /d/hard && ln -s one /d/link && echo full >/d/full/f
RUN rm -r /gone /d/two /d/full /bin/wc && mkdir /d/full && chmod 4755 /d/one && chown 1000:1000 /d/sub && chmod 2775 /d/sub && mv /files/setuid /d/moved
RUN rm -r /d/link /d/sub && mkdir -p /d/link && echo directory >/d/link/f && echo file >/d/sub && mkdir -m 1777 shared && touch -d '1999-12-31 23:59:59' shared
USER someone
`;

/** What is mounted in a sandbox, or made by who runs a container. */
const others = [
  "dev",
  "proc",
  "run",
  "sys",
  "tmp",
  ".dockerenv",
  "etc/hosts",
  "etc/hostname",
  "etc/resolv.conf",
  "etc/mtab",
];

/** The files below `root`, with all that an image says about them. */
function seen(root: string): readonly string[] {
  const without = others.flatMap((path) => ["-path", join(root, path), "-prune", "-o"]);
  // A directory's size and links are the file system's.
  const print = ["-type", "d", "-printf", "d %m %U:%G %T@ %P\\0", "-o", "-printf", "%y %m %n %U:%G %s %T@ %P -> %l\\0"];
  return output("find", root, "-mindepth", "1", ...without, ...print).split("\0").sort();
}

/** `normal`: what of a line has to be the same. */
function assertSame(engines: string, sandboxes: string, what: string, normal = (line: string) => line): void {
  const [ours, theirs] = [sandboxes, engines].map((root) => new Set(seen(root).map(normal))) as [
    Set<string>,
    Set<string>,
  ];
  assertEquals([[...ours.difference(theirs)], [...theirs.difference(ours)]], [[], []], what);
  assert(ours.size > 100, what);
  const kinds = ["fifo", "null", "loop"].map((name) => `--exclude=${name}`);
  output(
    "diff",
    "-r",
    "--no-dereference",
    ...kinds,
    ...others.map((path) => `--exclude=${basename(path)}`),
    engines,
    sandboxes,
  );
  // Docker's own copies of a layer do not have them.
  assertEquals(
    attribute(join(sandboxes, "files/capable"), "security.capability"),
    new TextDecoder().decode(capability),
  );
  assertEquals(attribute(join(sandboxes, "files/hard"), "user.name"), "value");
  const devices = (root: string) => output("stat", "-c", "%t:%T", join(root, "files/null"), join(root, "files/loop"));
  assertEquals(devices(sandboxes), devices(engines), what);
}

const state = Deno.makeTempDirSync({ prefix: "runc-saved-images-" });
addEventListener("unload", () => Deno.removeSync(state, { recursive: true }));

/** A sandbox of the image, whose layers are unpacked anew. */
async function withSandbox(
  { directory }: Engine,
  root: ImageRoot,
  body: (sandbox: Sandbox, root: string) => void | Promise<void>,
): Promise<void> {
  const cache = join(directory, `cache-${crypto.randomUUID()}`);
  await using sandbox = await Sandbox.create({ directory: state, root: { ...root, cache } });
  await body(sandbox, `/proc/${sandbox.pid}/root/`);
}

/** What the image starts by default. */
async function said(sandbox: Sandbox): Promise<string> {
  const [program, ...args] = sandbox.command;
  const child = await sandbox.spawn(program!, { args, stdout: "piped" });
  return (await child.output()).stdoutText!.trimEnd();
}

/** The path of the image with the files above, as an archive. The engine has made that of the workshop's root. */
async function madeImage(directory: string): Promise<string> {
  const path = join(directory, "made.tar");
  const layers = [Deno.readFileSync(join(directory, "rootfs.tar")), tar(...files), tar(...changes)];
  const config = {
    Env: ["PATH=/bin", "WHAT=that thing"],
    WorkingDir: "/work",
    Entrypoint: ["sh", "-c"],
    Cmd: ["id -un; id -G; pwd; env | grep WHAT"],
  };
  Deno.writeFileSync(path, tar(...await dockerArchive({ layers, config, names: ["localhost/made:latest"] })));
  return path;
}

function savedTest(
  name: string,
  needed: readonly { program: string; package: string }[],
  body: (workshop: Workshop, t: Deno.TestContext) => Promise<void>,
): void {
  const lacking = missing(needed);
  Deno.test({
    name: `images as ${name} writes them are roots of sandboxes${lacking}`,
    ignore: lacking !== "",
    fn: async (t) => {
      // The lock of the state is open as long as the program.
      await (await Sandbox.create({ directory: state })).close();
      using workshop = new Workshop();
      await body(workshop, t);
    },
  });
}

/** Beside Podman. */
const tools = [{ program: "skopeo", package: "skopeo" }, { program: "buildah", package: "buildah" }];

savedTest("podman, buildah and skopeo", [...podmansNeeds, ...tools], async (workshop, t) => {
  const engine = podmanAsRoot(workshop);
  const { directory } = engine;
  const at = (name: string) => join(directory, name);
  const env = { CONTAINERS_STORAGE_CONF: at("storage.conf"), CONTAINERS_CONF: at("containers.conf") };
  const tool = (...argv: readonly string[]) => workshop.must([`/usr/bin/${argv[0]}`, ...argv.slice(1)], { env });
  must(engine, "load", "--quiet", "--input", await madeImage(directory));
  const file = workshop.write("Containerfile", containerfile);
  const options = ["--layers", "--isolation=oci", `--runtime=${runtime}`, "--network=none", "--pull-never"];
  must(engine, "build", ...options, `--cgroup-parent=/${workshop.name}`, "--tag=app:1", `--file=${file}`, directory);
  must(engine, "tag", "app:1", "example.org/team/app:2");
  const podmans = must(engine, "image", "mount", "app:1");
  const words = must(engine, "run", "--rm", "--network=none", "app:1");
  const writers: Readonly<Record<string, () => ImageRoot>> = {
    "podman save": () => {
      must(engine, "save", "--quiet", "--output", at("docker.tar"), "app:1");
      return { image: at("docker.tar") };
    },
    "podman save --format oci-archive": () => {
      must(engine, "save", "--quiet", "--format=oci-archive", "--output", at("oci.tar"), "app:1");
      return { image: at("oci.tar"), name: "app:1" };
    },
    "podman save --format oci-dir": () => {
      must(engine, "save", "--quiet", "--format=oci-dir", "--output", at("oci"), "app:1");
      return { image: at("oci") };
    },
    "podman save --format docker-dir": () => {
      must(engine, "save", "--quiet", "--format=docker-dir", "--output", at("docker"), "app:1");
      return { image: at("docker") };
    },
    "podman save --multi-image-archive": () => {
      const names = ["busybox", "localhost/made", "app:1", "example.org/team/app:2"];
      must(engine, "save", "--quiet", "--multi-image-archive", "--output", at("several.tar"), ...names);
      return { image: at("several.tar"), name: "example.org/team/app:2" };
    },
    "buildah push": () => {
      tool("buildah", "push", "--quiet", "localhost/app:1", `oci:${at("pushed")}:some-tag`);
      return { image: at("pushed"), name: "some-tag" };
    },
    "buildah manifest push: an index of several platforms": () => {
      const other = Deno.build.arch === "aarch64" ? "amd64" : "arm64";
      tool("buildah", "manifest", "create", "list");
      tool("buildah", "manifest", "add", `--arch=${other}`, "list", "containers-storage:localhost/made:latest");
      tool("buildah", "manifest", "add", "list", "containers-storage:localhost/app:1");
      tool("buildah", "manifest", "push", "--quiet", "--all", "list", `oci:${at("list")}:app`);
      return { image: at("list"), name: "app" };
    },
    "skopeo copy to a layout, with gzip": () => {
      tool("skopeo", "copy", "--quiet", `oci:${at("oci")}`, `oci:${at("copied")}:one`);
      tool("skopeo", "copy", "--quiet", `docker-archive:${at("made.tar")}`, `oci:${at("copied")}:other`);
      return { image: at("copied"), name: "one" };
    },
    "skopeo copy to an archive": () => {
      tool("skopeo", "copy", "--quiet", `oci:${at("oci")}`, `docker-archive:${at("copied.tar")}:team/app`);
      return { image: at("copied.tar"), name: "team/app" };
    },
    "skopeo copy with zstd": () => {
      const format = ["--dest-compress", "--dest-compress-format=zstd"];
      tool("skopeo", "copy", "--quiet", ...format, `oci:${at("oci")}`, `oci:${at("zstd")}`);
      return { image: at("zstd") };
    },
  };
  for (const [what, write] of Object.entries(writers)) {
    await t.step(what, () =>
      withSandbox(engine, write(), async (sandbox, root) => {
        assertSame(podmans, root, what);
        assertEquals(await said(sandbox), words);
      }));
  }
});

savedTest("docker", dockersNeeds, async (workshop) => {
  const engine = docker(workshop);
  const { directory } = engine;
  const at = (name: string) => join(directory, name);
  must(engine, "load", "--quiet", "--input", await madeImage(directory));
  const file = workshop.write("Dockerfile", containerfile);
  Deno.mkdirSync(at("context"));
  const { code, stderr } = engine.call(
    ["build", "--quiet", "--network=none", "--tag=app:1", `--file=${file}`, at("context")],
    { env: { DOCKER_BUILDKIT: "0" } },
  );
  assertEquals(code, 0, stderr);
  must(engine, "tag", "app:1", "example.org/team/app:2");
  must(engine, "create", "--name=shown", "app:1");
  must(engine, "export", "--output", at("shown.tar"), "shown");
  Deno.mkdirSync(at("shown"));
  output("tar", "-C", at("shown"), "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", at("shown.tar"));
  const words = must(engine, "run", "--rm", "--network=none", "app:1");
  must(engine, "save", "--output", at("one.tar"), "app:1");
  must(engine, "save", "--output", at("several.tar"), "busybox", "example.org/team/app:2", "app:1");
  // `export` has no fractions of seconds, and `create` has made files in /etc.
  const normal = (line: string) => line.replace(/\.\d{10} /, " ").replace(/ \d+ etc$/, " etc");
  for (const root of [{ image: at("one.tar") }, { image: at("several.tar"), name: "app:1" }]) {
    await withSandbox(engine, root, async (sandbox, files) => {
      assertSame(at("shown"), files, root.image, normal);
      assertEquals(await said(sandbox), words);
    });
  }
});
