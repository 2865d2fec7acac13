/**
 * Opens shared libraries that not every host needs.
 *
 * @see dlopen(3)
 * @module
 */

import { RuncError } from "../../errors.ts";
import { bind, cString, type Kernel } from "../kernel.ts";

const RTLD_NOW = 2;

/** The functions of a library, by their names. */
export type LibraryFunctions<Signatures> = {
  readonly [Name in keyof Signatures]: Signatures[Name] extends Deno.ForeignFunction
    ? Deno.UnsafeFnPointer<Signatures[Name]>
    : never;
};

/** A library that may be missing. */
export interface WantedLibrary {
  /** Its soname. */
  readonly name: string;
  /** What it is needed for: `to compile seccomp profiles`. */
  readonly purpose: string;
  /** The field of config.json that needs it. */
  readonly field?: string;
  /** What to do without it. */
  readonly hint: string;
}

/** Opens a library once more, and finds its functions. @throws {RuncError} `host-lacks` if it or one of them is missing. */
export function openLibrary<const Signatures extends Readonly<Record<string, Deno.ForeignFunction>>>(
  kernel: Kernel,
  { name, purpose, field, hint }: WantedLibrary,
  signatures: Signatures,
): LibraryFunctions<Signatures> {
  const missing = (message: string) => new RuncError("host-lacks", message, { field, hint });
  const library = kernel.call("dlopen", cString(name), RTLD_NOW);
  if (library === 0) throw missing(`cannot open ${name}, which is needed ${purpose}`);
  const bound = Object.entries(signatures).map(([symbol, signature]) => {
    const address = Deno.UnsafePointer.create(BigInt(kernel.call("dlsym", library, cString(symbol))));
    if (address === null) throw missing(`${name} has no function ${symbol}`);
    return [symbol, bind<Deno.ForeignFunction>(address, signature)];
  });
  return Object.fromEntries(bound);
}
