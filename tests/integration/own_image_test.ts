/** A program that is executed by a descriptor, or whose file was removed, still starts itself again. */

import { assertEquals, assertMatch } from "@std/assert";
import { dirname } from "@std/path";
import type { Fd } from "../../lib/ffi/fd.ts";
import { openPath, sealedMemfd } from "../../lib/ffi/files.ts";
import { sealedSelf } from "../../lib/libcontainer/launch/self.ts";
import type { Runtime } from "../../lib/libcontainer/runtime.ts";
import { type Box, boxTest, execute, isSnapshot, kernel, program, type Result, until } from "./harness.ts";

/** The number that the program's file has for those that execute it. */
const NUMBER = 9;

/** Ways to have a program without a path. */
const places: readonly [what: string, open: (box: Box) => Fd, link: RegExp][] = [
  ["in a mount that is in no namespace", () => sealedSelf({ kernel, reexec: { path: program } } as Runtime), /^\/$/],
  [
    "in memory",
    () => sealedMemfd(kernel, { name: "program", content: Deno.readFileSync(program), executable: true }),
    /^\/memfd:program/,
  ],
  ["that was removed", (box) => {
    const path = `${box.directory}/program`;
    Deno.copyFileSync(program, path);
    try {
      return openPath(kernel, path);
    } finally {
      Deno.removeSync(path);
    }
  }, / \(deleted\)$/],
];

/** The ways in which a command starts the program again. */
const commands: readonly (readonly string[])[] = [
  ["--init=native", "run"],
  ["--init=deno", "run"],
  ["--init=native", "run", "--detach", "--supervise"],
  ["--init=native", "run", "--seccomp-audit", "audit.json"],
];

for (const [what, open, link] of places) {
  boxTest(`a program ${what} carries out every command that starts it again`, (box) => {
    // A launcher is a script, which finds its files by its path.
    if (!isSnapshot(program)) return;
    using file = open(box);
    const call = (...args: readonly string[]): Result =>
      execute([`/proc/self/fd/${NUMBER}`, "--root", box.root, ...args], { cwd: box.bundle, fds: { [NUMBER]: file } });
    assertMatch(Deno.readLinkSync(`/proc/self/fd/${file.number}`), link);
    box.write((config) => config.process.args = ["/bin/busybox", "true"]);
    for (const words of commands) {
      assertEquals([words, call(...words, box.id)], [words, { code: 0, stdout: "", stderr: "" }]);
      if (!words.includes("--detach")) continue;
      until("its end", () => JSON.parse(call("state", box.id).stdout).status === "stopped");
      assertEquals(call("delete", box.id), { code: 0, stdout: "", stderr: "" });
    }
    assertEquals(JSON.parse(call("list", "--format", "json").stdout), null);
  });
}

Deno.test("deno compile puts the program into the memory of its process, also when that has no path", () => {
  const directory = Deno.makeTempDirSync({ prefix: "runc-test-" });
  try {
    const [script, reader, compiled] = ["program.ts", "reader.ts", "compiled"].map((name) => `${directory}/${name}`);
    Deno.writeTextFileSync(script!, 'console.log("a text that only this program has");\n');
    Deno.writeTextFileSync(reader!, READER);
    // Deno's own binary instead of denort, which is not to be had everywhere: it takes the program in as denort does,
    // and then runs another one.
    const flags = ["compile", "--quiet", "--no-config", "--output", compiled!, script!];
    const env = { DENORT_BIN: Deno.execPath(), DENO_DIR: `${directory}/cache` };
    assertEquals(execute([Deno.execPath(), ...flags], { env }), { code: 0, stdout: "", stderr: "" });
    using file = sealedSelf({ kernel, reexec: { path: compiled } } as Runtime);
    const args = ["run", "--quiet", "--no-config", "--allow-all", reader!];
    const ran = execute([`/proc/self/fd/${NUMBER}`, ...args], {
      env,
      cwd: dirname(compiled!),
      fds: { [NUMBER]: file },
    });
    assertEquals(ran, { code: 0, stdout: "/ SUI true\n", stderr: "" });
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

/**
 * Prints the name of its process's file, then what it finds in memory where the program headers have the last note:
 * its owner, and whether the compiled program is in it. elf(5), getauxval(3)
 */
const READER = `
const vector = new BigUint64Array(Deno.readFileSync("/proc/self/auxv").buffer);
const auxiliary = new Map(Array.from({ length: vector.length / 2 }, (_, n) => [vector[2 * n], Number(vector[2 * n + 1])]));
const memory = Deno.openSync("/proc/self/mem");
function read(address, size) {
  memory.seekSync(address, Deno.SeekMode.Start);
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size;) at += memory.readSync(bytes.subarray(at)) ?? size;
  return bytes;
}
const [AT_PHDR, AT_PHNUM, PT_PHDR, PT_NOTE] = [3n, 5n, 6, 4];
const start = auxiliary.get(AT_PHDR);
const headers = Array.from({ length: auxiliary.get(AT_PHNUM) }, (_, n) => new DataView(read(start + 56 * n, 56).buffer))
  .map((view) => ({ type: view.getUint32(0, true), address: Number(view.getBigUint64(16, true)), size: Number(view.getBigUint64(40, true)) }));
const base = start - headers.find(({ type }) => type === PT_PHDR).address;
const note = headers.filter(({ type }) => type === PT_NOTE).at(-1);
const text = new TextDecoder("latin1").decode(read(base + note.address, note.size));
console.log(Deno.readLinkSync("/proc/self/exe"), text.slice(12, 15), text.includes("a text that only this program has"));
`;
