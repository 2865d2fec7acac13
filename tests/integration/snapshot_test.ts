/** A started program in a file: what it goes on with is of the process that executes it, and of nobody else. */

import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { basename, dirname } from "@std/path";
import { launcher } from "../../tools/build.ts";
import { writeWhole } from "../../tools/durable.ts";
import { takeSnapshot } from "../../tools/snapshot/snapshot.ts";
import { openPty } from "../fixtures/pty.ts";
import { poll, POLLIN } from "../../lib/ffi/poll.ts";
import { Errno } from "../../lib/ffi/errno.ts";
import { type Argument, Kernel } from "../../lib/ffi/kernel.ts";
import { lacks } from "./interpreter_harness.ts";
import { boxTest, execute, isSnapshot, kernel, program, type Result, until } from "./harness.ts";

const script = new URL("../fixtures/snapshot_program.ts", import.meta.url).pathname;
const flags = "run --allow-all --quiet --no-config --no-lock --no-check --no-code-cache --v8-flags=--single-threaded";
/** It refuses instructions that the chosen processor does not have. */
const emulator = "/usr/bin/qemu-x86_64-static";
/** Somebody's secret in the environment of whoever builds. */
const SECRET = `secret-${crypto.randomUUID()}`;

/** The snapshot of the test program, and what it executes if it cannot be resumed. */
interface Frozen {
  readonly directory: string;
  readonly path: string;
  readonly launcher: string;
  /** The stack canary and the pointer guard of the process that the snapshot was taken of, in hexadecimal. */
  readonly guards: readonly string[];
}

function withSnapshot(name: string, body: (frozen: Frozen) => void, taker: Kernel = kernel): void {
  Deno.test({
    name,
    ignore: Deno.build.arch !== "x86_64",
    fn: () => {
      const directory = Deno.makeTempDirSync({ prefix: "runc-test-" });
      try {
        Deno.env.set("RUNC_TEST_SECRET", SECRET);
        const path = `${directory}/frozen`, launcher = `${path}.sh`, report = `${directory}/guards`;
        Deno.writeTextFileSync(launcher, '#!/bin/sh\necho "anew: $0 $*"\n', { mode: 0o755 });
        takeSnapshot(taker, {
          deno: Deno.execPath(),
          args: [...flags.split(" "), script, report],
          samples: [{ words: ["much"], populateFor: ["much"] }, { words: ["sample"], populateFor: [] }],
          output: path,
        });
        const guards = JSON.parse(Deno.readTextFileSync(report));
        Deno.removeSync(report);
        body({ directory, path, launcher, guards });
      } finally {
        Deno.env.delete("RUNC_TEST_SECRET");
        Deno.removeSync(directory, { recursive: true });
      }
    },
  });
}

/** Changes a file's bytes, where they are found first. */
function replace(path: string, from: string, to: string): void {
  const bytes = Deno.readFileSync(path);
  const text = new TextDecoder("latin1").decode(bytes.subarray(0, 65536));
  const at = text.indexOf(from);
  assert(at > 0, `${path} has no ${from}`);
  bytes.set(new TextEncoder().encode(to), at);
  Deno.writeFileSync(path, bytes);
}

withSnapshot("a frozen program goes on in a process of its own, again and again", ({ directory, path }) => {
  const seen = new Set<number>();
  for (const words of [[], ["one", "two words", "ü"]]) {
    const before = Date.now();
    const shell = 'ulimit -Sn 321; umask 0137; exec "$@"';
    const { code, stdout, stderr } = execute(["/bin/sh", "-c", shell, "sh", path, ...words], {
      cwd: directory,
      env: { NAME: "value" },
    });
    assertEquals([code, stderr], [7, ""]);
    const { ids, now, environment, guards: _, ...found } = JSON.parse(stdout);
    assertEquals(found, {
      words: [path, ...words],
      directory,
      // The last one is that of the directory that is being read.
      descriptors: [0, 1, 2, 3],
      umask: "0137",
      threads: "1",
      name: basename(path),
      program: path,
      files: "321",
    });
    assertEquals(environment.NAME, "value");
    assertEquals(new Set(ids).size, 1, `one process, one thread: ${ids}`);
    seen.add(ids[0]);
    assert(now >= before && now <= Date.now());
  }
  assertEquals(seen.size, 2);
});

