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
/** How many short turns follow each other, if no other work of the program needs one. */
const SHORT_TURNS_ALONE = 4;
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
  /** Short turns since the last long one, and since work last waited. */
  #shortTurns = 0;
  /** How much work had its turn together last. */
  #together = 0;

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
      this.#shortTurns = 0;
    }
    return nowMs - this.#began >= SLICE_MS;
  }

  /** Work of the slice has just ended. */
  worked(): void {
    this.#worked = now();
  }

  /** The turn of the event loop. Then others may use up the new slice first, so {@link isOver} must be asked again. */
  turn(): Promise<void> {
    if (this.#turn === undefined) {
      this.#turn = this.#giveTurn(this.#together > 1 ? 1 : SHORT_TURNS_ALONE);
      this.#together = 0;
    }
    this.#together++;
    return this.#turn;
  }

  /**
   * In a short turn, the event loop does not wait. Long ones cost more; with more short ones, timers are late. So every
   * second one is long, unless work is alone: then it soon waits by itself.
   */
  async #giveTurn(shortTurns: number): Promise<void> {
    if (this.#shortTurns < shortTurns) {
      this.#shortTurns++;
      await immediate();
    } else {
      this.#shortTurns = 0;
      await this.#kernel.callAsync("usleep", TURN_US);
    }
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
