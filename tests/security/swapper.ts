/** Somebody who exchanges two names all the time, and a host's directory that must not change meanwhile. */

import { type Box, Running } from "../integration/harness.ts";

/** A directory of the host with a file in it, outside of the rootfs. */
export function hostDirectory(box: Box): { path: string; secret: string; content: () => string[] } {
  const path = `${box.directory}/host`;
  Deno.mkdirSync(path);
  Deno.writeTextFileSync(`${path}/secret`, "of the host\n");
  return { path, secret: `${path}/secret`, content: () => [...Deno.readDirSync(path)].map(({ name }) => name).sort() };
}

/** Symlinks that lead from anywhere in the rootfs to the host's `path`, were they followed as the host does. */
export const linksTo = (path: string): string[] => [path, `../../../../../../../../..${path}`];

/** Exchanges that are reported as one. Odd: so that each of both names rests as long as the other in the pause behind them. */
const UNIT = 501;

/**
 * Exchanges two names for ever, but leaves half of a processor to those who race with it: renameat2(2) is 316 on x86_64
 * and 276 on aarch64; RENAME_EXCHANGE is 2, AT_FDCWD −100.
 */
export class Swapper implements Disposable {
  readonly #running: Running;

  constructor(left: string, right: string) {
    const call = Deno.build.arch === "x86_64" ? 316 : 276;
    const script = `my ($l, $r) = @ARGV; $| = 1; while (1) { ` +
      `for (1 .. ${UNIT}) { syscall(${call}, -100, $l, -100, $r, 2) == 0 or die "$!" } ` +
      `print "."; select(undef, undef, undef, 0.0005) }`;
    this.#running = new Running(["/usr/bin/perl", "-e", script, left, right]);
    this.#running.says(".");
  }

  /** How often it has exchanged them, at least. @throws where it has ended. */
  get count(): number {
    if (this.#running.isOver) throw new Error(`nobody swaps: ${this.#running.stderr}`);
    return this.#running.stdout.length * UNIT;
  }

  [Symbol.dispose](): void {
    this.#running[Symbol.dispose]();
  }
}
