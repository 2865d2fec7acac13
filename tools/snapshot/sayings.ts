/**
 * What a snapshot file prints on standard error: why it cannot be resumed, and what to do about it.
 *
 * @module
 */

import { type Reason, type Saying, SAYING_SIZE } from "./fallback_x86_64.ts";

const orLauncher = (why: string, advice: string): Saying => ({
  anew: `runc: warning: ${why}. Starting Deno instead, which is slower. To fix it, ${advice}\n`,
  end: [
    `runc: ${why}, and `,
    `, which would start Deno instead, cannot be executed. To fix it, ${advice}, or restore that file\n`,
  ],
});

const final = (text: string): Saying => ({ anew: "", end: [text, ""] });

/** All messages. */
export const sayings: Readonly<Record<Reason, Saying>> = {
  processor: orLauncher(
    "this processor lacks instructions that the program was built for",
    "build the program on this host",
  ),
  memory: orLauncher(
    "the program's memory cannot be restored at its addresses in this process",
    "raise ulimit -v or ulimit -d if they are set, otherwise build the program on this host",
  ),
  file: final("runc: /proc/self/exe cannot be read. To fix it, mount proc on /proc, and make this file readable\n"),
  damaged: final("runc: the program's file is incomplete: copy, build or install it again\n"),
  descriptors: final(
    "runc: open /proc/self/exe: too many open files. To fix it, raise the hard limit of open files " +
      "(ulimit -Hn), or close descriptors that runc inherits\n",
  ),
  crash: {
    anew: "",
    end: ["runc: this program has crashed, which is a bug. ", " runs the same command without the snapshot\n"],
  },
};

/** Encodes the texts, each once, and the pointers to them. `address`: where the bytes will be. */
export function encodeSayings(address: number): {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly places: Readonly<Record<Reason, number>>;
} {
  const encoder = new TextEncoder();
  const entries = Object.entries(sayings) as [Reason, Saying][];
  const texts = entries.flatMap(([, { anew, end }]) => [anew, ...end]).map((text) => encoder.encode(text));
  const textsAt = entries.length * SAYING_SIZE;
  const bytes = new Uint8Array(textsAt + texts.reduce((sum, { length }) => sum + length, 0));
  const view = new DataView(bytes.buffer);
  let end = textsAt;
  texts.forEach((text, index) => {
    view.setBigUint64(16 * index, BigInt(address + end), true);
    view.setBigUint64(16 * index + 8, BigInt(text.length), true);
    bytes.set(text, end);
    end += text.length;
  });
  const places = entries.map(([reason], index) => [reason, address + index * SAYING_SIZE]);
  return { bytes, places: Object.fromEntries(places) };
}
