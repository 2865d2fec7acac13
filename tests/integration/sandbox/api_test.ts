/** The library's Sandbox: processes, shell, files, limits, ends. As root. */

import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { RuncError, Sandbox, type SandboxOptions } from "../../../mod.ts";
import { SandboxFs } from "../../../lib/sandbox/files/sandbox_fs.ts";
import { tar, type Written } from "../../unit/sandbox/rootfs/tar_writer.ts";
import { execute, kernel, program } from "../harness.ts";
import { cgroupsNamed } from "../leftovers.ts";

/** Below which the sandboxes of this file keep their state. */
const directory = Deno.makeTempDirSync({ prefix: "runc-sandbox-api-" });
addEventListener("unload", () => Deno.removeSync(directory, { recursive: true }));

const states = () =>
  [...Deno.readDirSync(join(directory, "programs"))].flatMap(({ name }) => {
    const state = join(directory, "programs", name, "state");
    try {
      return [...Deno.readDirSync(state)].map(({ name }) => name);
    } catch {
      return [];
    }
  });

const descriptors = () => [...Deno.readDirSync("/proc/self/fd")].length;

function isAlive(pid: number): boolean {
  try {
    return !/^State:\tZ/m.test(Deno.readTextFileSync(`/proc/${pid}/status`));
  } catch {
    return false;
  }
}

/** Nothing of a sandbox may be left after the test. */
function sandboxTest(name: string, options: SandboxOptions, body: (sandbox: Sandbox) => Promise<void>): void {
  Deno.test(name, async () => {
    const sandbox = await Sandbox.create({ directory, ...options });
    try {
      await body(sandbox);
    } finally {
      await sandbox.close();
    }
    assertGone(sandbox);
  });
}

function assertGone({ id, pid }: Sandbox): void {
  assertEquals([isAlive(pid), cgroupsNamed(id), states()], [false, [], []]);
}

sandboxTest("spawn() gives a process with the shape of Deno.ChildProcess", {}, async (sandbox) => {
  const child = await sandbox.spawn("sh", {
    args: ["-c", "cat; echo err >&2; exit 3"],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  });
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode("a\0é"));
  await writer.close();
  const { stdout, stdoutText, stderrText, truncated, ...status } = await child.output();
  assertEquals(stdout, new TextEncoder().encode("a\0é"));
  assertEquals([stdoutText, stderrText, truncated], ["a\0é", "err\n", false]);
  const ended = { success: false, code: 3, signal: null, oom: false, timedOut: false };
  assertEquals(await child.status, ended);
  assertEquals({ ...status.status }, ended);
  assertThrows(() => child.kill(), TypeError, "already ended");
});

sandboxTest("streams that are not piped are not there", {}, async (sandbox) => {
  await using child = await sandbox.spawn("true", { stdout: "null", stderr: "null" });
  for (const name of ["stdin", "stdout", "stderr"] as const) assertThrows(() => child[name], TypeError, name);
  assertEquals([(await child.output()).stdout, (await child.status).code], [null, 0]);
});

sandboxTest("streams carry more than a pipe holds, in both directions at once", {}, async (sandbox) => {
  const child = await sandbox.spawn("cat", { stdin: "piped", stdout: "piped" });
  const piece = new Uint8Array(300_000).fill(7);
  const written = ReadableStream.from([piece, piece, piece]).pipeTo(child.stdin);
  let length = 0;
  for await (const bytes of child.stdout) length += bytes.length;
  await written;
  assertEquals([length, (await child.status).code], [900_000, 0]);
});

sandboxTest("a stream ends with its process, and keeps what it wrote until it is read", {}, async (sandbox) => {
  // The background process holds the pipe.
  const child = await sandbox.spawn("sh", { args: ["-c", "sleep 1000 & echo text"], stdout: "piped" });
  await child.status;
  assertEquals(await new Response(child.stdout).text(), "text\n");
});

sandboxTest("a cancelled stream breaks the pipe", {}, async (sandbox) => {
  const child = await sandbox.spawn("yes", { stdout: "piped", stderr: "null" });
  const reader = child.stdout.getReader();
  await reader.read();
  await reader.cancel();
  assertEquals((await child.status).signal, "SIGPIPE");
});

sandboxTest("output() is bounded, and reads on", { maxOutput: "10KiB" }, async (sandbox) => {
  const { stdout, truncated, code } = await sandbox.sh`head -c 300000 /dev/zero`.result();
  assertEquals([stdout!.length, truncated, code], [10240, true, 0]);
  const error = await assertRejects(() => sandbox.sh`head -c 300000 /dev/zero`.text(), RuncError);
  assertEquals(error.code, "command-failed");
});