withSnapshot("nothing of the environment that it was made in is in the file", ({ path }) => {
  assertEquals(execute(["/bin/grep", "--count", "--text", SECRET, path]).stdout, "0\n");
});

withSnapshot("each process draws its own canary and pointer guard, and the file has none", ({ path, guards }) => {
  const seen = [guards, ...[1, 2].map(() => JSON.parse(execute([path]).stdout).guards as string[])];
  for (const index of [0, 1]) assertEquals(new Set(seen.map((guards) => guards[index])).size, seen.length);
  for (const guard of seen.flat()) assert(guard.length > 8, `${guard} is no random number`);
  const content = new TextDecoder("latin1").decode(Deno.readFileSync(path));
  for (const guard of guards) {
    const bytes = Uint8Array.fromHex(guard.padStart(16, "0")).reverse();
    // The first byte of a canary is zero.
    assertEquals(content.indexOf(new TextDecoder("latin1").decode(bytes.subarray(1))), -1);
  }
});

for (const [kind, code] of [["segv", 139], ["abort", 134]] as const) {
  withSnapshot(`a program that crashes (${kind}) says how to run the command without the snapshot`, ({ path }) => {
    const { code: found, stderr } = execute(["/bin/bash", "-c", 'ulimit -c 0; "$0" crash "$1"', path, kind]);
    assertEquals(found, code);
    const said =
      `runc: this program has crashed, which is a bug. ${path}.sh runs the same command without the snapshot`;
    assertEquals(stderr.split("\n")[0], said);
  });
}

withSnapshot(
  "the pages that a command writes to are populated for commands that resemble it",
  ({ directory, path }) => {
    const log = `${directory}/strace.log`;
    const populated = (words: readonly string[]) => {
      assertEquals(execute(["/usr/bin/strace", "-o", log, "-e", "trace=madvise", path, ...words]).code, 7);
      const calls = Deno.readTextFileSync(log).matchAll(/^madvise\(\w+, (\d+), MADV_POPULATE_WRITE\)/gm);
      return [...calls].reduce((sum, [, length]) => sum + Number(length), 0);
    };
    const area = 1 << 20;
    const little = populated(["mice"]);
    assert(little > 0 && little < area, `${little} bytes`);
    assertEquals(populated([]), little);
    for (const words of [["much"], ["a", "much"], ["muchness"]]) {
      assert(populated(words) >= area, `${words}: ${populated(words)} bytes`);
    }
  },
);

withSnapshot(
  "a file that is not in the page cache is read at once, and only what commands use",
  ({ directory, path }) => {
    const log = `${directory}/strace.log`;
    const read = (answer: string) => {
      const inject = ["-e", "trace=mincore,preadv2,madvise", "-e", `inject=${answer}`];
      assertEquals(execute(["/usr/bin/strace", "-o", log, ...inject, path]).code, 7);
      return [...Deno.readTextFileSync(log).matchAll(/^madvise\(\w+, (\d+), MADV_WILLNEED\) += 0$/gm)].map(
        ([, length]) => Number(length),
      );
    };
    // mincore(2) says that it is cached, as to everybody who is not the file's owner.
    assertEquals(read("preadv2:retval=1"), [], "it is in the page cache");
    assertEquals(read("preadv2:error=EOPNOTSUPP"), [], "the file system does not say");
    const lengths = read("preadv2:error=EAGAIN");
    // The byte for its answer is zero.
    assertEquals(read("mincore:retval=0"), lengths);
    // Linux would read less of a longer range.
    assert(Math.max(...lengths) <= 128 << 10);
    const sum = lengths.reduce((sum, length) => sum + length, 0), size = Deno.statSync(path).size;
    assert(sum > 1 << 20 && sum < size / 4, `${sum} bytes of ${size}`);
  },
);

/** As in containers, whose engines let seccomp refuse the call. */
class WithoutPersonality extends Kernel {
  override call(name: string, ...args: Argument[]): number {
    return name === "personality" ? -Errno.EPERM : super.call(name, ...args);
  }
}

