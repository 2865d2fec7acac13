/**
 * The program's entry: `runc` on the command line. The library's is mod.ts.
 *
 * @module
 */

import { Kernel } from "./lib/ffi/kernel.ts";
import { main } from "./lib/cli/program.ts";
import { denoProgramKind, hostOf, reexecDeno } from "./lib/cli/host.ts";

// Deno.exit skips the disposal of V8's heap, 1.2 ms at every end; nothing is left to be written by then.
if (import.meta.main) {
  const world = hostOf(new Kernel(), { reexec: reexecDeno, programKind: denoProgramKind });
  Deno.exit(main(Deno.args, world));
}