sandboxTest("kill() sends the signal that is named; an abort and asyncDispose end it", {}, async (sandbox) => {
  const args = ["-c", "trap 'echo got; exit 5' USR1; echo ready; while :; do sleep 0.01; done"];
  const child = await sandbox.spawn("sh", { args, stdout: "piped" });
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  assertEquals((await reader.read()).value, "ready\n");
  assertThrows(() => child.kill("SIGNOTHING" as Deno.Signal), TypeError, "SIGNOTHING");
  child.kill("SIGUSR1");
  assertEquals([(await reader.read()).value, (await child.status).code], ["got\n", 5]);
  const controller = new AbortController();
  const sleeping = await sandbox.spawn("sleep", { args: ["1000"], signal: controller.signal });
  controller.abort();
  assertEquals((await sleeping.status).signal, "SIGKILL");
  const other = await sandbox.spawn("sleep", { args: ["1000"] });
  await other[Symbol.asyncDispose]();
  assertEquals(await other.status, { success: false, code: 137, signal: "SIGKILL", oom: false, timedOut: false });
  await assertRejects(() => sandbox.spawn("true", { signal: AbortSignal.abort(new Error("mine")) }), Error, "mine");
});

sandboxTest("env, clearEnv, cwd; a missing program is an error", { env: { A: "1" } }, async (sandbox) => {
  const env = async (options: Parameters<Sandbox["spawn"]>[1]) => {
    const child = await sandbox.spawn("/usr/bin/env", { ...options, stdout: "piped" });
    return (await child.output()).stdoutText!.trim().split("\n").sort();
  };
  assert((await env({ env: { B: "2" } })).join(" ").includes("A=1 B=2 HOME=/home/sandbox"));
  assertEquals(await env({ env: { B: "2" }, clearEnv: true }), ["B=2", "HOME=/home/sandbox"]);
  await Promise.all([sandbox.env.set("C", "3=4"), sandbox.env.delete("LANG")]);
  assertEquals([await sandbox.env.get("A"), await sandbox.env.get("LANG")], ["1", undefined]);
  assertEquals((await env({})).filter((variable) => /^(A|C|LANG)=/.test(variable)), ["A=1", "C=3=4"]);
  assertEquals((await sandbox.env.toObject()).C, "3=4");
  await assertRejects(() => sandbox.env.set("A=", ""), RuncError, "env");
  const child = await sandbox.spawn("pwd", { cwd: "/tmp", stdout: "piped" });
  assertEquals((await child.output()).stdoutText, "/tmp\n");
  const missing = await assertRejects(() => sandbox.spawn("no-such-program"), RuncError);
  assertMatch(missing.message, /no-such-program/);
  const wrong = [{ cwd: "tmp" }, { env: { "A=": "" } }, { timeout: "1" }, { stdin: "inherit" as "null" }];
  for (const options of wrong) {
    assertEquals((await assertRejects(() => sandbox.spawn("true", options), RuncError)).code, "usage");
  }
});

sandboxTest("unref(): status and output come while the program runs; ref() is the end of it", {}, async (sandbox) => {
  const script = "read line; echo $line; exit 3";
  const child = await sandbox.spawn("sh", { args: ["-c", script], stdin: "piped", stdout: "piped" });
  // A wait has begun.
  const output = child.output();
  child.unref();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode("text\n"));
  // Something has to keep this program running.
  const timer = setInterval(() => {}, 1000);
  const { code, stdoutText } = await output;
  clearInterval(timer);
  assertEquals([code, stdoutText], [3, "text\n"]);
  const other = await sandbox.spawn("sleep", { args: ["0.05"] });
  other.unref();
  other.ref();
  assertEquals((await other.status).code, 0);
});

