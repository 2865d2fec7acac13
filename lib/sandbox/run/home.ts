/**
 * Where this program's sandboxes have their files.
 *
 *     DIRECTORY/roots/HEX           a skeleton of the host's root, shared by all sandboxes with the same options
 *     DIRECTORY/first/HEX           the first process
 *     DIRECTORY/image               empty: where the roots of images are mounted
 *     DIRECTORY/programs/ID/lock    locked as long as the program lives
 *     DIRECTORY/programs/ID/state   the states of its containers
 *
 * A program that was killed leaves its directory, and empty cgroups. Its lock is free then, and the next program removes
 * both.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { Flock, openFlag } from "../../ffi/constants.ts";
import { Errno } from "../../ffi/errno.ts";
import type { Fd } from "../../ffi/fd.ts";
import { withFileErrors } from "../../ffi/file_error.ts";
import { isThere, isWritable, open, writeAll } from "../../ffi/files.ts";
import { Kernel } from "../../ffi/kernel.ts";
import { fstat } from "../../ffi/stat.ts";
import { runWaitsAsync } from "../../ffi/waits.ts";
import { Container } from "../../libcontainer/container/container.ts";
import { createRuntime } from "../../libcontainer/container/create_runtime.ts";
import { removeRemains } from "../../libcontainer/container/remains.ts";
import { RecentFacts } from "../../libcontainer/recent_facts.ts";
import type { Runtime } from "../../libcontainer/runtime.ts";
import { Sha256 } from "../rootfs/sha256.ts";
import { removeAtExit } from "./exit.ts";
import { firstProcess } from "./first_process.ts";

/** What the sandboxes of a program share. */
export interface Home {
  readonly kernel: Kernel;
  /** Absolute. */
  readonly directory: string;
  /** The program of the first process: absolute, on the host. */
  readonly firstProcess: string;
  /** Where the roots of images are mounted, each in its own mount namespace: an empty directory. */
  readonly imagePlace: string;
  /** The bundle of all containers: an empty directory of this program. */
  readonly program: string;
  readonly runtime: Runtime;
}

/** One for each directory, as long as the program lives. */
const homes = new Map<string, Promise<Home>>();
/** One libc is enough. */
let kernel: Kernel | undefined;

/** The home in `directory`. @throws {RuncError} `usage` if the directory is not the caller's alone. */
export function homeIn(directory: string | undefined): Promise<Home> {
  kernel ??= new Kernel({ isLasting: true });
  const path = directory ?? defaultDirectory(kernel);
  let home = homes.get(path);
  if (home === undefined) {
    homes.set(path, home = makeHome(kernel, path));
    home.catch(() => homes.delete(path));
  }
  return home;
}

function defaultDirectory(kernel: Kernel): string {
  const uid = Deno.uid();
  if (uid === 0) return "/run/runc-sandbox";
  return isWritable(kernel, `/run/user/${uid}`) ? `/run/user/${uid}/runc-sandbox` : `/tmp/runc-sandbox-${uid}`;
}

async function makeHome(kernel: Kernel, directory: string): Promise<Home> {
  makeDirectory(directory);
  checkOwner(kernel, directory);
  for (const name of ["first", "image", "programs"]) makeDirectory(`${directory}/${name}`);
  await removeLeft(kernel, directory);
  const program = claim(kernel, `${directory}/programs`);
  return {
    kernel,
    directory,
    program,
    imagePlace: `${directory}/image`,
    firstProcess: writeFirstProcess(kernel, `${directory}/first`),
    runtime: runtimeIn(kernel, directory, program),
  };
}

function runtimeIn(kernel: Kernel, directory: string, program: string): Runtime {
  const cache = Deno.uid() === 0 ? {} : { filterCache: `${directory}/filters` };
  return createRuntime({ kernel, root: `${program}/state`, recent: new RecentFacts(), ...cache });
}

