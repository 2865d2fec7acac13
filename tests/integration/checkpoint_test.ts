/** checkpoint, with a real CRIU: what is saved, what becomes of the container, and what a failure leaves. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { existsSync } from "@std/fs";
import { openFlag } from "../../lib/ffi/constants.ts";
import { open, pipe } from "../../lib/ffi/files.ts";
import { kill } from "../../lib/ffi/process/process.ts";
import { contentOf } from "./foreground_harness.ts";
import { type CriuBox, criuOf, criuTest, hasFeature, TALKING } from "./criu_harness.ts";
import { boxTest, execute, kernel, type Result, type Running, until } from "./harness.ts";
import { cgroupsNamed } from "./leftovers.ts";

const SIGCONT = 18;

const imageFiles = (box: CriuBox) => [...Deno.readDirSync(box.images)].map(({ name }) => name).sort();

criuTest("checkpoint saves the processes and removes the container", (box) => {
  box.startCounting();
  const { pid } = box.box.state();
  box.checkpoint();
  assert(!existsSync(`/proc/${pid}`), "its first process is still there");
  assertEquals([box.box.containers(), cgroupsNamed(box.box.name)], [[], []]);
  const files = imageFiles(box);
  for (const file of ["inventory.img", "pages-1.img", "core-1.img", "dump.log"]) assert(files.includes(file), file);
  assertEquals(JSON.parse(Deno.readTextFileSync(`${box.images}/descriptors.json`)), Array(3).fill("/dev/null"));
});

criuTest("checkpoint runs poststop hooks, as delete does", (box) => {
  box.startCounting((config) => {
    config.hooks = { poststop: [{ path: "/bin/sh", args: ["sh", "-c", `cat > ${box.box.directory}/hook`] }] };
  });
  box.checkpoint();
  assertEquals(JSON.parse(Deno.readTextFileSync(`${box.box.directory}/hook`)).status, "stopped");
});

criuTest("--leave-running saves the same, and the container goes on", (box) => {
  box.startCounting();
  const before = box.box.state();
  box.checkpoint("--leave-running");
  assertEquals(box.box.state(), before);
  assert(imageFiles(box).includes("pages-1.img"));
  box.countsOn();
  box.box.remove();
});

criuTest("a paused container stays paused with --leave-running", (box) => {
  box.startCounting();
  box.box.must(["pause", box.id]);
  box.checkpoint("--leave-running");
  assertEquals(box.status, "paused");
  box.box.must(["resume", box.id]);
  box.countsOn();
  box.box.remove();
});

criuTest("the default place of the images is ./checkpoint; --work-path has the log", (box) => {
  box.startCounting();
  const cwd = box.box.directory;
  box.must(["checkpoint", "--leave-running", "--work-path", "work", box.id], { cwd });
  assert(existsSync(`${cwd}/checkpoint/inventory.img`));
  assert(existsSync(`${cwd}/work/dump.log`));
  assert(!existsSync(`${cwd}/checkpoint/dump.log`));
  box.box.remove();
});

criuTest("the annotation org.criu.config names CRIU's configuration, which has the last word", (box) => {
  const config = `${box.box.directory}/criu.conf`;
  Deno.writeTextFileSync(config, "log-file other.log\n");
  box.startCounting((spec) => {
    spec.annotations = { "org.criu.config": config };
  });
  box.checkpoint();
  assert(existsSync(`${box.images}/other.log`));
  assert(!existsSync(`${box.images}/dump.log`));
});

// --- failures --------------------------------------------------------------------------------------------------------

/** The container runs as before, and so does its program. */
function assertUnharmed(box: CriuBox): void {
  assertEquals(box.status, "running");
  box.countsOn();
  box.box.must(["pause", box.id]);
  box.box.must(["resume", box.id]);
  box.box.remove();
}

