/**
 * Sandboxes that are made before they are needed. Pure.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { badOption } from "../config/units.ts";
import type { SandboxOptions } from "./options.ts";

/** Options of {@link Sandbox.pool}: those of all its sandboxes, and how many there are. */
export interface SandboxPoolOptions extends SandboxOptions {
  /** How many sandboxes wait to be acquired. */
  readonly size: number;
  /** How many sandboxes there are at most, those in use included. No bound by default. */
  readonly max?: number;
}

/** Options of {@link SandboxPool.acquire}. */
export interface AcquireOptions {
  /** Aborting it ends the wait, and later closes the sandbox. */
  readonly signal?: AbortSignal;
}

/** A sandbox, as far as its pool needs it. */
export interface Pooled {
  /** Its first process has ended. */
  readonly hasEnded: boolean;
  /** Settled when it is closed, by anybody. */
  readonly whenClosed: Promise<void>;
  /** Ends and removes it. */
  close(): Promise<void>;
}

/** One who waits for a sandbox. */
interface Waiting<Item> {
  give(item: Item): void;
  fail(error: unknown): void;
}

/** The caller of `acquire()` starts its program meanwhile: making the next sandbox would take its processor. */
const REFILL_PAUSE_MS = 50;

/** What a pool is made of. */
export interface PoolParts<Item extends Pooled> {
  /** See {@link SandboxPoolOptions}. */
  readonly size: number;
  /** See {@link SandboxPoolOptions}. */
  readonly max?: number;
  /** Makes one. `signal` ends that. */
  make(signal: AbortSignal): Promise<Item>;
  /** Its use begins: for time limits, and the signal of the one who has acquired it. */
  begin(item: Item, options: AcquireOptions): void;
}

/**
 * Sandboxes that wait to be acquired. Each is used once: who has acquired one closes it, and the pool makes another one.
 * `await using` closes the pool.
 */
export class SandboxPool<Item extends Pooled> implements AsyncDisposable {
  readonly #parts: PoolParts<Item>;
  readonly #max: number;
  readonly #ready: Item[] = [];
  readonly #waiting: Waiting<Item>[] = [];
  /** What is going on, for the end. */
  readonly #works = new Set<Promise<void>>();
  readonly #abort = new AbortController();
  /** How many are being made. */
  #making = 0;
  /** All that are being made, or are made and not closed. */
  #count = 0;
  #timer?: ReturnType<typeof setTimeout>;
  #closing?: Promise<void>;

  /** Made by {@link Sandbox.pool}. @throws {RuncError} `usage` */
  constructor(parts: PoolParts<Item>) {
    const { size, max = Infinity } = parts;
    if (!Number.isSafeInteger(size) || size < 1) throw badOption("size", size, "a number of sandboxes, 1 or more");
    if (max !== Infinity && !(Number.isSafeInteger(max) && max >= size)) {
      throw badOption("max", max, "a number of sandboxes, and not below size");
    }
    this.#parts = parts;
    this.#max = max;
    this.#fill();
  }

  /** How many sandboxes wait now. */
  get ready(): number {
    return this.#ready.length;
  }

  /** Whether it is closed, or is being closed. */
  get closed(): boolean {
    return this.#closing !== undefined;
  }

  /**
   * Takes a sandbox; if none is ready, waits for one. Its `timeout` begins now. It belongs to the caller, who closes it.
   *
   * @throws {RuncError} as `Sandbox.create`; `container-state` if the pool is closed.
   */
  async acquire(options: AcquireOptions = {}): Promise<Item> {
    options.signal?.throwIfAborted();
    if (this.closed) throw closedError();
    const item = this.#take() ?? await this.#wait(options.signal);
    this.#parts.begin(item, options);
    this.#fillLater();
    return item;
  }

  /** One that is ready. One whose process has been ended from outside is not. */
  #take(): Item | undefined {
    for (let item = this.#ready.shift(); item !== undefined; item = this.#ready.shift()) {
      if (!item.hasEnded) return item;
      item.close().catch(() => {});
    }
    return undefined;
  }

  async #wait(signal: AbortSignal | undefined): Promise<Item> {
    const { promise, resolve, reject } = Promise.withResolvers<Item>();
    const waiting: Waiting<Item> = { give: resolve, fail: reject };
    const leave = () => {
      const at = this.#waiting.indexOf(waiting);
      if (at !== -1) this.#waiting.splice(at, 1);
      reject(signal!.reason);
    };
    signal?.addEventListener("abort", leave);
    this.#waiting.push(waiting);
    this.#fill();
    try {
      return await promise;
    } finally {
      signal?.removeEventListener("abort", leave);
    }
  }

  #fillLater(): void {
    if (this.closed || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#fill();
    }, REFILL_PAUSE_MS);
    // A program that is at its end needs no further sandbox.
    Deno.unrefTimer(this.#timer);
  }

  #fill(): void {
    const wanted = () => this.#parts.size + this.#waiting.length - this.#ready.length - this.#making;
    while (!this.closed && wanted() > 0 && this.#count < this.#max) {
      this.#count++;
      this.#making++;
      const work = this.#make();
      this.#works.add(work);
      const done = () => this.#works.delete(work);
      work.then(done, done);
    }
  }

  async #make(): Promise<void> {
    let item: Item;
    try {
      item = await this.#parts.make(this.#abort.signal);
    } catch (error) {
      this.#making--;
      this.#count--;
      // Without somebody to tell, the next acquire() tries again, and meets the error itself.
      this.#waiting.shift()?.fail(error);
      if (this.#waiting.length > 0) this.#fill();
      return;
    }
    this.#making--;
    item.whenClosed.then(() => {
      this.#count--;
      this.#fill();
    });
    if (this.closed) return await item.close();
    const next = this.#waiting.shift();
    if (next === undefined) this.#ready.push(item);
    else next.give(item);
  }

  /** Closes the sandboxes that wait. Those that were acquired are not closed. Further calls wait for the same. */
  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    clearTimeout(this.#timer);
    for (const { fail } of this.#waiting.splice(0)) fail(closedError());
    this.#abort.abort(closedError());
    await Promise.all([...this.#works, ...this.#ready.splice(0).map((item) => item.close())]);
  }

  /** As {@link close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

const closedError = () => new RuncError("container-state", "the pool of sandboxes is closed");