function makeDirectory(path: string): void {
  withFileErrors(() => Deno.mkdirSync(path, { recursive: true, mode: 0o700 }));
}

/** Who can write to the directory chooses what sandboxes execute. */
function checkOwner(kernel: Kernel, path: string): void {
  const O = openFlag(kernel.arch);
  using directory = open(kernel, path, O.O_DIRECTORY | O.O_NOFOLLOW);
  const status = fstat(kernel, directory.number);
  if (typeof status !== "number" && status.uid === Deno.uid() && (status.mode & 0o022) === 0) return;
  throw new RuncError("usage", `the directory ${path} belongs to another user, or others can write to it`, {
    hint: "choose a directory of your own, with mode 700",
  });
}

/** A new directory for this program, with its lock. Its lock is closed at the program's end. */
function claim(kernel: Kernel, programs: string): string {
  const id = crypto.randomUUID();
  // A program that looks for what others have left does not see it before it is locked.
  const partial = `${programs}/.${id}`;
  makeDirectory(partial);
  lock(kernel, partial);
  withFileErrors(() => Deno.renameSync(partial, `${programs}/${id}`));
  removeAtExit(`${programs}/${id}`);
  return `${programs}/${id}`;
}

/** The lock of a program's directory. Undefined if the program lives. */
function lock(kernel: Kernel, program: string): Fd | undefined {
  const O = openFlag(kernel.arch);
  const file = open(kernel, `${program}/lock`, O.O_RDWR | O.O_CREAT | O.O_NOFOLLOW, 0o600);
  const result = kernel.retry("flock", file.number, Flock.LOCK_EX | Flock.LOCK_NB);
  if (result >= 0) return file;
  file.close();
  if (result === -Errno.EAGAIN) return undefined;
  throw new RuncError("syscall-failed", `flock(${program}/lock) failed`, { errno: -result });
}

/** Removes what killed programs have left. Their sandboxes have ended with them. */
async function removeLeft(kernel: Kernel, directory: string): Promise<void> {
  for (const { name } of withFileErrors(() => [...Deno.readDirSync(`${directory}/programs`)])) {
    if (name.startsWith(".")) continue;
    const program = `${directory}/programs/${name}`;
    using file = tryLock(kernel, program);
    if (file === undefined) continue;
    const runtime = runtimeIn(kernel, directory, program);
    const ids = isThere(kernel, runtime.root) ? Container.ids(runtime) : [];
    for (const id of ids) await removeSandbox(runtime, id);
    withFileErrors(() => Deno.removeSync(program, { recursive: true }));
  }
}

/** A program that was killed while it made a sandbox has left one without a state. */
async function removeSandbox(runtime: Runtime, id: string): Promise<void> {
  if (!await runWaitsAsync(runtime, removeRemains(runtime, id))) {
    await Container.load(runtime, id).delete({ force: true });
  }
}

/** {@link lock}, or undefined if another program has just removed the directory. */
function tryLock(kernel: Kernel, program: string): Fd | undefined {
  try {
    return lock(kernel, program);
  } catch (error) {
    if (error instanceof RuncError && error.errnoName === "ENOENT") return undefined;
    throw error;
  }
}

/** The file can be executed by everybody, and read by none but root: see first_process.ts. */
function writeFirstProcess(kernel: Kernel, directory: string): string {
  const content = firstProcess(kernel.arch);
  const hash = new Sha256();
  hash.update(content);
  const path = `${directory}/${hash.hex()}`;
  if (isThere(kernel, path)) return path;
  const partial = `${directory}/.${crypto.randomUUID()}`;
  const O = openFlag(kernel.arch);
  {
    using file = open(kernel, partial, O.O_WRONLY | O.O_CREAT | O.O_EXCL | O.O_NOFOLLOW, 0o700);
    writeAll(kernel, file.number, content);
  }
  withFileErrors(() => {
    Deno.chmodSync(partial, 0o111);
    Deno.renameSync(partial, path);
  });
  return path;
}
