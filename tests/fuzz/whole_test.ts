/**
 * Whole runs in a room. The seed is fixed: see pure_test.ts.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { runWhole } from "./run_whole.ts";
import { caseOf } from "./whole/cases.ts";
import type { Outcome } from "./whole/inside.ts";

const SEED = 1;
/** About a minute. */
const RUNS = 400;

Deno.test(`${RUNS} whole runs of seed ${SEED}: no bug, no signal, no hang, nothing left`, async () => {
  const outcomes: Outcome[] = [];
  await runWhole({ seed: SEED, from: 0, to: RUNS, lanes: 1, limitMs: Infinity }, (outcome) => outcomes.push(outcome));
  const again = (index: number) => `deno task fuzz --replay whole-${SEED}-${index}`;
  const found = outcomes.flatMap(({ index, faults }) => faults.map((fault) => `${again(index)}: ${fault}`));
  assertEquals(found, []);
  assertEquals(outcomes.length, RUNS);
  // All kinds of runs come to their ends: of a container that was created and started, and of configs that are refused.
  const ends = new Set(outcomes.flatMap(({ ends }) => ends));
  for (const end of ["check 0", "plan 0", "run 3", "run config-invalid", "start 0", "exec 0", "update 0", "delete 0"]) {
    assert(ends.has(end), `no run ends with ${end}: ${[...ends].sort().join(", ")}`);
  }
});

/** The number of a run with one command. */
function shortRun(): number {
  for (let index = 0;; index++) {
    if (caseOf(SEED, index, { bundle: "/tmp/bundle", cgroups: "/x" }).kind === "check") return index;
  }
}

/** Programs that do what none may do, and what is said of them. */
const wrong: readonly [what: string, script: string, ...faults: readonly RegExp[]][] = [
  ["dies of a signal", "kill -SEGV $$", /ended by signal 11/],
  ["has a bug", "echo 'error: TypeError: x is undefined' >&2; exit 1", /TypeError: x is undefined/],
  ["logs a bug", `echo '{"level":"error","msg":"x","code":"internal"}' >/tmp/log; exit 1`, /internal: x/],
  ["does not end", "sleep 1000", /does not end/],
  [
    "leaves all that can be left",
    `mkdir -p /run/fuzz/box /mnt; mount -t tmpfs left /mnt; sleep 1000 & mkdir $(find /sys/fs/cgroup -maxdepth 2 -name 'runc-fuzz-${Deno.pid}-*' | head -n 1)/left`,
    /left behind: the state of box/,
    /left behind: the cgroup .*\/left/,
    /left behind: the process \d+ \(sleep\)/,
    /left behind: mounts: \/mnt tmpfs/,
  ],
];

for (const [what, script, ...faults] of wrong) {
  Deno.test(`a program that ${what} is found`, async () => {
    const program = Deno.makeTempFileSync({ dir: "/var/tmp", prefix: "runc-fuzz-program-" });
    try {
      Deno.writeTextFileSync(program, `#!/bin/sh\ncase "$*" in *delete*) exit 0; esac\n${script}\n`);
      Deno.chmodSync(program, 0o755);
      const index = shortRun();
      const found: string[] = [];
      const run = { seed: SEED, from: index, to: index + 1, lanes: 1, limitMs: Infinity, program };
      await runWhole(run, (outcome) => found.push(...outcome.faults));
      for (const fault of faults) assertMatch(found.join("\n"), fault);
    } finally {
      Deno.removeSync(program);
    }
  });
}