sandboxTest("sh: escaped values, text, json, result, noThrow, cwd, env, timeout", {}, async (sandbox) => {
  assertEquals(await sandbox.sh`printf '%s,' ${["a b", "$(id)", "*"]} ${"'"}`.text(), "a b,$(id),*,',");
  assertEquals(await sandbox.sh`echo '{"a": [1]}'`.json(), { a: [1] });
  assertEquals(await sandbox.sh`pwd; echo $A $B`.cwd("/tmp").env("A", "1").env({ B: "2" }).text(), "/tmp\n1 2\n");
  const { code, stderrText } = await sandbox.sh`echo why >&2; exit 4`.noThrow().result();
  assertEquals([code, stderrText], [4, "why\n"]);
  const failed = await assertRejects(() => sandbox.sh`echo why >&2; exit 4`.text(), RuncError);
  assertEquals([failed.code, failed.message], ["command-failed", "the shell command has ended with code 4: why"]);
  const awaited = await sandbox.sh`true`.stdout("null").stderr("null");
  assertEquals([awaited.code, awaited.stdout], [0, null]);
  const late = await sandbox.sh`exec sleep 1000`.timeout("50ms").noThrow().result();
  assertEquals([late.timedOut, late.signal], [true, "SIGKILL"]);
  const reason = new Error("mine");
  await assertRejects(() => sandbox.sh`sleep 1000`.signal(AbortSignal.abort(reason)).text(), Error, "mine");
});

sandboxTest("lack of memory and a timeout are told apart", { memory: "64MiB" }, async (sandbox) => {
  const args = ["-e", "$x = q(x) x 200_000_000; print 1"];
  const hungry = await sandbox.spawn("perl", { args, stdout: "null" });
  assertEquals(await hungry.status, { success: false, code: 137, signal: "SIGKILL", oom: true, timedOut: false });
  const late = await sandbox.spawn("sleep", { args: ["1000"], timeout: 50 });
  assertEquals(await late.status, { success: false, code: 137, signal: "SIGKILL", oom: false, timedOut: true });
  assertEquals((await sandbox.sh`true`.result()).oom, false);
});

Deno.test("a sandbox's timeout ends all its processes, and nothing is left", async () => {
  const sandbox = await Sandbox.create({ directory, timeout: "2s" });
  const child = await sandbox.spawn("sh", { args: ["-c", "sleep 1000 & sleep 1000"] });
  assertEquals([(await child.status).timedOut, sandbox.closed], [true, true]);
  const error = await assertRejects(() => sandbox.spawn("true"), RuncError, "has reached its timeout");
  assertEquals(error.code, "container-state");
  await sandbox.close();
  assertGone(sandbox);
});

Deno.test("close() ends everything, also what is being started; descriptors are flat", async () => {
  await (await Sandbox.create({ directory })).close();
  const before = descriptors();
  for (let round = 0; round < 3; round++) {
    const sandbox = await Sandbox.create({ directory });
    const child = await sandbox.spawn("sh", {
      args: ["-c", "trap '' TERM INT HUP; setsid sleep 1000 & sleep 1000"],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    });
    const starting = sandbox.spawn("sleep", { args: ["1000"], stdout: "piped" }).then(
      (late) => late.status,
      (error: RuncError) => ({ signal: error.code }),
    );
    await Promise.all([sandbox.close(), sandbox.close()]);
    assertEquals((await child.status).signal, "SIGKILL");
    assert(["SIGKILL", "container-state"].includes(`${(await starting).signal}`), `${(await starting).signal}`);
    await assertRejects(() => sandbox.spawn("true"), RuncError, "is closed");
    assertGone(sandbox);
  }
  assertEquals(descriptors(), before);
});

Deno.test("many sandboxes at once, while the event loop goes on", async () => {
  let turns = 0;
  const timer = setInterval(() => turns++, 5);
  const results = await Promise.all(Array.from({ length: 20 }, async (_, index) => {
    await using sandbox = await Sandbox.create({ directory });
    return await sandbox.sh`echo ${index}`.text();
  }));
  clearInterval(timer);
  assertEquals(results, results.map((_, index) => `${index}\n`));
  assert(turns > 10, `${turns} turns`);
  assertEquals(states(), []);
});

Deno.test("an abort ends the creation, and later the sandbox", async () => {
  await assertRejects(() => Sandbox.create({ directory, signal: AbortSignal.abort(new Error("mine")) }), Error, "mine");
  const early = new AbortController();
  const creation = Sandbox.create({ directory, signal: early.signal });
  setTimeout(() => early.abort(new Error("mine")), 20);
  // It may have been faster.
  await creation.then((sandbox) => sandbox.close(), (error) => assertEquals(error.message, "mine"));
  assertEquals(states(), []);
  const controller = new AbortController();
  const sandbox = await Sandbox.create({ directory, signal: controller.signal });
  const child = await sandbox.spawn("sleep", { args: ["1000"] });
  controller.abort();
  assertEquals((await child.status).signal, "SIGKILL");
  await sandbox.close();
  assertGone(sandbox);
});