criuTest("a container that CRIU refuses goes on, and the error has CRIU's words", (box) => {
  // CRIU does not save an open file of the host.
  const { O_WRONLY, O_CREAT } = openFlag(kernel.arch);
  using file = open(kernel, `${box.box.directory}/out`, O_WRONLY | O_CREAT, 0o600);
  box.startCounting(undefined, file);
  const error = box.refused(["checkpoint", "--image-path", box.images, box.id]);
  assertEquals([error.code, error.msg], ["checkpoint-failed", "criu failed: type DUMP errno 0"]);
  assertMatch(error.hint!, /images\/dump\.log: Error \(criu\//);
  assertEquals([error.warnings[0], error.warnings.at(-1)], [`--- Quoting "${box.images}/dump.log"`, "---"]);
  assert(error.warnings.some((line) => /^\d+:.*Error/.test(line)));
  assertUnharmed(box);
});

criuTest("established connections need --tcp-established", (box) => {
  box.start(TALKING);
  box.countsOn();
  const { hint } = box.refused(["checkpoint", "--image-path", box.images, box.id]);
  assertMatch(hint!, /Connected TCP socket/);
  box.countsOn();
  box.checkpoint("--tcp-established", "--leave-running");
  box.countsOn();
  box.box.remove();
});

criuTest("a full disk leaves the container running", (box) => {
  box.startCounting();
  Deno.mkdirSync(box.images);
  assertEquals(execute(["/usr/bin/mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", box.images]).code, 0);
  try {
    const error = box.refused(["checkpoint", "--image-path", box.images, "--work-path", box.box.directory, box.id]);
    assertEquals(error.code, "checkpoint-failed");
    assertMatch(error.hint!, /dump\.log: Error .*/);
    assertMatch(Deno.readTextFileSync(`${box.box.directory}/dump.log`), /No space left on device/);
  } finally {
    execute(["/usr/bin/umount", box.images]);
  }
  assertUnharmed(box);
});

criuTest("a disk that is full from the start is told of by the runtime", (box) => {
  box.startCounting();
  Deno.mkdirSync(box.images);
  assertEquals(execute(["/usr/bin/mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=1", "tmpfs", box.images]).code, 0);
  try {
    const error = box.refused(["checkpoint", "--image-path", box.images, box.id]);
    assertEquals([error.code, error.errno], ["syscall-failed", "ENOSPC"]);
  } finally {
    execute(["/usr/bin/umount", box.images]);
  }
  assertUnharmed(box);
});

boxTest("without criu on PATH the error names the package, and nothing is made", (box) => {
  box.startSleeping();
  const args = ["checkpoint", "--image-path", `${box.directory}/images`, box.id];
  const { code, msg, hint } = box.refused(args, { env: { PATH: box.directory } });
  assertEquals([code, msg], ["host-lacks", 'exec: "criu": executable file not found in $PATH']);
  assertMatch(hint!, /package criu/);
  assertEquals(box.state().status, "running");
  box.remove();
});

for (
  const [what, script, code, message] of [
    ["ends at once", "exit 3", "checkpoint-failed", "criu failed: unexpected EOF: exit status 3"],
    ["is killed", "kill -9 $$", "checkpoint-failed", "criu failed: unexpected EOF: signal: killed"],
    [
      "says nonsense",
      "printf x >&3; exec sleep 1000",
      "protocol",
      "message of CRIU cannot be read: 1 bytes at 1, of 1",
    ],
    [
      "answers no",
      "printf '\\010\\012\\020\\000' >&3; exec sleep 1000",
      "checkpoint-failed",
      "criu failed: type VERSION errno 0",
    ],
  ] as const
) {
  boxTest(`a criu that ${what} is an error, and the container goes on`, (box) => {
    box.startSleeping();
    Deno.writeTextFileSync(`${box.directory}/criu`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    const args = ["checkpoint", "--image-path", `${box.directory}/images`, box.id];
    const error = box.refused(args, { env: { PATH: `${box.directory}:/usr/bin:/bin` } });
    assertEquals([error.code, error.msg], [code, `CRIU version check failed: ${message}`]);
    assertEquals(box.state().status, "running");
    box.remove();
  });
}

boxTest("a created or stopped container has nothing to save", (box) => {
  box.must(["create", box.id]);
  const message = (status: string) => `Container cannot be checkpointed in ${status} state`;
  const refusal = () => box.refused(["checkpoint", "--image-path", `${box.directory}/images`, box.id]);
  const { code, msg } = refusal();
  assertEquals([code, msg], ["container-state", message("created")]);
  box.must(["kill", box.id, "KILL"]);
  assertEquals(refusal().msg, message("stopped"));
  assert(!existsSync(`${box.directory}/images`));
  box.remove();
  assertEquals(refusal().code, "container-missing");
});

criuTest("wrong options are refused in runc's words", (box) => {
  box.startCounting();
  Deno.mkdirSync(box.images);
  Deno.writeTextFileSync(`${box.box.directory}/file`, "");
  const cases: readonly [options: readonly string[], message: RegExp][] = [
    [["--parent-path", "/abs"], /^--parent-path must be relative$/],
    [["--parent-path", "../none"], /^invalid --parent-path: stat .*\/none: no such file or directory$/],
    [["--parent-path", "../file"], /^invalid --parent-path: .*\/file: not a directory$/],
    [["--page-server", "x"], /^Use --page-server ADDRESS:PORT to specify page server$/],
    [["--manage-cgroups-mode", "x"], /^invalid manage-cgroups-mode value$/],
    [["--empty-ns", "pid"], /^namespace "pid" is not supported$/],
  ];
  for (const [options, message] of cases) {
    const error = box.refused(["checkpoint", "--image-path", box.images, ...options, box.id]);
    assertEquals(error.code, "usage");
    assertMatch(error.msg, message);
  }
  assertUnharmed(box);
});

// --- pre-dump, lazy pages ----------------------------------------------------------------------------------------------

criuTest("--pre-dump saves the memory; the dump after it saves what has changed", (box) => {
  box.startCounting();
  const parent = `${box.box.directory}/parent`;
  box.must(["checkpoint", "--pre-dump", "--image-path", parent, box.id]);
  assertEquals(box.status, "running");
  box.countsOn();
  box.checkpoint("--parent-path", "../parent");
  assertEquals(Deno.readLinkSync(`${box.images}/parent`), "../parent");
  box.restore();
  box.countsOn();
  box.box.remove();
}, "mem_dirty_track");

if (!hasFeature("mem_dirty_track")) {
  criuTest("--pre-dump is refused without dirty tracking, and the container goes on", (box) => {
    box.startCounting();
    const { code, msg, hint } = box.refused(["checkpoint", "--pre-dump", "--image-path", box.images, box.id]);
    assertEquals([code, msg], ["host-lacks", "criu is missing features: [MemTrack]"]);
    assertMatch(hint!, /CONFIG_MEM_SOFT_DIRTY/);
    assertUnharmed(box);
  });
}

criuTest("--status-fd must be a descriptor of the caller's, open for writing", (box) => {
  box.startCounting();
  const { read, write } = pipe(kernel, "status");
  using _read = read;
  using _write = write;
  const lazily = ["checkpoint", "--lazy-pages", "--image-path", box.images];
  const cases = [
    ["9", "invalid --status-fd argument 9: bad file descriptor"],
    ["8", "invalid --status-fd argument 8: not writable"],
  ] as const;
  for (const [fd, message] of cases) {
    const { msg } = box.refused([...lazily, "--status-fd", fd, box.id], { fds: { 8: read } });
    assertEquals(msg, message);
  }
  assertUnharmed(box);
}, "uffd-noncoop");

// --- killed in the middle ------------------------------------------------------------------------------------------------

criuTest("criu killed while it saves memory: the container goes on", (box) => {
  box.startCounting();
  // The pages are spliced from the processes' pipes.
  const { PATH, trace } = box.withAccident("--trace=splice --inject=splice:signal=SIGKILL:when=1");
  const error = box.refused(["checkpoint", "--image-path", box.images, box.id], { env: { PATH } });
  assertEquals([error.code, error.msg], ["checkpoint-failed", "criu failed: unexpected EOF: signal: killed"]);
  assertMatch(Deno.readTextFileSync(trace), /killed by SIGKILL/);
  assertUnharmed(box);
});

criuTest("criu killed while the container is frozen: it is thawed", (box) => {
  box.startCounting();
  const files = ["freezer.state", "cgroup.freeze"].flatMap((name) =>
    cgroupsNamed(box.box.name).map((path) => `${path}/${name}`)
  );
  const freezer = files.find((path) => existsSync(path));
  const { PATH, trace } = box.withAccident(`--trace-path=${freezer} --inject=write:signal=SIGKILL:when=2`);
  const { msg } = box.refused(["checkpoint", "--image-path", box.images, box.id], { env: { PATH } });
  assertEquals(msg, "criu failed: unexpected EOF: signal: killed");
  assertMatch(Deno.readTextFileSync(trace), /FROZEN[^]*THAWED[^]*killed by SIGKILL/);
  assertUnharmed(box);
});

/** Starts a checkpoint whose CRIU stops while it saves memory; `then`: what happens to the runtime meanwhile. */
function whileSaving(box: CriuBox, then: (running: Running) => void): Result {
  const { PATH, trace } = box.withAccident("--trace=splice --inject=splice:signal=SIGSTOP:when=1");
  using running = box.box.start(["checkpoint", "--image-path", box.images, box.id], { env: { PATH } });
  until("CRIU to stop", () => running.isOver || contentOf(trace).includes("stopped by SIGSTOP"));
  const tracee = criuOf(running.pid);
  then(running);
  kill(kernel, tracee, SIGCONT);
  const result = running.wait();
  until("CRIU's end", () => !/^State:\t[^Z]/m.test(contentOf(`/proc/${tracee}/status`)));
  return result;
}

criuTest("the runtime killed while CRIU saves: the container goes on", (box) => {
  box.startCounting();
  const { code } = whileSaving(box, (running) => {
    running.signal(9);
    running.wait();
  });
  assertEquals(code, 128 + 9);
  assertUnharmed(box);
});

criuTest("SIGTERM while CRIU saves: CRIU takes back what it has done, and the container goes on", (box) => {
  box.startCounting();
  const { code, stderr } = whileSaving(box, (running) => running.signal(15));
  assertEquals(code, 128 + 15);
  assertMatch(stderr, /msg="interrupted by SIGTERM" code=interrupted/);
  assertUnharmed(box);
});
