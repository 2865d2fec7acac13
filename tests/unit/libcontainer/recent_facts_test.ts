import { assertEquals, assertThrows } from "@std/assert";
import { recentFact, RecentFacts } from "../../../lib/libcontainer/recent_facts.ts";

/** Runs `body` with a clock that it sets. */
function withClock(body: (set: (ms: number) => void) => void): void {
  const { now } = performance;
  try {
    body((ms) => void (performance.now = () => ms));
  } finally {
    performance.now = now;
  }
}

Deno.test("a fact is read again when it is a second old", () => {
  withClock((set) => {
    const recent = new RecentFacts();
    let reads = 0;
    const ask = (ms: number) => {
      set(ms);
      return recentFact({ recent }, "fact", () => ++reads);
    };
    assertEquals([5, 900, 1004, 1005, 2000].map(ask), [1, 1, 1, 2, 2]);
    assertEquals(recentFact({ recent }, "other", () => "another"), "another");
  });
});

Deno.test("an absent value is a fact, an error is none, and without RecentFacts each is read", () => {
  withClock((set) => {
    set(0);
    const recent = new RecentFacts();
    let reads = 0;
    const nothing = () => void reads++;
    assertEquals([recentFact({ recent }, "nothing", nothing), recentFact({ recent }, "nothing", nothing)], [
      undefined,
      undefined,
    ]);
    assertEquals(reads, 1);
    assertThrows(() =>
      recent.get("failing", () => {
        throw new Error("failed");
      })
    );
    assertEquals(recent.get("failing", () => 7), 7);
    assertEquals([recentFact({}, "nothing", () => ++reads), recentFact({}, "nothing", () => ++reads)], [2, 3]);
  });
});
