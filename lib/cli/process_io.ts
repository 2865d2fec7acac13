/**
 * Shared by `create`, `run` and `exec`: a process's standard streams, inherited descriptors, sockets and pid file.
 *
 * @module
 */

import { basename, dirname } from "../std/path.ts";
import { RuncError } from "../errors.ts";
import type { Fd } from "../ffi/fd.ts";
import { fchown, isInherited, pipe } from "../ffi/files.ts";
import type { Kernel } from "../ffi/kernel.ts";
import { connectUnix, streamPair } from "../ffi/sockets.ts";
import type { Runtime } from "../libcontainer/runtime.ts";
import { withSystemErrors } from "./system_error.ts";

/** Refuses combinations of terminal and socket options that cannot work. */
export function checkTerminal(options: { terminal: boolean; detach: boolean; consoleSocket?: string }): void {
  const { terminal, detach, consoleSocket = "" } = options;
  if (detach && terminal && consoleSocket === "") {
    throw new RuncError("usage", "cannot allocate tty if runc will detach without setting console socket", {
      field: "/process/terminal",
      hint: "pass --console-socket, or set process.terminal to false",
    });
  }
  if ((!detach || !terminal) && consoleSocket !== "") {
    throw new RuncError("usage", "cannot use console socket if runc will not detach or allocate tty");
  }
}

/** The number of descriptors, from 3 up, that the process inherits. */
export interface Inherited {
  readonly listenFds: number;
  readonly inheritedFds: number;
}

/**
 * Counts LISTEN_FDS, if it is meant for the process `pid` (sd_listen_fds(3)), and `--preserve-fds`, and checks that each
 * descriptor is open.
 *
 * @throws {RuncError} naming a missing descriptor.
 */
export function inheritedDescriptors(
  kernel: Kernel,
  preserve: number,
  environment: (name: string) => string | undefined,
  pid: number,
): Inherited {
  const ours = environment("LISTEN_PID") === String(pid);
  const count = ours ? Number(environment("LISTEN_FDS")) : 0;
  const listenFds = Number.isInteger(count) && count > 0 ? count : 0;
  if (preserve < 0) throw new RuncError("usage", `--preserve-fds must not be negative: ${preserve}`);
  for (let index = 0; index < preserve; index++) {
    const fd = 3 + listenFds + index;
    if (!isInherited(kernel, fd) || isLaunchers(fd)) {
      throw new RuncError(
        "usage",
        `unable to stat preserved-fd ${index} (of ${preserve}): no such file or directory`,
        { hint: `start runc with descriptor ${fd} open and not close-on-exec` },
      );
    }
  }
  return { listenFds, inheritedFds: listenFds + preserve };
}

/**
 * Whether a descriptor is the launcher's own script. A shell that finds all numbers below 10 in use opens its script at
 * 10 or above, and does not close it on execve.
 */
function isLaunchers(fd: number): boolean {
  const script = decodeURIComponent(new URL(Deno.mainModule).pathname);
  return fd >= 10 && Deno.readLinkSync(`/proc/self/fd/${fd}`) === script.replace(/\.js$/, "");
}

/** A process's standard streams and our ends of them. */
export interface ProcessIo extends Disposable {
  readonly stdio: readonly [number, number, number];
  /** The process's end of the socket for its terminal's master. */
  readonly consoleSocket?: Fd;
  /** Our end of that socket, in the foreground. */
  readonly console?: Fd;
  /** Our ends of the pipes, in the foreground without a terminal. */
  readonly pipes?: { readonly stdin: Fd; readonly stdout: Fd; readonly stderr: Fd };
  /** Closes the process's ends, after the process has them. */
  closeTheirs(): void;
}

/**
 * Prepares the streams. Detached: the caller's own. In the foreground: a pty, or pipes owned by the container's root,
 * so that the container does not hold our terminal.
 */
export function processIo(
  { kernel, interrupts }: Pick<Runtime, "kernel" | "interrupts">,
  options: { terminal: boolean; detach: boolean; consoleSocket?: string; owner: { uid: number; gid: number } },
): ProcessIo {
  const nothing = { closeTheirs: () => {}, [Symbol.dispose]: () => {} };
  if (options.terminal) return terminalIo({ kernel, interrupts }, options.detach ? options.consoleSocket : undefined);
  if (options.detach) return { stdio: [0, 1, 2], ...nothing };
  const [input, output, errors] = ["stdin", "stdout", "stderr"].map((name) => pipe(kernel, name));
  const theirs = [input!.read, output!.write, errors!.write];
  const ours = { stdin: input!.write, stdout: output!.read, stderr: errors!.read };
  for (const fd of [...theirs, ...Object.values(ours)]) fchown(kernel, fd, options.owner.uid, options.owner.gid);
  const closeTheirs = () => theirs.forEach((fd) => fd.close());
  return {
    stdio: [theirs[0]!.number, theirs[1]!.number, theirs[2]!.number],
    pipes: ours,
    closeTheirs,
    [Symbol.dispose]() {
      closeTheirs();
      for (const fd of Object.values(ours)) fd.close();
    },
  };
}

function terminalIo(
  { kernel, interrupts }: Pick<Runtime, "kernel" | "interrupts">,
  path: string | undefined,
): ProcessIo {
  const [ours, theirs] = path === undefined
    ? streamPair(kernel, "console")
    : [undefined, connectUnix(kernel, path, "stream", interrupts)];
  return {
    stdio: [0, 1, 2],
    consoleSocket: theirs,
    console: ours,
    closeTheirs: () => theirs.close(),
    [Symbol.dispose]() {
      theirs.close();
      ours?.close();
    },
  };
}

/** Connects to the socket of --pidfd-socket. */
export function pidfdSocket(
  { kernel, interrupts }: Pick<Runtime, "kernel" | "interrupts">,
  path: string | undefined,
): Fd | undefined {
  return path ? connectUnix(kernel, path, "stream", interrupts) : undefined;
}

/** Writes a pid file atomically, by renaming it into place. No newline. */
export function writePidFile(path: string, pid: number): void {
  const temporary = `${dirname(path)}/.${basename(path)}`;
  withSystemErrors(
    `open ${temporary}`,
    // Deno would set a mode in spite of the caller's umask.
    () => Deno.writeTextFileSync(temporary, String(pid), { createNew: true }),
  );
  withSystemErrors(`rename ${temporary} ${path}`, () => Deno.renameSync(temporary, path));
}