Deno.test("wrong options are errors that name them, and nothing is left", async () => {
  await (await Sandbox.create({ directory })).close();
  const before = descriptors();
  const wrong: readonly (readonly [name: string, options: Record<string, unknown>, code?: string])[] = [
    ["memory", { memory: "much" }],
    ["timeout", { timeout: "30" }],
    ["maxOutput", { maxOutput: 0 }],
    ["pids", { pids: 1e15 }],
    ["memroy", { memroy: "1GiB" }],
    ["seccomp", { seccomp: true }],
    ["root", { root: "image" }],
    ["root.directory", { root: { directory: "relative" } }],
    ["root.directory", { root: { directory: "/nonexistent" } }, "syscall-failed"],
    ["root.image /nonexistent", { root: { image: "/nonexistent" } }, "syscall-failed"],
    ["root.image /etc/passwd", { root: { image: "/etc/passwd" } }, "image-invalid"],
    ["mounts", { mounts: [{ source: "/tmp", target: "/dev/x" }] }],
    ["mounts", { mounts: [{ source: "/nonexistent", target: "/a" }] }, "syscall-failed"],
    ["mounts", { mounts: [{ source: "/etc/passwd", target: "/usr/bin/nonexistent" }] }, "step-failed"],
  ];
  for (const [name, options, code = "usage"] of wrong) {
    const error = await assertRejects(() => Sandbox.create({ directory, ...options }), RuncError);
    assertEquals([error.message.split(": ")[0], error.code], [name, code]);
  }
  assertEquals([states(), descriptors()], [[], before]);
});

sandboxTest("files: written, read, listed, looked at, removed", {}, async ({ fs }) => {
  const bytes = Uint8Array.from({ length: 200_000 }, (_, index) => index % 256);
  await fs.writeFile("/tmp/a b", bytes, { mode: 0o600 });
  assertEquals(await fs.readFile("/tmp/a b"), bytes);
  const { isFile, size, mode, uid } = await fs.stat("/tmp/a b");
  assertEquals([isFile, size, mode & 0o7777, uid], [true, 200_000, 0o600, 65534]);
  await fs.writeTextFile("-n", "é");
  await fs.writeTextFile("-n", "x\n", { append: true });
  await fs.writeTextFile("new\nline", ReadableStream.from(["1", "2"]));
  assertEquals([await fs.readTextFile("-n"), await fs.readTextFile(new URL("file:///home/sandbox/-n"))], [
    "éx\n",
    "éx\n",
  ]);
  await fs.mkdir("deep/er", { recursive: true, mode: 0o700 });
  const entries = await Array.fromAsync(fs.readDir("."));
  const names = entries.map(({ name, isDirectory }) => [name, isDirectory]).sort();
  assertEquals(names, [["-n", false], ["deep", true], ["new\nline", false]]);
  assertEquals(await Array.fromAsync(fs.readDir("deep/er")), []);
  await fs.remove("-n");
  await fs.remove("deep", { recursive: true });
  assertEquals((await Array.fromAsync(fs.readDir("."))).map(({ name }) => name), ["new\nline"]);
});

sandboxTest("files: failures have an errno", { maxOutput: 1000 }, async (sandbox) => {
  const { fs } = sandbox;
  await sandbox.sh`mkdir d; touch d/f; ln -s nowhere link; head -c 2000 /dev/zero > long`;
  const failures: readonly [() => Promise<unknown>, string][] = [
    [() => fs.readFile("missing"), "ENOENT"],
    [() => fs.readFile("d"), "EISDIR"],
    [() => fs.readFile("long"), "EFBIG"],
    [() => fs.writeTextFile("/usr/x", ""), "EROFS"],
    [() => fs.writeTextFile("/etc/passwd", ""), "EROFS"],
    [() => fs.writeTextFile("missing/x", ""), "ENOENT"],
    [() => fs.mkdir("d"), "EEXIST"],
    [() => fs.remove("d"), "ENOTEMPTY"],
    [() => fs.remove("missing"), "ENOENT"],
    [() => fs.stat("link"), "ENOENT"],
    [() => Array.fromAsync(fs.readDir("d/f")), "ENOTDIR"],
    [() => Array.fromAsync(fs.readDir("missing")), "ENOENT"],
    [() => Array.fromAsync(fs.readDir("/root")), "EACCES"],
  ];
  for (const [action, errnoName] of failures) {
    const error = await assertRejects(action, RuncError);
    assertEquals([error.code, error.errnoName], ["command-failed", errnoName], error.message);
  }
  assertEquals([(await fs.lstat("link")).isSymlink, (await fs.stat("d")).isDirectory], [true, true]);
  await assertRejects(() => fs.readFile("a\0b"), TypeError);
});

