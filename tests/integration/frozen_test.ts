/** A started program in a file: what it goes on with is of the process that executes it, and of nobody else. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { basename } from "@std/path";
import { freezeProgram } from "../../tools/freeze/freeze.ts";
import { boxTest, execute, isFrozen, kernel, program, until } from "./harness.ts";

const script = new URL("../fixtures/frozen_program.ts", import.meta.url).pathname;
const flags = "run --allow-all --quiet --no-config --no-lock --no-check --no-code-cache --v8-flags=--single-threaded";
/** Somebody's secret in the environment of whoever builds. */
const SECRET = `secret-${crypto.randomUUID()}`;

/** The frozen test program, and what it executes where it cannot go on. */
interface Frozen {
  readonly directory: string;
  readonly path: string;
}

function withFrozen(name: string, body: (frozen: Frozen) => void): void {
  Deno.test({
    name,
    ignore: Deno.build.arch !== "x86_64",
    fn: () => {
      const directory = Deno.makeTempDirSync({ prefix: "runc-test-" });
      try {
        Deno.env.set("RUNC_TEST_SECRET", SECRET);
        const path = `${directory}/frozen`, launcher = `${directory}/launcher`;
        Deno.writeTextFileSync(launcher, '#!/bin/sh\necho "anew: $0 $*"\n', { mode: 0o755 });
        freezeProgram(kernel, {
          deno: Deno.execPath(),
          args: [...flags.split(" "), script],
          sample: ["sample"],
          output: path,
          launcher,
        });
        body({ directory, path });
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

withFrozen("a frozen program goes on in a process of its own, again and again", ({ directory, path }) => {
  const seen = new Set<number>();
  for (const words of [[], ["one", "two words", "ü"]]) {
    const before = Date.now();
    const shell = 'ulimit -Sn 321; umask 0137; exec "$@"';
    const { code, stdout, stderr } = execute(["/bin/sh", "-c", shell, "sh", path, ...words], {
      cwd: directory,
      env: { NAME: "value" },
    });
    assertEquals([code, stderr], [7, ""]);
    const { ids, now, environment, ...found } = JSON.parse(stdout);
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

withFrozen("nothing of the environment that it was made in is in the file", ({ path }) => {
  assertEquals(execute(["/bin/grep", "--count", "--text", SECRET, path]).stdout, "0\n");
});

withFrozen("a frozen program goes on whatever the kernel's layout of addresses is", ({ path }) => {
  for (const personality of [["--addr-no-randomize"], ["--addr-compat-layout"], []]) {
    const { code, stderr } = execute(["/usr/bin/setarch", "x86_64", ...personality, path]);
    assertEquals([code, stderr], [7, ""], personality.join());
  }
  for (let time = 0; time < 100; time++) assertEquals(execute([path]).code, 7);
});

withFrozen("where it cannot have its memory back, the launcher is executed", ({ directory, path }) => {
  replace(path, "/proc/self/exe", "/proc/none/exe");
  assertEquals(execute([path, "a", "b"]).stdout, `anew: ${directory}/launcher a b\n`);
});

withFrozen("where the processor lacks something, the launcher is executed", ({ directory, path }) => {
  const bytes = Deno.readFileSync(path);
  // The first `and ecx, imm32` with what was found, to be compared with what is wanted: nothing was.
  const at = bytes.findIndex((byte, index) => byte === 0x81 && bytes[index + 1] === 0xe1);
  bytes.fill(0, at + 2, at + 6);
  Deno.writeFileSync(path, bytes);
  assertEquals(execute([path, "a"]).stdout, `anew: ${directory}/launcher a\n`);
});

boxTest("the runtime is such a program: a command is one process with one thread, and no Deno is started", (box) => {
  if (!isFrozen(program)) return assertMatch(Deno.readTextFileSync(program), /^#!\/bin\/sh\n/);
  box.startSleeping();
  using events = box.start(["events", "--interval", "1h", box.id]);
  const process = `/proc/${events.pid}`;
  until("it waits for events", () => /poll/.test(Deno.readTextFileSync(`${process}/wchan`)));
  assertEquals(Deno.readLinkSync(`${process}/exe`), program);
  assertMatch(Deno.readTextFileSync(`${process}/status`), /^Threads:\s*1$/m);
  assertEquals(Deno.readTextFileSync(`${process}/comm`), "runc\n");
  assertEquals(Deno.readTextFileSync(`${process}/maps`).includes("/deno"), false);
  box.remove();
  assertEquals(events.wait().code, 0);
});
