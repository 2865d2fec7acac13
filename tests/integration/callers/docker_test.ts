/** Docker: its daemon with the containerd that it starts, and its client. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { COUNTING, hasCriu } from "../criu_harness.ts";
import { until } from "../harness.ts";
import { type Docker, docker, dockersNeeds } from "./docker.ts";
import { type Case, engineTest, must, printed, run, status, usual, withSleeper } from "./engine.ts";
import { cgroupCases } from "./engine_limits.ts";
import { usualCases } from "./engine_suite.ts";
import { subordinate } from "./workshop.ts";

/** Checkpoints need an experimental daemon, whose runtime finds CRIU. */
const experimental = hasCriu ? { experimental: true } : {};

const dockersCases: readonly Case[] = [
  ["the default runtime is the one that was given", (engine) => {
    assertEquals(must(engine, "info", "--format", "{{.DefaultRuntime}}"), "ts");
  }],
  // All capabilities that the kernel knows: "unable to apply caps: operation not permitted" where root itself lacks one of them.
  ["--privileged gives what Debian's runc gives, or refuses what that refuses", (engine) => {
    const [ours, debians] = ["ts", "runc"].map((name) => {
      const seen = run(engine, ["--privileged", `--runtime=${name}`], "grep", "CapEff", "/proc/self/status");
      return [seen.code, seen.stdout, /unable to apply caps: operation not permitted/.test(seen.stderr)];
    });
    assertEquals(ours, debians);
  }],
  ["a health check", (engine) => {
    const check = ["--health-cmd=test -e /tmp/well", "--health-retries=1", "--health-interval=100ms"];
    withSleeper(engine, check, (name) => {
      const health = () => must(engine, "inspect", "--format", "{{.State.Health.Status}}", name);
      until("a check fails", () => health() === "unhealthy");
      must(engine, "exec", name, "touch", "/tmp/well");
      until("a check succeeds", () => health() === "healthy");
    });
  }],
  ["--init: a process 1 that is mounted, and that waits for orphans", (engine) => {
    assertMatch(printed(engine, ["--init"], "cat", "/proc/1/comm"), /^(docker-init|tini)\n$/);
  }],
];

/**
 * Docker hands a checkpoint over through containerd's content store, and is refused ("commit failed: content …: already
 * exists") if what the last command has stored is not collected yet. https://github.com/moby/moby/issues/42900
 */
const awaitCollection = ({ hasContent }: Docker) => void until("no content in containerd", () => !hasContent());

const checkpointCases: readonly Case<Docker>[] = [
  ["checkpoint and start --checkpoint", (engine) => {
    const name = "saved";
    const last = () => Number(must(engine, "exec", name, "tail", "-n1", "/count"));
    must(engine, "run", "--detach", `--name=${name}`, ...usual, engine.image, "sh", "-c", COUNTING);
    until("it to count", () => last() > 0);
    must(engine, "checkpoint", "create", "--leave-running", name, "first");
    const before = last();
    until("it to count on", () => last() > before);
    awaitCollection(engine);
    must(engine, "checkpoint", "create", name, "second");
    assertEquals([status(engine, name), must(engine, "checkpoint", "ls", name)], [
      "exited",
      "CHECKPOINT NAME\nfirst\nsecond",
    ]);
    awaitCollection(engine);
    must(engine, "start", "--checkpoint", "second", name);
    // It has not begun anew.
    const after = last();
    assert(after > before);
    until("it to count on", () => last() > after);
    must(engine, "rm", "--force", name);
  }],
];

/** Of a daemon that gives all containers a user namespace. */
const remappedCases: readonly Case[] = [
  ["every container has a user namespace", (engine) => {
    const seen = printed(engine, [], "sh", "-c", "cat /proc/self/uid_map; id -u");
    assertEquals(seen.trim().split(/\s+/), ["0", `${subordinate.first}`, `${subordinate.count}`, "0"]);
  }],
  ["exec is in it", (engine) => {
    withSleeper(engine, [], (name) => {
      assertMatch(must(engine, "exec", name, "cat", "/proc/self/uid_map"), new RegExp(`^ *0 +${subordinate.first} `));
    });
  }],
  ["--userns=host is without", (engine) => {
    assertMatch(printed(engine, ["--userns=host"], "cat", "/proc/self/uid_map"), /^ *0 +0 /);
  }],
];

engineTest("docker", dockersNeeds, (workshop) => docker(workshop, experimental), [
  ...usualCases,
  ...cgroupCases,
  ...dockersCases,
  ...(hasCriu ? checkpointCases : []),
]);
engineTest(
  "docker with user namespaces",
  dockersNeeds,
  (workshop) => docker(workshop, { "userns-remap": "tester" }),
  remappedCases,
);