sandboxTest("files: names, links, times, modes, temporary files, walk", {}, async (sandbox) => {
  const { fs } = sandbox;
  await fs.writeTextFile("-a", "1");
  await fs.copyFile("-a", "b");
  await fs.rename("-a", "c");
  await fs.link("c", "-d");
  await fs.symlink("-d", "-s");
  assertEquals([await fs.readLink("-s"), await fs.realPath("-s")], ["-d", "/home/sandbox/-d"]);
  await fs.truncate("b");
  await fs.truncate("c", 3);
  assertEquals([await fs.readTextFile("b"), await fs.readTextFile("-s")], ["", "1\0\0"]);
  await fs.utime("c", new Date(5000), 7);
  await fs.chmod("c", 0o600);
  const { atime, mtime, mode, nlink } = await fs.stat("c");
  assertEquals([atime.getTime(), mtime.getTime(), mode & 0o777, nlink], [5000, 7000, 0o600, 2]);
  await fs.writeTextFile("c", "2", { create: false });
  await fs.writeTextFile("c", "3", { create: false, append: true });
  await fs.writeTextFile("new", "4", { createNew: true });
  assertEquals([await fs.readTextFile("c"), await fs.readTextFile("new")], ["23", "4"]);
  const [directory, file] = [await fs.makeTempDir({ dir: ".", prefix: "t" }), await fs.makeTempFile({ suffix: ".x" })];
  assertEquals([(await fs.stat(directory)).mode & 0o777, (await fs.stat(file)).mode & 0o777], [0o700, 0o600]);
  await fs.mkdir("w/.h/deep", { recursive: true });
  await fs.writeTextFile("w/.h/deep/f.ts", "");
  await fs.symlink("/", "w/root");
  const walked = async (options?: Parameters<typeof fs.walk>[1]) =>
    (await Array.fromAsync(fs.walk("w", options))).map(({ path }) => path).sort();
  assertEquals(await walked(), ["w", "w/.h", "w/.h/deep", "w/.h/deep/f.ts", "w/root"]);
  assertEquals(await walked({ maxDepth: 1, includeSymlinks: false }), ["w", "w/.h"]);
  assertEquals(await walked({ exts: [".ts"], includeDirs: false }), ["w/.h/deep/f.ts"]);
  assertEquals(await walked({ skip: [/deep/], match: [/h$/, /root/] }), ["w/.h", "w/root"]);
  const failures: readonly [() => Promise<unknown>, string][] = [
    [() => fs.rename("missing", "x"), "ENOENT"],
    [() => fs.rename("c", "w"), "EISDIR"],
    [() => fs.copyFile("c", "w"), "EISDIR"],
    [() => fs.link("c", "b"), "EEXIST"],
    [() => fs.symlink("c", "b"), "EEXIST"],
    [() => fs.readLink("c"), "EINVAL"],
    [() => fs.realPath("missing"), "ENOENT"],
    [() => fs.truncate("missing"), "ENOENT"],
    [() => fs.utime("missing", 0, 0), "ENOENT"],
    [() => fs.chown("c", 0, null), "EPERM"],
    [() => fs.writeTextFile("missing", "", { create: false }), "ENOENT"],
    [() => fs.writeTextFile("c", "", { createNew: true }), "EEXIST"],
    [() => Array.fromAsync(fs.walk("/root")), "EACCES"],
  ];
  for (const [action, errnoName] of failures) {
    const error = await assertRejects(action, RuncError);
    assertEquals([error.code, error.errnoName], ["command-failed", errnoName], error.message);
  }
});

