/**
 * Brings a CRIU for the tests: `deno run -A tests/criu/prepare.ts` unpacks Debian sid's into dist/criu. Nothing is
 * installed. The CRIU of the machine's own Debian may be too old for the machine's kernel.
 *
 * @module
 */

import { ensureDirSync, existsSync } from "@std/fs";
import { distDir, giveUp, runTool } from "../../tools/bundle.ts";
import { must, Suite } from "../vm/packages.ts";

/** Where everything is. */
const directory = `${distDir}/criu`;
/** A directory for PATH: it has the program `criu`. */
const binDirectory = `${directory}/bin`;
const program = `${binDirectory}/criu`;
const config = `${directory}/criu.conf`;

function prepare(): void {
  ensureDirSync(distDir);
  // Test files that run side by side need it at the same time.
  using lock = Deno.openSync(`${distDir}/criu.lock`, { write: true, create: true });
  lock.lockSync(true);
  // The configuration is written last.
  if (existsSync(config) && works()) return;
  if (existsSync(directory)) Deno.removeSync(directory, { recursive: true });
  ensureDirSync(binDirectory);
  const packages = Deno.makeTempDirSync({ prefix: "runc-criu-" });
  {
    using sid = new Suite("sid", packages);
    sid.unpackWhole(["criu"], `${directory}/root`);
  }
  writeProgram();
  if (!works()) giveUp(`Debian's CRIU does not work on this machine: run ${program} check`);
  // The usual way is by iptables, which is not unpacked.
  const { stdout } = runTool(program, ["check", "--feature", "network_lock_nftables"]);
  Deno.writeTextFileSync(config, `network-lock ${stdout.includes("is supported") ? "nftables" : "skip"}\n`);
}

/** The program runs with its own loader and libraries, and reads its own configuration. */
function writeProgram(): void {
  const [machine = ""] = must("uname", ["-m"], "name the processor").stdout.trim().split("\n");
  const libraries = `${directory}/root/usr/lib/${machine}-linux-gnu`;
  const loader = [...Deno.readDirSync(libraries)].find(({ name }) => /^ld-linux-.*\.so/.test(name))?.name;
  if (loader === undefined) giveUp(`no loader in ${libraries}`);
  const lines = [
    "#!/bin/sh",
    `export CRIU_CONFIG_FILE=${config}`,
    `exec ${libraries}/${loader} --library-path ${libraries} ${directory}/root/usr/sbin/criu "$@"`,
  ];
  Deno.writeTextFileSync(program, `${lines.join("\n")}\n`, { mode: 0o755 });
}

function works(): boolean {
  return runTool(program, ["check"]).success;
}

if (import.meta.main) {
  prepare();
  console.log(binDirectory);
}
