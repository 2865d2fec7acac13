import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { type Pooled, SandboxPool } from "../../../../lib/sandbox/run/pool.ts";

/** Sandboxes that exist as objects only. A test says when one is made. */
class Maker {
  readonly made: Fake[] = [];
  readonly pending: { give(): void; fail(error: Error): void; readonly signal: AbortSignal }[] = [];
  readonly begun: Fake[] = [];

  pool(size: number, max?: number): SandboxPool<Fake> {
    return new SandboxPool<Fake>({
      size,
      max,
      make: (signal) => {
        const { promise, resolve, reject } = Promise.withResolvers<Fake>();
        const give = () => {
          const fake = new Fake(this.made.length);
          this.made.push(fake);
          resolve(fake);
        };
        this.pending.push({ give, fail: reject, signal });
        return promise;
      },
      begin: (fake) => this.begun.push(fake),
    });
  }

  /** Ends all that is being made. */
  async finish(): Promise<void> {
    for (const { give } of this.pending.splice(0)) give();
    await turns();
  }
}

class Fake implements Pooled {
  readonly #closed = Promise.withResolvers<void>();
  readonly whenClosed = this.#closed.promise;
  hasEnded = false;
  closes = 0;

  constructor(readonly index: number) {}

  close(): Promise<void> {
    this.closes++;
    this.#closed.resolve();
    return Promise.resolve();
  }
}

/** Promises that are settled have been heard. */
const turns = () => new Promise((resolve) => setTimeout(resolve, 0));

/** Until the pool has begun to make another one: it lets the caller go first. */
async function refilled(maker: Maker, count: number): Promise<void> {
  while (maker.pending.length < count) await turns();
}

Deno.test("a pool makes `size` sandboxes, and another one for each that is acquired", async () => {
  const maker = new Maker();
  await using pool = maker.pool(2);
  assertEquals(maker.pending.length, 2);
  await maker.finish();
  assertEquals(pool.ready, 2);
  assertEquals((await pool.acquire()).index, 0);
  assertEquals([pool.ready, maker.begun.map(({ index }) => index), maker.pending.length], [1, [0], 0]);
  await refilled(maker, 1);
  await maker.finish();
  assertEquals([pool.ready, maker.made.length], [2, 3]);
});

Deno.test("acquire() waits in order where none is ready, and leaves out what has ended", async () => {
  const maker = new Maker();
  await using pool = maker.pool(1);
  const [one, other] = [pool.acquire(), pool.acquire()];
  // One for each who waits, and one to be ready.
  assertEquals(maker.pending.length, 3);
  await maker.finish();
  assertEquals([(await one).index, (await other).index, pool.ready], [0, 1, 1]);
  maker.made[2]!.hasEnded = true;
  const next = pool.acquire();
  await refilled(maker, 1);
  await maker.finish();
  assertEquals([(await next).index, maker.made[2]!.closes], [3, 1]);
});

Deno.test("`max` bounds all sandboxes: acquire() waits for one to be closed", async () => {
  const maker = new Maker();
  await using pool = maker.pool(1, 1);
  await maker.finish();
  const first = await pool.acquire();
  const second = pool.acquire();
  await turns();
  assertEquals(maker.pending.length, 0);
  await first.close();
  await turns();
  await maker.finish();
  assertEquals((await second).index, 1);
});

Deno.test("what cannot be made is the error of one who waits; the others go on waiting", async () => {
  const maker = new Maker();
  await using pool = maker.pool(1, 1);
  maker.pending.pop()!.fail(new Error("nobody waits"));
  await turns();
  const [one, other] = [pool.acquire(), pool.acquire()];
  const failed = assertRejects(() => one, Error, "mine");
  maker.pending.pop()!.fail(new Error("mine"));
  await failed;
  await refilled(maker, 1);
  await maker.finish();
  assertEquals((await other).index, 0);
});

Deno.test("an abort ends a wait, and nobody gets its sandbox", async () => {
  const maker = new Maker();
  await using pool = maker.pool(1);
  const controller = new AbortController();
  const wait = pool.acquire({ signal: controller.signal });
  controller.abort(new Error("mine"));
  await assertRejects(() => wait, Error, "mine");
  await maker.finish();
  assertEquals(maker.begun, []);
  await assertRejects(() => pool.acquire({ signal: AbortSignal.abort(new Error("mine")) }), Error, "mine");
});

Deno.test("close() closes what waits and what is being made, and not what is in use", async () => {
  const maker = new Maker();
  const pool = maker.pool(2);
  await maker.finish();
  const used = await pool.acquire();
  await refilled(maker, 1);
  const waiting = [pool.acquire(), pool.acquire()];
  const refused = assertRejects(() => Promise.all(waiting), RuncError, "closed");
  const closing = pool.close();
  await refused;
  assertEquals(maker.pending.every(({ signal }) => signal.aborted), true);
  await maker.finish();
  await Promise.all([closing, pool.close()]);
  assertEquals([used.closes, pool.ready, pool.closed], [0, 0, true]);
  // The first who waited had got the one that was ready.
  assertEquals(maker.made.filter(({ closes }) => closes === 0).length, 2);
  await assertRejects(() => pool.acquire(), RuncError, "closed");
});

Deno.test("wrong numbers of sandboxes are refused", () => {
  for (const [size, max] of [[0], [1.5], [2, 1], [1, 0.5]] as const) {
    assertEquals(assertThrows(() => new Maker().pool(size, max), RuncError).code, "usage");
  }
});
