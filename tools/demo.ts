/**
 * `deno task demo`: builds the runtime, creates a bundle with a static busybox and runs it.
 *
 * @module
 */

import { ensureDirSync } from "@std/fs";
import { join } from "@std/path";
import { buildProgram, findDeno } from "./build.ts";
import { distDir, giveUp } from "./bundle.ts";
import { findBusybox } from "./packages.ts";

const script =
  `echo "Hello from $(hostname), process $$ of this container. Its processes:"; ps; echo "Its files:"; ls /`;

async function demo(): Promise<number> {
  if (Deno.uid() !== 0) giveUp("the demo needs root to start a container: run it as root or with sudo");
  const runc = await buildProgram(distDir, findDeno());
  const busybox = findBusybox();
  const directory = Deno.makeTempDirSync({ prefix: "runc-demo-" });
  try {
    makeRootfs(join(directory, "rootfs"), busybox);
    show(runc, ["spec", "--bundle", directory]);
    edit(join(directory, "config.json"));
    return show(runc, ["--root", join(directory, "state"), "run", "--bundle", directory, "demo"]);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

/** Links the applets to busybox, which acts as the program that it is called as. */
function makeRootfs(rootfs: string, busybox: string): void {
  for (const name of ["bin", "proc", "sys", "dev"]) ensureDirSync(join(rootfs, name));
  Deno.copyFileSync(busybox, join(rootfs, "bin/busybox"));
  for (const name of ["sh", "hostname", "ps", "ls"]) Deno.symlinkSync("busybox", join(rootfs, "bin", name));
}

/** Turns the terminal off: the default config.json has one, but the demo may run without a terminal. */
function edit(path: string): void {
  const config = JSON.parse(Deno.readTextFileSync(path));
  config.process.terminal = false;
  config.process.args = ["sh", "-c", script];
  Deno.writeTextFileSync(path, JSON.stringify(config, undefined, 2));
}

/** Prints a command and runs it. Returns its exit status. */
function show(program: string, args: readonly string[]): number {
  console.log(`$ ${[program, ...args].join(" ")}`);
  return new Deno.Command(program, { args: [...args], stdout: "inherit", stderr: "inherit" }).outputSync().code;
}

if (import.meta.main) Deno.exit(await demo());