sandboxTest("files: upload and download of files and directories", {}, async ({ fs }) => {
  const [from, to] = ["from", "to"].map((name) => join(directory, name));
  Deno.mkdirSync(join(from!, "d/e"), { recursive: true });
  const bytes = new Uint8Array(100_000).fill(5);
  Deno.writeFileSync(join(from!, "d/program"), bytes, { mode: 0o755 });
  const long = "n".repeat(200);
  Deno.writeTextFileSync(join(from!, long), "long");
  Deno.symlinkSync("/etc/passwd", join(from!, "link"));
  new Deno.Command("mkfifo", { args: [join(from!, "fifo")] }).outputSync();
  assertEquals(await fs.upload(from!, "tree"), ["fifo"]);
  assertEquals([await fs.readLink("tree/link"), (await fs.stat("tree/d/program")).mode & 0o777], [
    "/etc/passwd",
    0o755,
  ]);
  assertEquals(await fs.readTextFile(`tree/${long}`), "long");
  assertEquals(await fs.download("tree", to!), ["link"]);
  assertEquals(Deno.readFileSync(join(to!, "d/program")), bytes);
  assertEquals([...Deno.readDirSync(to!)].map(({ name }) => name).sort(), ["d", long]);
  await fs.upload(join(from!, "d/program"), "file");
  const file = join(directory, "file");
  await fs.download("file", file);
  assertEquals([Deno.readFileSync(file), Deno.statSync(file).mode! & 0o777], [bytes, 0o755]);
  const errors: readonly [() => Promise<unknown>, string | undefined][] = [
    [() => fs.download("file", join(directory, "other"), { maxSize: 99_999 }), "EFBIG"],
    [() => fs.download("tree", join(directory, "otherTree"), { maxSize: 99_999 }), "EFBIG"],
    [() => fs.download("missing", file), "ENOENT"],
    [() => fs.upload(from!, "/usr/x"), "EROFS"],
    [() => fs.upload(join(from!, "missing"), "x"), "ENOENT"],
  ];
  for (const [action, errnoName] of errors) {
    const error = await assertRejects(action, RuncError);
    assertEquals(error.errnoName, errnoName, error.message);
  }
  const left = [...Deno.readDirSync(directory)].map(({ name }) => name).filter((name) => name.startsWith("other."));
  assertEquals(left, []);
});

Deno.test("files: what a sandbox gives as a directory stays in the host's directory", async () => {
  const [place, outside] = ["place", "outside"].map((name) => join(directory, name));
  for (const path of [place!, outside!]) Deno.mkdirSync(path);
  // As somebody who can write to the directory could have left it.
  Deno.symlinkSync(outside!, join(place!, "out"));
  Deno.symlinkSync(join(outside!, "made"), join(place!, "file"));
  await using sandbox = await Sandbox.create({ directory });
  const archives: Record<string, readonly Written[]> = {
    upwards: [{ name: "../outside/made", content: "x" }],
    absolute: [{ name: join(outside!, "made"), content: "x" }],
    "through its own link": [{ name: "l", type: "2", linkName: outside }, { name: "l/made", content: "x" }],
    "through a link that is there": [{ name: "out/made", content: "x" }],
    "onto a link that is there": [{ name: "file", content: "x", mode: 0o6777 }],
    "a link to outside": [{ name: "h", type: "1", linkName: "out/made" }],
    "a device": [{ name: "null", type: "3", major: 1, minor: 3 }],
  };
  for (const [what, entries] of Object.entries(archives)) {
    await sandbox.fs.writeFile("/tmp/archive", tar(...entries));
    // A sandbox of an image brings its own tar.
    await sandbox.fs.writeTextFile("/tmp/tar", "#!/bin/sh\nexec cat /tmp/archive\n", { mode: 0o755 });
    const evil = new SandboxFs(kernel, (program, more) => {
      return sandbox.spawn(program, { ...more, env: { ...more.env, PATH: "/tmp:/usr/bin:/bin" } });
    }, 1000);
    await evil.download("/tmp", place!).catch((error) => assert(error instanceof RuncError, `${what}: ${error}`));
    assertEquals([...Deno.readDirSync(outside!)], [], what);
  }
  // Beside the two links: what was given, in the place.
  assertEquals(Deno.lstatSync(join(place!, "file")).mode! & 0o7777, 0o755);
  assertEquals([...Deno.readDirSync(place!)].filter(({ isSymlink }) => isSymlink).map(({ name }) => name), ["out"]);
});

Deno.test("files: a symlink of the sandbox does not lead to the host's", async () => {
  const secret = join(directory, "secret");
  Deno.writeTextFileSync(secret, "host");
  await using sandbox = await Sandbox.create({ directory });
  const deep = `/proc/1/root/${secret}`;
  for (const target of [secret, `../../../../../..${secret}`, deep, `/proc/self/root${secret}`]) {
    await sandbox.sh`ln -sf ${target} link`;
    await assertRejects(() => sandbox.fs.readFile("link"), RuncError);
    await assertRejects(() => sandbox.fs.writeTextFile("link", "sandbox"), RuncError);
  }
  assertEquals(Deno.readTextFileSync(secret), "host");
});

