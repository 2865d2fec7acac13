/**
 * What `create`, `run` and `exec` share around a process: its standard streams, inherited descriptors, sockets and pid file.
 *
 * @module
 */

import { basename, dirname } from "@std/path";
import { RuncError } from "../errors.ts";
import type { Fd } from "../ffi/fd.ts";
import { fchown, isInherited, pipe } from "../ffi/files.ts";
import type { Kernel } from "../ffi/kernel.ts";
import { connectUnix, streamPair } from "../ffi/sockets.ts";
import type { Runtime } from "../libcontainer/runtime.ts";
import { withSystemErrors } from "./system_error.ts";

/** Refuses terminal and socket options that do not go together. */
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

/** How many descriptors from 3 up the process inherits. */
export interface Inherited {
  readonly listenFds: number;
  readonly inheritedFds: number;
}

/**
 * Counts LISTEN_FDS, if they are meant for this process (sd_listen_fds(3)), and `--preserve-fds`; checks that each is open.
 *
 * @throws {RuncError} naming the missing one.
 */
export function inheritedDescriptors(
  kernel: Kernel,
  preserve: number,
  environment: (name: string) => string | undefined,
): Inherited {
  const ours = environment("LISTEN_PID") === String(kernel.pid);
  const count = ours ? Number(environment("LISTEN_FDS")) : 0;
  const listenFds = Number.isInteger(count) && count > 0 ? count : 0;
  if (preserve < 0) throw new RuncError("usage", `--preserve-fds must not be negative: ${preserve}`);
  for (let index = 0; index < preserve; index++) {
    const fd = 3 + listenFds + index;
    if (!isInherited(kernel, fd) || isLaunchers(fd)) {
      throw new RuncError(
        "usage",
        `unable to stat preserved-fd ${index} (of ${preserve}): no such file or directory`,
        { hint: `descriptor ${fd} must be open, and not close-on-exec, when runc is started` },
      );
    }
  }
  return { listenFds, inheritedFds: listenFds + preserve };
}

/**
 * Whether a descriptor is the launcher's own script: a shell that finds the numbers below 10 taken opens it at 10 or above, and does not
 * close it on execve.
 */
function isLaunchers(fd: number): boolean {
  const script = decodeURIComponent(new URL(Deno.mainModule).pathname);
  return fd >= 10 && Deno.readLinkSync(`/proc/self/fd/${fd}`) === script.replace(/\.js$/, "");
}

/** The standard streams of a process, and our ends of them. */
export interface ProcessIo extends Disposable {
  readonly stdio: readonly [number, number, number];
  /** The process's end of the socket that its terminal's master comes through. */
  readonly consoleSocket?: Fd;
  /** Our end of it, in the foreground. */
  readonly console?: Fd;
  /** Our ends of its pipes, in the foreground without a terminal. */
  readonly pipes?: { readonly stdin: Fd; readonly stdout: Fd; readonly stderr: Fd };
  /** Closes the process's ends, once it has them. */
  closeTheirs(): void;
}

/**
 * Prepares the streams: detached ones are our caller's; in the foreground they are pipes of the container's root, so that the container does
 * not hold our terminal, or a pty of its own.
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

/** The socket of --pidfd-socket, connected. */
export function pidfdSocket(
  { kernel, interrupts }: Pick<Runtime, "kernel" | "interrupts">,
  path: string | undefined,
): Fd | undefined {
  return path ? connectUnix(kernel, path, "stream", interrupts) : undefined;
}

/** Writes a pid file that is never seen half written: no newline, renamed into place. */
export function writePidFile(path: string, pid: number): void {
  const temporary = `${dirname(path)}/.${basename(path)}`;
  withSystemErrors(
    `open ${temporary}`,
    () => Deno.writeTextFileSync(temporary, String(pid), { createNew: true, mode: 0o666 }),
  );
  withSystemErrors(`rename ${temporary} ${path}`, () => Deno.renameSync(temporary, path));
}
