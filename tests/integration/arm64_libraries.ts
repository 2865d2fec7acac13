/**
 * Brings the libraries that Deno for aarch64 needs: `deno run -A tests/integration/arm64_libraries.ts` unpacks Debian's
 * into dist/arm64, and prints the directory. qemu-user runs aarch64 programs with them. Nothing is installed.
 *
 * @module
 */

import { ensureDirSync, existsSync } from "@std/fs";
import { distDir } from "../../tools/bundle.ts";
import { Suite } from "../vm/packages.ts";

const directory = `${distDir}/arm64`;

function prepare(): void {
  if (existsSync(directory)) return;
  ensureDirSync(distDir);
  // Under another name first, so that what is there is whole.
  const unpacked = Deno.makeTempDirSync({ dir: distDir, prefix: "arm64-" });
  using bookworm = new Suite("bookworm", Deno.makeTempDirSync({ prefix: "runc-arm64-" }), "arm64");
  bookworm.unpackWhole(["libc6", "libgcc-s1"], unpacked);
  Deno.chmodSync(unpacked, 0o755);
  Deno.renameSync(unpacked, directory);
}

if (import.meta.main) {
  prepare();
  console.log(directory);
}
