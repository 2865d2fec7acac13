/**
 * Slices of time: how long a program's work on containers runs before the event loop has its turn.
 *
 * One slice is shared by all work of a program: if twenty containers are created at once, the event loop waits as long
 * as for one.
 *
 * @module
 */

import { immediate } from "./immediate.ts";
import type { Kernel } from "./kernel.ts";

/** How long work runs before other work of the program gets a turn. */
const SLICE_MS = 1;
/**
 * How long the event loop waits in a long turn, on another thread. If it has nothing to wait for, because more answers
 * have come meanwhile, Deno does not look at its timers.
 */
const TURN_US = 200;
/** Work that has waited for as long has had its turn. */
const WAITED_MS = 1;

/** Two readings lie in one process, so where this clock begins does not matter; libc's costs fifty times as much. */
const now = () => performance.now();

class Slices {
  readonly #kernel: Kernel;
  /** When the current slice began. */
  #began = 0;
  /** When work of it last ended. */
  #worked = 0;
  #turn?: Promise<void>;
  /**
   * The next turn is a short one, in which the event loop does not wait: every second one. Long ones cost more; with more
   * short ones, timers are late.
   */
  #isShort = true;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  /** Whether the slice is used up. */
  get isOver(): boolean {
    if (this.#turn !== undefined) return true;
    const nowMs = now();
    // It has waited, so it has had its turn.
    if (nowMs - this.#worked >= WAITED_MS) {
      this.#began = nowMs;
      this.#isShort = true;
    }
    return nowMs - this.#began >= SLICE_MS;
  }

  /** Work of the slice has just ended. */
  worked(): void {
    this.#worked = now();
  }

  /** The turn of the event loop. Then others may use up the new slice first, so {@link isOver} must be asked again. */
  turn(): Promise<void> {
    return this.#turn ??= this.#giveTurn();
  }

  async #giveTurn(): Promise<void> {
    if (this.#isShort) await immediate();
    else await this.#kernel.callAsync("usleep", TURN_US);
    this.#isShort = !this.#isShort;
    this.#turn = undefined;
    this.#began = this.#worked = now();
  }
}

const slices = new WeakMap<Kernel, Slices>();

/** The slices of everything that uses `kernel`. */
export function slicesOf(kernel: Kernel): Slices {
  let its = slices.get(kernel);
  if (its === undefined) slices.set(kernel, its = new Slices(kernel));
  return its;
}