withSnapshot("a snapshot that was taken where personality(2) is refused can be resumed", ({ path }) => {
  for (let time = 0; time < 20; time++) assertEquals(execute([path]).code, 7);
}, new WithoutPersonality());

withSnapshot("a frozen program goes on whatever the kernel's layout of addresses is", ({ path }) => {
  for (const personality of [["--addr-no-randomize"], ["--addr-compat-layout"], []]) {
    const { code, stderr } = execute(["/usr/bin/setarch", "x86_64", ...personality, path]);
    assertEquals([code, stderr], [7, ""], personality.join());
  }
  for (let time = 0; time < 100; time++) assertEquals(execute([path]).code, 7);
});

/** Runs a program with a terminal as its standard error; `stderr` is what the terminal shows. */
function executeOnTerminal(argv: readonly string[]): Result {
  const { master, slave, path } = openPty(kernel);
  using _master = master;
  using _slave = slave;
  const result = execute(["/bin/sh", "-c", `exec "$@" 2>${path}`, "sh", ...argv]);
  const [isReady] = poll(kernel, [{ fd: master.number, events: POLLIN }], 0);
  const bytes = new Uint8Array(4096);
  const length = isReady === 0 ? 0 : kernel.call("read", master.number, bytes, bytes.length);
  return { ...result, stderr: new TextDecoder().decode(bytes.subarray(0, length)).replaceAll("\r\n", "\n") };
}