sandboxTest("no program of the sandbox can hold up or change its first process", { user: "root" }, async (sandbox) => {
  const script = `kill -KILL 1; kill -STOP 1; kill -TERM 1; cat /proc/1/status
    cat /proc/1/mem /proc/1/maps /dev/sandbox-init /proc/1/environ; (: > /proc/1/fd/0); rm -f /dev/sandbox-init`;
  const { stdoutText, stderrText } = await sandbox.sh`${["sh"]} -c ${script}`.noThrow().result();
  assertMatch(stdoutText!, /^Name:\tsandbox-init$[^]*^State:\tS/m);
  const refusals = stderrText!.trim().split("\n");
  assertEquals(refusals.length, 6, stderrText!);
  for (const line of refusals) assertMatch(line, /Permission denied$|Device or resource busy$/);
  // SIGCHLD is ignored, so orphans do not stay as zombies.
  await sandbox.sh`for i in 1 2 3; do (true & true); done`;
  assertEquals(await sandbox.sh`cat /proc/[0-9]*/status | grep -c 'State:.Z'`.noThrow().text(), "0\n");
});

Deno.test("a directory is a root file system", async () => {
  const root = join(directory, "rootfs");
  for (const name of ["bin", "dev", "proc", "tmp", "run", "lib", "lib64", "usr"]) {
    Deno.mkdirSync(join(root, name), { recursive: true });
  }
  const mounts = ["/usr", "/lib", "/lib64", "/bin"].map((path) => ({ source: Deno.realPathSync(path), target: path }));
  await using sandbox = await Sandbox.create({ directory, root: { directory: root }, mounts });
  assertEquals(await sandbox.sh`id -u; ls /; pwd`.text(), "65534\nbin\ndev\nlib\nlib64\nproc\nrun\ntmp\nusr\n/\n");
  await sandbox.fs.writeTextFile("/tmp/f", "x");
  await assertRejects(() => sandbox.fs.writeTextFile("/f", "x"), RuncError);
});

Deno.test("requireLimits is no error for root, and the limits hold", async () => {
  // As root, all controllers are there: the limits are real.
  await using sandbox = await Sandbox.create({ directory, requireLimits: true, cpus: 0.5, pids: 20 });
  assertEquals(sandbox.unlimited, []);
  assertMatch(
    await sandbox.sh`for i in $(seq 30); do sleep 1000 & done; true`.noThrow().result()
      .then(({ stderrText }) => stderrText!),
    /fork/,
  );
});

Deno.test("a pool: sandboxes that are ready, each for one use, closed by signals", async () => {
  const controller = new AbortController();
  const pool = Sandbox.pool({ size: 2, directory, timeout: "1h", signal: controller.signal });
  const pids: number[] = [];
  for (let round = 0; round < 3; round++) {
    const abort = new AbortController();
    const sandbox = await pool.acquire({ signal: abort.signal });
    pids.push(sandbox.pid);
    assertEquals(await sandbox.sh`echo ${round} > /tmp/f; ls /tmp; cat /tmp/f`.text(), `f\n${round}\n`);
    if (round > 0) await sandbox.close();
    else {
      abort.abort();
      await sandbox.whenClosed;
    }
    assertEquals(sandbox.hasEnded, true);
  }
  assertEquals(new Set(pids).size, 3);
  const used = await pool.acquire();
  controller.abort();
  await Promise.all([pool.close(), used.whenClosed]);
  await assertRejects(() => pool.acquire(), RuncError, "closed");
  assertEquals(states(), []);
  assertThrows(() => Sandbox.pool({ size: 1, memory: "1GiB", timeout: "x" }), RuncError, "timeout");
  // Errors of the creation are those of the one who wants a sandbox.
  await using wrong = Sandbox.pool({ size: 1, directory, memory: "much" });
  await assertRejects(() => wrong.acquire(), RuncError, "memory");
});

sandboxTest("a program that cannot be started: the option is named", { pids: 4, cwd: "/nowhere" }, async (sandbox) => {
  const refusal = async (options: Parameters<Sandbox["spawn"]>[1]) =>
    (await assertRejects(() => sandbox.spawn("true", options), RuncError)).message;
  assertEquals(await refusal({}), 'cwd: the sandbox cannot enter "/nowhere": no such file or directory');
  assertMatch(await refusal({ uid: 0 } as Record<string, number>), /^uid: there is no such option/);
  const url = { cwd: new URL("file:///tmp"), stdout: "piped" } as const;
  const script = "sleep 1000 & sleep 1000 & echo started; wait";
  const child = await sandbox.spawn(new URL("file:///bin/sh"), { args: ["-c", script], ...url });
  await child.stdout.getReader().read();
  assertMatch(await refusal(url), /as many processes as its option pids allows$/);
});

