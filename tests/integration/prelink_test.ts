/** A prelinked Deno: the same program, for a fixed address. */

import { assertEquals, assertThrows } from "@std/assert";
import { prelink, prelinkFile } from "../../tools/prelink.ts";
import { execute } from "./harness.ts";

Deno.test("a prelinked Deno runs, at a fixed address, and the linker has nothing left to add (needs /usr/bin/readelf)", () => {
  const directory = Deno.makeTempDirSync({ prefix: "runc-test-" });
  try {
    const path = `${directory}/deno`;
    prelinkFile(Deno.execPath(), path);
    const { code, stdout } = execute([path, "eval", "console.log([1, 2].map((n) => n * 2).join())"], {
      env: { NO_COLOR: "1", DENO_DIR: directory },
    });
    assertEquals([code, stdout], [0, "2,4\n"]);
    const read = (option: string) => execute(["/usr/bin/readelf", "-W", option, path]);
    assertEquals(read("-h").stdout.match(/Type: +(\w+)/)?.[1], "EXEC");
    const relocations = read("-rD");
    assertEquals([relocations.code, relocations.stdout.includes("RELATIVE")], [0, false]);
    // readelf complains of what does not fit together.
    assertEquals(relocations.stderr, "");
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

Deno.test("what cannot be prelinked is refused", () => {
  assertThrows(() => prelink(new Uint8Array(64)), Error, "not a position-independent executable");
});