/** Runs the program under strace, which answers EEXIST to the mmap calls that `which` says. */
function withTakenAddresses(path: string, directory: string, which: string): { outcome: Result; starts: number } {
  const log = `${directory}/strace.log`;
  const inject = ["-e", "trace=execve,mmap", "-e", `inject=mmap:error=EEXIST:when=${which}`];
  const outcome = executeOnTerminal(["/usr/bin/strace", "-o", log, ...inject, path]);
  return { outcome, starts: Deno.readTextFileSync(log).match(/^execve\(/gm)!.length };
}

withSnapshot("a program whose addresses are in use is executed again", ({ directory, path }) => {
  // The program gives up once in 64 times; then the launcher starts.
  for (let time = 0; time < 10; time++) {
    const { outcome, starts } = withTakenAddresses(path, directory, "4");
    if (outcome.stdout.startsWith("anew: ")) continue;
    assertEquals([outcome.code, outcome.stderr], [7, ""]);
    // The kernel's choice of addresses may collide once more.
    assert(starts >= 2, `${starts} starts`);
    return;
  }
  throw new Error("the program was never executed again");
});

withSnapshot("a program whose addresses stay in use ends, and says so", ({ directory, path }) => {
  const { outcome } = withTakenAddresses(path, directory, "4+");
  assertMatch(outcome.stderr, /memory cannot be restored at its addresses/);
});

/** Changes a file's bytes. */
function edit(path: string, change: (bytes: Uint8Array<ArrayBuffer>) => void): void {
  const bytes = Deno.readFileSync(path);
  change(bytes);
  Deno.writeFileSync(path, bytes);
}

/** What keeps a program from going on, and what it says. */
const obstacles: readonly [name: string, prefix: readonly string[], change: (path: string) => void, why: RegExp][] = [
  [
    "the processor lacks something",
    [],
    // The first `and ecx, imm32` with what was found, to be compared with what is wanted: nothing was.
    (path) =>
      edit(path, (bytes) => {
        const at = bytes.findIndex((byte, index) => byte === 0x81 && bytes[index + 1] === 0xe1);
        bytes.fill(0, at + 2, at + 6);
      }),
    /this processor lacks instructions/,
  ],
  [
    "it cannot have its memory",
    // 256 MiB.
    ["/bin/sh", "-c", 'ulimit -v 262144; exec "$@"', "sh"],
    () => {},
    /memory cannot be restored at its addresses.*ulimit -v/,
  ],
];

for (const [name, prefix, change, why] of obstacles) {
  withSnapshot(
    `where ${name}, the launcher is executed, and a terminal shows one line`,
    ({ directory, path, launcher }) => {
      Deno.chmodSync(directory, 0o755);
      change(path);
      const { code, stdout, stderr } = executeOnTerminal([...prefix, path, "a", "b"]);
      assertEquals([code, stdout], [0, `anew: ${launcher} a b\n`]);
      assertMatch(stderr, /^runc: warning: .*\. Starting Deno instead, which is slower\. To fix it, .*\n$/);
      assertMatch(stderr, why);
      // Callers that read a pipe get the command's own output alone.
      const piped = execute([...prefix, path, "features"]);
      assertEquals(piped, { code: 0, stdout: `anew: ${launcher} features\n`, stderr: "" });
      assertEquals(execute([...prefix, path]).stdout, `anew: ${launcher} \n`);
      assertEquals(execute([...prefix, "/bin/sh", "-c", 'exec "$0" 2>&-', path]).code, 0);
    },
  );

  withSnapshot(
    `where ${name} and there is no launcher, one line says what is missing`,
    ({ directory, path, launcher }) => {
      Deno.chmodSync(directory, 0o755);
      change(path);
      Deno.removeSync(launcher);
      for (const words of [[], ["a", "b"], ["features"]]) {
        const { code, stdout, stderr } = execute([...prefix, path, ...words]);
        assertEquals([code, stdout], [1, ""]);
        assertMatch(stderr, /^runc: [^\n]*, or restore that file\n$/);
        assertMatch(stderr, why);
        assert(stderr.includes(`${launcher}, which would start Deno instead, cannot be executed.`), stderr);
      }
    },
  );
}

withSnapshot("if its own file cannot be read, one line says so", ({ directory, path }) => {
  const said = "runc: /proc/self/exe cannot be read. To fix it, mount proc on /proc, and make this file readable\n";
  const expected = { code: 1, stdout: "", stderr: said };
  Deno.chmodSync(directory, 0o755);
  Deno.chmodSync(path, 0o711);
  assertEquals(execute(["/usr/bin/setpriv", "--reuid=65534", "--clear-groups", path]), expected);
  replace(path, "/proc/self/exe", "/proc/none/exe");
  assertEquals(execute([path]), expected);
});

withSnapshot("what is executed instead inherits no descriptor", ({ path, launcher }) => {
  const [, prefix] = obstacles[1]!;
  const script =
    "#!/bin/sh\nfor fd in 3 4 5; do [ ! -e /proc/$$/fd/$fd ] || readlink /proc/$$/fd/$fd; done; echo end\n";
  Deno.writeTextFileSync(launcher, script, { mode: 0o755 });
  assertEquals(execute([...prefix, path]).stdout, "end\n");
});

withSnapshot("a file that is cut says so and does not succeed", ({ path }) => {
  const whole = Deno.statSync(path).size;
  for (const size of [whole - 1, whole - 4096, whole >> 1, 40 * 4096]) {
    Deno.truncateSync(path, size);
    const { code, stdout, stderr } = execute([path]);
    assertEquals([code, stdout], [1, ""], `${size} of ${whole} bytes`);
    assertEquals(stderr, "runc: the program's file is incomplete: copy, build or install it again\n");
  }
  // Of less than its code only the kernel can say something.
  for (const size of [4096, 1000, 100]) {
    Deno.truncateSync(path, size);
    assert(execute(["/bin/bash", "-c", '"$0"', path]).code !== 0, `${size} bytes`);
  }
});

withSnapshot(
  "it is not made by halves: a program that is there stays where it fails, and nothing else is left",
  ({ directory, path }) => {
    const before = Deno.statSync(path);
    assertThrows(
      () =>
        writeWhole(path, 0o755, (write) => {
          write(Uint8Array.of(1, 2, 3));
          throw new Error("the disk is full");
        }),
      Error,
      "the disk is full",
    );
    const after = Deno.statSync(path);
    assertEquals([after.ino, after.size, after.mtime], [before.ino, before.size, before.mtime]);
    assertEquals([...Deno.readDirSync(directory)].map(({ name }) => name).sort(), ["frozen", "frozen.sh"]);
  },
);

boxTest("the runtime is such a program: a command is one process with one thread, and no Deno is started", (box) => {
  if (!isSnapshot(program)) return assertMatch(Deno.readTextFileSync(program), /^#!\/bin\/sh\n/);
  box.startSleeping();
  using events = box.start(["events", "--interval", "1h", box.id]);
  const process = `/proc/${events.pid}`;
  until("it waits for events", () => /poll/.test(Deno.readTextFileSync(`${process}/wchan`)));
  assertEquals(Deno.readLinkSync(`${process}/exe`), program);
  assertMatch(Deno.readTextFileSync(`${process}/status`), /^Threads:\s*1$/m);
  assertEquals(Deno.readTextFileSync(`${process}/comm`), "runc\n");
  const maps = Deno.readTextFileSync(`${process}/maps`);
  assertEquals(maps.includes("/deno"), false);
  assertEquals(/^\S+ .wx.*$/m.exec(maps), null, "no memory is writable and executable at once");
  box.remove();
  assertEquals(events.wait().code, 0);
});

Deno.test({
  name: "the program's file tells nothing of the host that it was built on",
  ignore: !isSnapshot(program),
  fn: () => {
    const content = new TextDecoder("latin1").decode(Deno.readFileSync(program));
    const mounts = Deno.readTextFileSync("/proc/self/mountinfo").trim().split("\n");
    // Directories of the build, and the cgroup of its containers.
    const names = [dirname(dirname(program)), "/runc-snapshot-", "runc-rehearsal-"];
    for (const text of [...mounts, ...names, Deno.osRelease()]) assert(!content.includes(text), text);
  },
});

Deno.test({
  name: `the program runs on a processor without AVX (needs ${emulator})`,
  ignore: !isSnapshot(program) || lacks(emulator),
  fn: () => {
    for (const words of [["--version"], ["features"], ["help", "run"]]) {
      const { code, stdout, stderr } = execute([emulator, "-cpu", "Nehalem", program, ...words]);
      assertEquals([code, stderr], [0, ""]);
      if (words[0] === "--version") assert(stdout.endsWith("\nprogram: snapshot\n"));
    }
  },
});

Deno.test("version and features say which kind of program runs", () => {
  const kind = isSnapshot(program) ? "snapshot" : "launcher";
  const kindOf = (path: string) => {
    const version = execute([path, "--version"]);
    assertMatch(version.stdout, /^runc version .+\n(commit: .+\n)?spec: .+\n/);
    const [, said] = /^program: (\w+)$/m.exec(version.stdout) ?? [];
    const { annotations } = JSON.parse(execute([path, "features"]).stdout);
    return [said, annotations["org.opencontainers.runc-ts.program"]];
  };
  assertEquals(kindOf(program), [kind, kind]);
  if (kind === "snapshot") assertEquals(kindOf(`${program}.sh`), ["launcher", "launcher"]);
});

boxTest("a launcher without its script, or with an empty one, says so", (box) => {
  const path = `${box.directory}/runc`, script = `${box.directory}/runc.js`;
  Deno.writeTextFileSync(path, launcher(Deno.execPath(), box.directory), { mode: 0o755 });
  for (const make of [() => {}, () => Deno.writeTextFileSync(script, "")]) {
    make();
    const { code, stderr } = execute([path, "--version"]);
    assertEquals(code, 1);
    assertMatch(stderr, /^runc: \S+\/runc\.js is missing or empty: run 'deno task build' .*\n$/);
  }
});

boxTest("a part of a launcher, or of its script, does not succeed", (box) => {
  const path = `${box.directory}/runc`, script = `${box.directory}/runc.js`;
  const whole = launcher(Deno.execPath(), box.directory);
  const bundle = Deno.readTextFileSync(`${dirname(program)}/runc.js`);
  const run = (launcherText: string, scriptText: string) => {
    Deno.writeTextFileSync(path, launcherText, { mode: 0o755 });
    Deno.writeTextFileSync(script, scriptText);
    return execute([path, "--version"]);
  };
  assertEquals(run(whole, bundle).code, 0);
  const lines = whole.trimEnd().split("\n");
  for (let count = 2; count < lines.length; count++) {
    assert(run(lines.slice(0, count).join("\n"), bundle).code !== 0, `${count} lines`);
  }
  // Without the last statement, which runs the program, and cut anywhere.
  for (const part of [bundle.slice(0, bundle.lastIndexOf("if(import.meta.main)")), bundle.slice(0, 1000)]) {
    assertEquals(run(whole, part).code, 1, part.slice(-40));
  }
});
