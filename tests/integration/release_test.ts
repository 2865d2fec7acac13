/** `deno task release`: the same source gives the same bytes, and what is installed works, and goes as it came. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { existsSync } from "@std/fs";
import lock from "../../package-lock.json" with { type: "json" };
import { minify, projectDir } from "../../tools/bundle.ts";
import { type Box, boxTest, execute, inBoxAsync, makeRootfs, type Result, Running, until } from "./harness.ts";

const deno = Deno.execPath();
const out = Deno.makeTempDirSync({ prefix: "runc-release-" });
addEventListener("unload", () => Deno.removeSync(out, { recursive: true }));

/** Where npm keeps what it has downloaded, and git's settings are. */
const HOME = Deno.env.get("HOME") ?? "/root";

/** Runs a program that may take longer than the harness waits. */
async function outcome(argv: readonly string[], env: Record<string, string> = {}): Promise<Result> {
  const [program = "", ...args] = argv;
  const { code, stdout, stderr } = await new Deno.Command(program, { args, env }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

async function must(argv: readonly string[], env: Record<string, string> = {}): Promise<string> {
  const { code, stdout, stderr } = await outcome(argv, env);
  assertEquals(code, 0, `${argv.join(" ")}: ${stdout}${stderr}`);
  return stdout;
}

/** The command line of the tool, in the project at `directory`. */
const releaseIn = (directory: string, ...options: string[]) => [
  deno,
  ..."run --allow-all --no-check --config".split(" "),
  `${directory}/deno.json`,
  `${directory}/tools/release/release.ts`,
  ...options,
];

const fileOf = (architecture: string, pattern: RegExp): string => {
  const found = [...Deno.readDirSync(out)].map(({ name }) => name).filter((name) =>
    pattern.test(name) && name.includes(architecture)
  );
  assertEquals(found.length, 1, `${pattern} of ${architecture}`);
  return `${out}/${found[0]}`;
};
const tarball = (architecture: string) => fileOf(architecture, /\.tar\.gz$/);
const debian = (architecture: string) => fileOf(architecture, /\.deb$/);

Deno.test("a release has a tarball, a Debian package and a list for each architecture, with checksums", async () => {
  await must(releaseIn(projectDir, "--out", out));
  for (const architecture of ["amd64", "arm64"]) {
    for (const kind of [/\.tar\.gz$/, /\.deb$/, /\.cdx\.json$/]) assert(existsSync(fileOf(architecture, kind)));
  }
  const checked = await must(["sh", "-c", 'cd "$1" && sha256sum --check --strict SHA256SUMS', "sh", out]);
  assertEquals(checked.trimEnd().split("\n").length, 6);
});

Deno.test("another build of the same source, elsewhere and otherwise, has the same bytes", async () => {
  const again = Deno.makeTempDirSync({ prefix: "runc-release-" }), place = `${again}/elsewhere`;
  try {
    Deno.mkdirSync(place);
    const script = 'umask 077; mount --bind "$1" "$2"; cd /; shift 2; exec "$@"';
    const argv = releaseIn(place, "--arch", "amd64", "--out", again);
    // git believes only the owner of a directory, and knows a worktree by its place.
    const env = { TZ: "Pacific/Chatham", LC_ALL: "C", HOME };
    await must(["unshare", "--mount", "sh", "-ec", script, "sh", projectDir, place, ...argv], env);
    const made = [...Deno.readDirSync(again)].map(({ name }) => name).filter((name) => name.includes("amd64"));
    assertEquals(made.length, 3);
    for (const name of made) {
      const { code } = execute(["/usr/bin/cmp", `${out}/${name}`, `${again}/${name}`]);
      assertEquals([name, code], [name, 0]);
    }
  } finally {
    Deno.removeSync(again, { recursive: true });
  }
});

Deno.test("the list of what is in a tarball names each file with its hash, and Deno with npm's", async () => {
  const directory = Deno.makeTempDirSync({ prefix: "runc-release-" });
  try {
    await must(["tar", "--extract", "--file", tarball("arm64"), "--directory", directory, "--strip-components=1"]);
    const list = JSON.parse(Deno.readTextFileSync(`${directory}/sbom.cdx.json`));
    assertEquals(JSON.parse(Deno.readTextFileSync(fileOf("arm64", /\.cdx\.json$/))), list);
    const [listed, ...files] = list.components;
    const sums = files.map(({ name, hashes }: { name: string; hashes: { content: string }[] }) =>
      `${hashes[0]!.content}  ${name}\n`
    );
    Deno.writeTextFileSync(`${directory}/sums`, sums.join(""));
    await must(["env", "-C", directory, "sha256sum", "--check", "--strict", "--quiet", "sums"]);
    const found = await must(["find", directory, "-type", "f", "-printf", "%P\n"]);
    const names = files.map(({ name }: { name: string }) => name);
    assertEquals(found.trimEnd().split("\n").toSorted(), [...names, "sbom.cdx.json", "sums"].toSorted());
    const pinned = lock.packages["node_modules/@deno/linux-arm64-glibc"].integrity.replace("sha512-", "");
    const bytes = Uint8Array.from(atob(pinned), (character) => character.charCodeAt(0));
    assertEquals([listed.name, listed.hashes[0].content], [
      "deno",
      Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(""),
    ]);
    // A release for another architecture is not run here: Deno is at least a program for it.
    assertMatch(await must(["readelf", "--file-header", `${directory}/lib/deno`]), /Machine: +AArch64/);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

Deno.test("lintian has nothing to say about the Debian package", async () => {
  assertEquals(await outcome(["lintian", "--allow-root", debian("amd64")]), { code: 0, stdout: "", stderr: "" });
});

Deno.test("both packages have the same files, and dpkg reads them", async () => {
  const namesIn = async (architecture: string) =>
    (await must(["dpkg-deb", "--contents", debian(architecture)])).split("\n").map((line) =>
      line.split(/\s+/).slice(5).join(" ")
    );
  const names = await namesIn("arm64");
  assertEquals(names, await namesIn("amd64"));
  for (const name of ["./usr/bin/runc-ts -> ../lib/runc-ts/runc", "./usr/lib/runc-ts/deno"]) {
    assert(names.includes(name), name);
  }
  const fields = await must(["dpkg-deb", "--field", debian("arm64"), "Package", "Architecture"]);
  assertEquals(fields, "Package: runc-ts\nArchitecture: arm64\n");
});

/** Runs `body` with the files and the control files of a package. */
async function unpackedDebian(architecture: string, body: (directory: string) => Promise<void>): Promise<void> {
  const directory = Deno.makeTempDirSync({ prefix: "runc-release-" });
  try {
    await must(["dpkg-deb", "--raw-extract", debian(architecture), directory]);
    await body(directory);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

Deno.test("the package for arm64 differs from the other one in Deno, its name and its sums alone", async () => {
  await unpackedDebian("arm64", async (theirs) => {
    await unpackedDebian("amd64", async (ours) => {
      const { stdout } = await outcome(["diff", "--recursive", "--brief", "--no-dereference", ours, theirs]);
      const different = stdout.trimEnd().split("\n").map((line) => line.split(" ")[1]?.replace(`${ours}/`, ""));
      const documents = "usr/share/doc/runc-ts";
      assertEquals(different, [
        "DEBIAN/control",
        "DEBIAN/md5sums",
        "usr/lib/runc-ts/deno",
        `${documents}/sbom.cdx.json`,
      ]);
      const fields = (directory: string) =>
        Deno.readTextFileSync(`${directory}/DEBIAN/control`).replace(/^(Architecture|Installed-Size): .*\n/gm, "");
      assertEquals(fields(theirs), fields(ours));
    });
    await must(["env", "-C", theirs, "md5sum", "--check", "--strict", "--quiet", "DEBIAN/md5sums"]);
    // The one program for a processor.
    const programs = await must([
      "grep",
      "--recursive",
      "--files-with-matches",
      "--text",
      "--perl-regexp",
      "^\\x7fELF",
      theirs,
    ]);
    assertEquals(programs, `${theirs}/usr/lib/runc-ts/deno\n`);
    assertMatch(await must(["readelf", "--file-header", programs.trim()]), /Machine: +AArch64/);
  });
});

/** This machine with all its files, in a mount namespace that keeps changes to itself. */
class Copy implements Disposable {
  readonly #running: Running;
  readonly #changes: string;
  readonly #root: string;

  /** `isBare`: without /proc. */
  constructor(box: Box, { isBare = false } = {}) {
    const directory = `${box.directory}/copy`;
    Deno.mkdirSync(directory);
    this.#changes = `${directory}/changes`;
    this.#root = `${directory}/root`;
    const script = [
      'cd "$1"; mount -t tmpfs none .; cd "$1"; mkdir changes work root',
      "mount -t overlay overlay -o lowerdir=/,upperdir=changes,workdir=work root",
      ...(isBare ? [] : ["mount -t proc proc root/proc", "mount --rbind /sys root/sys", "mount --rbind /dev root/dev"]),
      "for place in run tmp; do mount -t tmpfs none root/$place; done",
      // What the test has made in /tmp.
      'mkdir -p "root$2"; mount --bind "$2" "root$2"',
      "echo ready; exec sleep infinity",
    ].join("\n");
    const argv = ["--mount", "--propagation=private", "/bin/sh", "-ec", script, "sh", directory, box.directory];
    this.#running = new Running(["/usr/bin/unshare", ...argv]);
    until("the copy is mounted", () => {
      if (this.#running.isOver) throw new Error(this.#running.stderr);
      return this.#running.stdout.includes("ready");
    });
  }

  /** A command line that does `argv` in the copy. */
  there(argv: readonly string[]): readonly string[] {
    return ["/usr/bin/nsenter", `--target=${this.#running.pid}`, "--mount", `--root=${this.#rootThere()}`, ...argv];
  }

  #rootThere = () => `/proc/${this.#running.pid}/root${this.#root}`;

  execute(argv: readonly string[], cwd?: string): Result {
    return execute(this.there(cwd === undefined ? argv : ["/usr/bin/env", "-C", cwd, ...argv]));
  }

  must(...argv: readonly string[]): Result {
    const result = this.execute(argv);
    assertEquals(result.code, 0, `${argv.join(" ")}: ${result.stdout}${result.stderr}`);
    return result;
  }

  /** Paths that were made, changed or removed, without what dpkg and its triggers write themselves. */
  changes(): readonly string[] {
    const directory = `/proc/${this.#running.pid}/root${this.#changes}`;
    return execute(["/usr/bin/find", directory, "-mindepth", "1", "!", "-type", "d", "-printf", "/%P\n"]).stdout
      .split("\n").filter((path) => !/^$|^\/var\/(cache\/man|lib\/dpkg|log)\//.test(path));
  }

  [Symbol.dispose](): void {
    this.#running[Symbol.dispose]();
  }
}

/** Puts a package where the copy finds it. */
function brought(box: Box, architecture = "amd64"): string {
  const path = `${box.directory}/package.deb`;
  Deno.copyFileSync(debian(architecture), path);
  return path;
}

/** A container in the copy, by the program of the package. */
function runs(box: Box, copy: Copy): void {
  box.write();
  const [, ...args] = box.argv("run", box.id);
  const ran = copy.execute(["/usr/bin/runc-ts", ...args], box.bundle);
  assertEquals(ran, { code: 0, stdout: "", stderr: "" });
}

boxTest("the Debian package takes its snapshot when it is installed, runs a container, and leaves nothing", (box) => {
  using copy = new Copy(box);
  const before = copy.changes(), path = brought(box);
  const { stderr } = copy.must("/usr/bin/dpkg", "--install", path);
  assertEquals(stderr, "");
  assertMatch(copy.must("/usr/bin/runc-ts", "--version").stdout, /^program: snapshot$/m);
  runs(box, copy);
  // Nothing that dpkg has installed was changed.
  assertEquals(copy.must("/usr/bin/dpkg", "--verify", "runc-ts").stdout, "");
  copy.must("/usr/bin/test", "-f", "/usr/share/man/man8/runc-ts-run.8.gz");
  upgradesWithoutAGap(copy, path);
  copy.must("/usr/bin/dpkg", "--purge", "runc-ts");
  assertEquals(copy.changes(), before);
});

/** Calls the program while dpkg replaces the package. */
function upgradesWithoutAGap(copy: Copy, path: string): void {
  using again = new Running(copy.there(["/usr/bin/dpkg", "--install", path]));
  let calls = 0;
  for (; !again.isOver; calls++) assertMatch(copy.must("/usr/bin/runc-ts", "--version").stdout, /^runc version/);
  assertEquals([again.wait().code, calls > 0], [0, true], again.stderr);
  assertMatch(copy.must("/usr/bin/runc-ts", "--version").stdout, /^program: snapshot$/m);
}

boxTest("where the package cannot take a snapshot, it says so in one line, and Deno starts for each command", (box) => {
  using copy = new Copy(box, { isBare: true });
  const { stderr } = copy.must("/usr/bin/dpkg", "--install", brought(box));
  assertMatch(stderr, /^[^\n]*no snapshot, every command starts Deno[^\n]*\n$/);
  const status = copy.must("/usr/bin/dpkg-query", "--show", "--showformat=${db:Status-Abbrev}", "runc-ts");
  assertEquals(status.stdout, "ii ");
  const launcher = copy.must("/bin/cat", "/usr/lib/runc-ts/runc").stdout;
  assertMatch(launcher, /install the package runc-ts again/);
  copy.must("/usr/bin/dpkg", "--purge", "runc-ts");
  assertEquals(copy.execute(["/bin/ls", "/usr/lib/runc-ts"]).code, 2);
});

/** Lets a package's Deno, which is for arm64, be run by an emulator. */
const emulate = `set -e
cd /usr/lib/runc-ts
mv deno deno-arm64
printf '#!/bin/sh\\nexec /usr/bin/qemu-aarch64-static -L %s /usr/lib/runc-ts/deno-arm64 "$@"\\n' "$1" >deno
chmod +x deno`;

// Two minutes: `deno task test:arm64`.
Deno.test({
  name: "the package for arm64 is installed and answers where an emulator runs its Deno",
  ignore: !Deno.args.includes("arm64"),
  fn: async () => {
    const script = `${projectDir}/tests/integration/arm64_libraries.ts`;
    const libraries = (await must([deno, "run", "--allow-all", "--no-check", script])).trim();
    await inBoxAsync("native", async (box) => {
      using copy = new Copy(box);
      const before = copy.changes(), path = brought(box, "arm64");
      // An emulated Deno may take longer than the harness waits.
      const there = (...argv: readonly string[]) => outcome(copy.there(["/usr/bin/env", "-C", box.bundle, ...argv]));
      copy.must("/usr/bin/dpkg", "--force-architecture", "--force-depends", "--unpack", path);
      copy.must("/bin/sh", "-c", emulate, "sh", libraries);
      // Its postinst runs Deno.
      const configured = await there("/usr/bin/dpkg", "--force-depends", "--configure", "runc-ts");
      assertEquals(configured.code, 0, configured.stderr);
      assertMatch(configured.stderr, /^warning: no snapshot.*: snapshots need x86_64, this machine is aarch64$/m);
      assertMatch((await there("/usr/bin/runc-ts", "--version")).stdout, /^program: launcher$/m);
      // It asks this kernel for what it has, through the libc for arm64.
      box.write();
      const plan = await there("/usr/bin/runc-ts", "plan");
      assertEquals([plan.code, plan.stderr], [0, ""]);
      assertMatch(plan.stdout, /^ *\d+\. mount proc on \/proc /m);
      copy.must("/bin/mv", "/usr/lib/runc-ts/deno-arm64", "/usr/lib/runc-ts/deno");
      copy.must("/usr/bin/dpkg", "--purge", "runc-ts");
      assertEquals(copy.changes(), before);
    });
  },
});

/** Unpacks the tarball; returns its directory. */
function unpacked(box: Box): string {
  const flags = ["--extract", "--file", tarball("amd64"), "--directory", box.directory, "--no-same-owner"];
  assertEquals(execute(["/usr/bin/tar", ...flags]).code, 0);
  const [name] = [...Deno.readDirSync(box.directory)].map(({ name }) => name).filter((name) => /^runc-ts-/.test(name));
  return `${box.directory}/${name}`;
}

boxTest("the tarball installs and uninstalls without npm, git and a network", (box) => {
  const directory = unpacked(box), prefix = `${box.directory}/prefix`;
  const alone = ["/usr/bin/unshare", "--net", "/usr/bin/env", "-i", "PATH=/usr/bin:/bin", `HOME=${box.directory}`];
  const installed = execute([...alone, `${directory}/install`, "--prefix", prefix]);
  assertEquals([installed.code, installed.stderr], [0, ""]);
  assertMatch(execute([`${prefix}/bin/runc`, "--version"]).stdout, /^program: snapshot$/m);
  assert(existsSync(`${prefix}/share/man/man8/runc-run.8`));
  // The program needs the tarball's directory no more.
  Deno.renameSync(directory, `${directory}.away`);
  box.write();
  const [, ...args] = box.argv("run", box.id);
  assertEquals(execute([`${prefix}/bin/runc`, ...args], { cwd: box.bundle }), { code: 0, stdout: "", stderr: "" });
  assertEquals(execute([...alone, `${directory}.away/uninstall`, "--prefix", prefix]).code, 0);
  assertEquals(existsSync(prefix), false);
  assertMatch(execute([`${directory}.away/install`, "--what"]).stderr, /^error: usage: \.\/install /);
  assertEquals(existsSync(`${box.directory}/.cache`), false);
});

/** No account of this machine has it. */
const UID = "4000";
const asUser = (home: string): readonly string[] => [
  ...["/usr/bin/setpriv", `--reuid=${UID}`, `--regid=${UID}`, "--clear-groups"],
  ...["/usr/bin/env", "-i", "PATH=/usr/bin:/bin", `HOME=${home}`, `XDG_RUNTIME_DIR=${home}/run`],
];

boxTest("a user without root installs below a prefix of their own, runs a container, and uninstalls", (box) => {
  const home = `${box.directory}/home`, prefix = `${home}/.local`, bundle = `${home}/bundle`;
  const directory = unpacked(box), user = asUser(home);
  makeRootfs(`${bundle}/rootfs`);
  Deno.mkdirSync(`${home}/run`);
  assertEquals(execute(["/bin/chown", "--recursive", `${UID}:${UID}`, home]).code, 0);
  const before = execute(["/usr/bin/find", home]).stdout;
  const elsewhere = execute([...user, `${directory}/install`, "--prefix", box.directory]);
  assertEquals(elsewhere.code, 1);
  assertMatch(elsewhere.stderr, /^error: Permission denied [^\n]*: choose a --prefix [^\n]*\n$/);
  const installed = execute([...user, `${directory}/install`, "--prefix", prefix]);
  assertEquals([installed.code, installed.stderr], [0, ""]);
  const runc = `${prefix}/bin/runc`;
  const version = execute([...user, runc, "--version"]);
  assertEquals([version.stderr, version.stdout.includes("\nprogram: snapshot\n")], ["", true]);
  assertEquals(execute([...user, runc, "spec", "--rootless", "--bundle", bundle]).code, 0);
  const config = JSON.parse(Deno.readTextFileSync(`${bundle}/config.json`));
  Object.assign(config.process, { terminal: false, args: ["/bin/busybox", "id", "-u"] });
  Deno.writeTextFileSync(`${bundle}/config.json`, JSON.stringify(config));
  assertEquals(execute([...user, runc, "run", "--bundle", bundle, "hello"]), { code: 0, stdout: "0\n", stderr: "" });
  assertEquals(execute([...user, `${directory}/uninstall`, "--prefix", prefix]).code, 0);
  Deno.removeSync(`${bundle}/config.json`);
  assertEquals(execute(["/usr/bin/find", home, "!", "-path", `${home}/run/*`]).stdout, before);
});

Deno.test("the bundle is made with the esbuild that package-lock.json pins, and without a network", async () => {
  if (!existsSync(`${projectDir}/node_modules/@esbuild`)) return;
  const directory = Deno.makeTempDirSync({ prefix: "runc-release-" });
  try {
    const code = `import { bundle } from ${JSON.stringify(`file://${projectDir}/tools/bundle.ts`)};
      bundle(${JSON.stringify(directory)});`;
    Deno.writeTextFileSync(`${directory}/program.ts`, code);
    const flags = ["run", "--allow-all", "--no-check", "--config", `${projectDir}/deno.json`];
    const env = { DENO_DIR: `${directory}/empty` };
    await must(["unshare", "--net", deno, ...flags, `${directory}/program.ts`], env);
    assert(existsSync(`${directory}/runc.js`) && !existsSync(`${directory}/empty/dl`));
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

Deno.test("a smaller script still disposes of what it declares with `using`", async () => {
  const directory = Deno.makeTempDirSync({ prefix: "runc-release-" }), path = `${directory}/program.js`;
  try {
    Deno.writeTextFileSync(
      path,
      `const made = () => ({ name: "it", [Symbol.dispose]: () => console.log("disposed") });
       function work() { using one = made(); console.log(one.name); }
       work();`,
    );
    minify(path);
    assert(Deno.statSync(path).size < 130);
    assertEquals(await must([deno, "run", "--no-config", path]), "it\ndisposed\n");
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});
