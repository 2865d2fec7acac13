/**
 * The environment of a sandbox's programs. Pure.
 *
 * @module
 */

import { checkVariable } from "../config/units.ts";

/**
 * The environment that programs of a sandbox start with. A change counts for those that are started afterwards. The calls
 * return promises, as those of `@deno/sandbox` do.
 */
export class SandboxEnv {
  readonly #variables: Map<string, string>;

  /** Made by {@link Sandbox.create}. `variables`: `NAME=value` each. */
  constructor(variables: readonly string[]) {
    this.#variables = new Map(variables.map((variable) => {
      const at = variable.indexOf("=");
      return [variable.slice(0, at), variable.slice(at + 1)];
    }));
  }

  /** A variable; undefined if it is not set. */
  get(name: string): Promise<string | undefined> {
    return Promise.resolve(this.#variables.get(name));
  }

  /** Sets a variable. @throws {RuncError} `usage` */
  // deno-lint-ignore require-await -- an error is a rejection
  async set(name: string, value: string): Promise<void> {
    checkVariable(name, value);
    this.#variables.set(name, value);
  }

  /** Removes a variable. */
  delete(name: string): Promise<void> {
    this.#variables.delete(name);
    return Promise.resolve();
  }

  /** All variables. */
  toObject(): Promise<Record<string, string>> {
    return Promise.resolve(Object.fromEntries(this.#variables));
  }

  /** All variables, as a config.json has them. */
  get variables(): readonly string[] {
    return [...this.#variables].map(([name, value]) => `${name}=${value}`);
  }
}
