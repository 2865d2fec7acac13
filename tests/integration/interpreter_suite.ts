/** Declares the tests of one architecture's interpreter. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Arch } from "../../lib/ffi/syscalls.ts";
import { RETRY_LIMIT } from "../../lib/plan/native/format.ts";
import { emulatorFor, lacks, qemu, run } from "./interpreter_harness.ts";
import { type Case, cases, printMaps, readEmpty } from "./interpreter_programs.ts";

/** Runs every program, natively where the machine is one, else under qemu-user. */
export function testInterpreter(arch: Arch): void {
  const emulator = emulatorFor(arch);
  const needs = emulator ? ` (needs ${emulator})` : "";
  const ignore = lacks(emulator);

  for (const example of cases) {
    Deno.test({
      name: `${arch}: ${example.name}${needs}`,
      ignore: ignore || (example.native === true && emulator !== undefined),
      fn: () => {
        const program = typeof example.program === "function" ? example.program(arch) : example.program;
        const { status, stdout, reports } = run(arch, program, { deaf: example.deaf });
        assertEquals({ status, stdout: stdout.toHex(), reports }, {
          status: typeof example.status === "function" ? example.status(arch) : example.status ?? 0,
          stdout: expectedOutput(example, arch).toHex(),
          reports: example.reports ?? [],
        });
      },
    });
  }

  Deno.test({
    name: `${arch}: nothing is mapped writable and executable at once${needs}`,
    ignore,
    fn: () => {
      const { status, stdout } = run(arch, printMaps);
      const maps = new TextDecoder().decode(stdout);
      assertEquals(status, 0);
      assertMatch(maps, /^0*400000-\S+ r-xp/m);
      assertMatch(maps, /^0*10000000-\S+ rw-p/m);
      assert(!/^\S+ .wx/m.test(maps), maps);
    },
  });

  Deno.test({
    name: `${arch}: EAGAIN is retried ${RETRY_LIMIT} times (needs ${qemu(arch)})`,
    ignore: lacks(qemu(arch)),
    fn: () => {
      const strace = Deno.makeTempFileSync({ prefix: "interpreter-strace-" });
      try {
        run(arch, { steps: readEmpty, zeroed: { shown: 8 } }, { strace });
        const calls = Deno.readTextFileSync(strace).split("\n").filter((line) => / read\(/.test(line));
        assertEquals(calls.length, 1 + RETRY_LIMIT);
      } finally {
        Deno.removeSync(strace);
      }
    },
  });
}

function expectedOutput({ stdout = "" }: Case, arch: Arch): Uint8Array {
  if (typeof stdout === "string") return new TextEncoder().encode(stdout);
  const numbers = typeof stdout === "function" ? stdout(arch) : stdout;
  return new Uint8Array(BigInt64Array.from(numbers.map((number) => BigInt.asIntN(64, number))).buffer);
}
