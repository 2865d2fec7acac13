/**
 * Terminals: attributes, window size, and finding the user's terminal.
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import { Ioctl, openFlag } from "./constants.ts";
import { errnoName, errnoText } from "./errno.ts";
import { Fd } from "./fd.ts";
import { alloc, cString, type Kernel } from "./kernel.ts";

/** `struct termios` of glibc, 60 bytes. Opaque except for c_oflag: bits/termios-struct.h. */
export type TerminalAttributes = Uint8Array<ArrayBuffer>;

const TERMIOS_SIZE = 60;
const C_OFLAG = 4;
const OPOST = 1, ONLCR = 4;
const TCSANOW = 0;
const F_DUPFD_CLOEXEC = 1030;

/** Whether `fd` is a terminal. @see isatty(3) */
export function isTerminal(kernel: Kernel, fd: number): boolean {
  return kernel.call("tcgetattr", fd, alloc(TERMIOS_SIZE)) === 0;
}

/** The attributes of a terminal. @see tcgetattr(3) @throws {RuncError} ENOTTY if it is not a terminal. */
export function getAttributes(kernel: Kernel, fd: number): TerminalAttributes {
  const attributes = alloc(TERMIOS_SIZE);
  kernel.must(`tcgetattr(${fd})`, "tcgetattr", fd, attributes);
  return attributes;
}

/** Sets the attributes of a terminal immediately. @see tcsetattr(3) @throws {RuncError} */
export function setAttributes(kernel: Kernel, fd: number, attributes: TerminalAttributes): void {
  kernel.must(`tcsetattr(${fd}, TCSANOW)`, "tcsetattr", fd, TCSANOW, attributes);
}

/** `attributes` with c_oflag changed by `change`. */
function withOutputFlags(attributes: TerminalAttributes, change: (flags: number) => number): TerminalAttributes {
  const changed = attributes.slice();
  const view = new DataView(changed.buffer);
  view.setUint32(C_OFLAG, change(view.getUint32(C_OFLAG, true)) >>> 0, true);
  return changed;
}

/**
 * Makes a terminal pass on every byte as it is typed. Output processing stays on, as in runc: other programs may write
 * to the same terminal, and without it their lines would appear as a staircase.
 *
 * @see cfmakeraw(3) @throws {RuncError}
 */
export function setRaw(kernel: Kernel, fd: number): void {
  const attributes = getAttributes(kernel, fd);
  kernel.call("cfmakeraw", attributes);
  setAttributes(kernel, fd, withOutputFlags(attributes, (flags) => flags | OPOST));
}

/**
 * Stops a pty from turning `\n` into `\r\n`: the terminal that shows its output does this already.
 *
 * @see termios(3), ONLCR @throws {RuncError}
 */
export function clearOnlcr(kernel: Kernel, fd: number): void {
  setAttributes(kernel, fd, withOutputFlags(getAttributes(kernel, fd), (flags) => flags & ~ONLCR));
}

/** `struct winsize`: rows and columns in characters, the other two in pixels. @see ioctl_tty(2) */
export interface WindowSize {
  readonly rows: number;
  readonly columns: number;
  readonly xPixels: number;
  readonly yPixels: number;
}

/** The window size of a terminal. @throws {RuncError} */
export function getWindowSize(kernel: Kernel, fd: number): WindowSize {
  const size = alloc(8);
  kernel.must(`ioctl(${fd}, TIOCGWINSZ)`, "ioctl", fd, Ioctl.TIOCGWINSZ, size);
  const view = new DataView(size.buffer);
  const [rows, columns, xPixels, yPixels] = [0, 2, 4, 6].map((at) => view.getUint16(at, true));
  return { rows: rows!, columns: columns!, xPixels: xPixels!, yPixels: yPixels! };
}

/**
 * Sets the window size of a terminal. If it changes, the foreground process group gets SIGWINCH. @throws {RuncError}
 */
export function setWindowSize(kernel: Kernel, fd: number, size: WindowSize): void {
  const bytes = alloc(8);
  const view = new DataView(bytes.buffer);
  [size.rows, size.columns, size.xPixels, size.yPixels].forEach((value, index) =>
    view.setUint16(2 * index, value, true)
  );
  kernel.must(`ioctl(${fd}, TIOCSWINSZ)`, "ioctl", fd, Ioctl.TIOCSWINSZ, bytes);
}

/**
 * The user's terminal: the first of stderr, stdout and stdin that is a terminal, else the controlling terminal. The
 * descriptor is a new one.
 *
 * @throws {RuncError} `syscall-failed`, ENXIO, if there is none.
 */
export function findHostTerminal(kernel: Kernel): Fd {
  const candidates = ["stdin", "stdout", "stderr"];
  for (const fd of [2, 1, 0]) {
    if (!isTerminal(kernel, fd)) continue;
    const copy = kernel.must(`fcntl(${fd}, F_DUPFD_CLOEXEC)`, "fcntl", fd, F_DUPFD_CLOEXEC, 3);
    return new Fd(kernel, copy, candidates[fd]!);
  }
  const O = openFlag(kernel.arch);
  const number = kernel.retry("open", cString("/dev/tty"), O.O_RDWR | O.O_NOCTTY | O.O_CLOEXEC);
  if (number >= 0) return new Fd(kernel, number, "/dev/tty");
  // runc's message, from its os.Open.
  throw new RuncError("syscall-failed", `open /dev/tty: ${errnoText(-number)}`, {
    field: "/process/terminal",
    call: 'open("/dev/tty")',
    errno: -number,
    errnoName: errnoName(-number),
    hint: "a container with a terminal needs a terminal in the foreground; detach with --console-socket, or set " +
      "process.terminal to false",
  });
}
