/**
 * The bundle that the program rehearses with before it is frozen: the default config, and a program that ends at once.
 *
 * @module
 */

import { ensureDirSync } from "@std/fs";
import { join } from "@std/path";
import { defaultSpec, rootlessSpec } from "../../lib/specs/default_spec.ts";
import { hasOnlyCgroup2 } from "../../lib/libcontainer/facts.ts";
import { movImm, syscall, xor } from "../../lib/plan/native/asm_x86_64.ts";
import { assemble } from "../../lib/plan/native/assembler.ts";
import { executableHead } from "./elf.ts";
import { Sys } from "./thaw_x86_64.ts";

/** A static executable that ends with status 0. */
function idleProgram(): Uint8Array<ArrayBuffer> {
  const { code } = assemble([xor("edi", "edi"), movImm("eax", Sys.exit_group), syscall()]);
  return executableHead(code);
}

/** Makes it in `directory`. Its containers are in a cgroup of their own, as far as this process may make one. */
export function makeRehearsalBundle(directory: string): void {
  const rootfs = join(directory, "rootfs");
  ensureDirSync(rootfs);
  Deno.writeFileSync(join(rootfs, "program"), idleProgram(), { mode: 0o755 });
  const config = defaultSpec({ cgroup2: hasOnlyCgroup2() });
  const suitable = Deno.uid() === 0 ? config : rootlessSpec(config, { uid: Deno.uid()!, gid: Deno.gid()! });
  Deno.writeTextFileSync(
    join(directory, "config.json"),
    JSON.stringify({
      ...suitable,
      process: { ...suitable.process!, terminal: false, args: ["/program"] },
      linux: { ...suitable.linux!, cgroupsPath: `/runc-rehearsal-${Deno.pid}` },
    }),
  );
}