sandboxTest("output() gives the same again", {}, async (sandbox) => {
  const child = await sandbox.spawn("echo", { args: ["text"], stdout: "piped" });
  assertEquals([(await child.output()).stdoutText, (await child.output()).stdoutText], ["text\n", "text\n"]);
});

for (const how of ["kill()", "a signal from outside"]) {
  sandboxTest(`after ${how} nothing can be started in a sandbox, and the error says so`, {}, async (sandbox) => {
    if (how === "kill()") sandbox.kill();
    else Deno.kill(sandbox.pid, "SIGKILL");
    // At once, while it ends, and when it has ended.
    for (let round = 0; round < 20; round++) {
      const error = await assertRejects(() => sandbox.spawn("true"), RuncError);
      assertEquals([error.code, error.message], ["container-state", "the sandbox was ended"]);
    }
  });
}

sandboxTest("an access to a file that the timeout ends says so", { timeout: "1s" }, async (sandbox) => {
  await sandbox.sh`mkfifo /tmp/fifo`;
  await assertRejects(() => sandbox.fs.readTextFile("/tmp/fifo"), RuncError, "has reached its timeout");
});

Deno.test("output() reads what nobody has asked for as a stream; afterwards the stream has a reader", async () => {
  await using sandbox = await Sandbox.create({ directory, maxOutput: 100_000 });
  const script = "head -c 300000 /dev/zero; echo last >&2";
  const child = await sandbox.spawn("sh", { args: ["-c", script], stdout: "piped", stderr: "piped" });
  const { stdout, stderrText, truncated } = await child.output();
  assertEquals([stdout!.length, stderrText, truncated], [100_000, "last\n", true]);
  assertEquals([child.stdout.locked, child.stderr.locked], [true, true]);
  assertThrows(() => child.stdout.getReader(), TypeError);
});

Deno.test("output() ends with the process, though another one holds the pipe", async () => {
  await using sandbox = await Sandbox.create({ directory });
  const args = ["-c", "echo first; sleep 1000 & echo second"];
  const child = await sandbox.spawn("sh", { args, stdout: "piped" });
  assertEquals((await child.output()).stdoutText, "first\nsecond\n");
});

Deno.test("workers have sandboxes of their own, beside those of the program", async () => {
  const path = Deno.makeTempDirSync({ dir: directory, prefix: "workers-" });
  const inWorker = () =>
    new Promise<{ texts: readonly string[]; ids: readonly string[] }>((resolve, reject) => {
      const worker = new Worker(new URL("worker_program.ts", import.meta.url), { type: "module" });
      worker.onerror = (event) => reject(event.error ?? new Error(event.message));
      worker.onmessage = ({ data }) => {
        worker.terminate();
        resolve(data);
      };
      worker.postMessage(path);
    });
  await using sandbox = await Sandbox.create({ directory: path });
  const wanted = [0, 1, 2, 3, 4].map((round) => `${round} sandbox `);
  const answers = await Promise.all([inWorker(), inWorker()]);
  assertEquals(answers.map(({ texts }) => texts), [wanted, wanted]);
  assertEquals(await sandbox.sh`echo still here`.text(), "still here\n");
  for (const { ids } of answers) assertEquals(ids.flatMap(cgroupsNamed), []);
});

Deno.test("the command line lists, pauses, inspects, kills and deletes a sandbox", async () => {
  const path = Deno.makeTempDirSync({ dir: directory, prefix: "commands-" });
  await using sandbox = await Sandbox.create({ directory: path, pids: 17 });
  const [name] = [...Deno.readDirSync(join(path, "programs"))].map((entry) => entry.name);
  const runc = (...args: readonly string[]) => {
    const { code, stdout, stderr } = execute([program, "--root", join(path, "programs", name!, "state"), ...args]);
    assertEquals(code, 0, `${args.join(" ")}: ${stderr}`);
    return stdout;
  };
  assertEquals(runc("list", "--quiet"), `${sandbox.id}\n`);
  runc("pause", sandbox.id);
  assertEquals(JSON.parse(runc("state", sandbox.id)).status, "paused");
  await assertRejects(() => sandbox.spawn("true"), RuncError, "paused");
  runc("resume", sandbox.id);
  assertMatch(runc("inspect", sandbox.id), new RegExp(sandbox.id));
  runc("kill", sandbox.id, "KILL");
  runc("delete", "--force", sandbox.id);
  assertEquals([isAlive(sandbox.pid), cgroupsNamed(sandbox.id)], [false, []]);
});
