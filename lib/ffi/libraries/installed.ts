/**
 * Whether a shared library can be opened. It stays open.
 *
 * @see dlopen(3)
 * @module
 */

import { cString, type Kernel } from "../kernel.ts";

const RTLD_NOW = 2;

/** `name`: `libsystemd.so.0`. */
export function canOpenLibrary(kernel: Kernel, name: string): boolean {
  return kernel.call("dlopen", cString(name), RTLD_NOW) !== 0;
}
