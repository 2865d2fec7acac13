/** Docker: its daemon with the containerd that it starts, and its client. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { existsSync } from "@std/fs";
import { COUNTING, criuPath, hasCriu } from "../criu_harness.ts";
import { until } from "../harness.ts";
import { type Case, type Engine, engineTest, must, printed, run, status, usual, withSleeper } from "./engine.ts";
import { cgroupCases } from "./engine_limits.ts";
import { usualCases } from "./engine_suite.ts";
import { runtime, subordinate, type Workshop } from "./workshop.ts";

const docker = "/usr/bin/docker", daemon = "/usr/sbin/dockerd";
const needed = [{ program: daemon, package: "docker.io" }, { program: docker, package: "docker.io" }];

/** The runtime as the README gives it. Docker knows runc, which is Debian's, without being told. */
const configuration = { runtimes: { ts: { path: runtime } }, "default-runtime": "ts" };
/** Checkpoints need an experimental daemon, whose runtime finds CRIU. */
const experimental = hasCriu ? { experimental: true } : {};

function open(workshop: Workshop, more: Readonly<Record<string, unknown>> = {}): Engine {
  const { directory, name } = workshop;
  const socket = `${directory}/docker.sock`;
  const argv = [
    daemon,
    `--config-file=${workshop.write("daemon.json", JSON.stringify({ ...configuration, ...more }))}`,
    `--data-root=${directory}/data`,
    `--exec-root=${directory}/exec`,
    `--pidfile=${directory}/pid`,
    `--host=unix://${socket}`,
    `--cgroup-parent=/${name}`,
    "--exec-opt=native.cgroupdriver=cgroupfs",
    // An overlay is not possible on every file system, nor are bridges and filters in every kernel.
    "--storage-driver=vfs",
    "--bridge=none",
    "--iptables=false",
    "--ip6tables=false",
    "--ip-forward=false",
    "--ip-masq=false",
  ];
  const call: Engine["call"] = (args, options) =>
    workshop.execute([docker, `--host=unix://${socket}`, ...args], options);
  workshop.daemon(argv, () => existsSync(socket) && call(["version"]).code === 0, { env: { PATH: criuPath } });
  const engine = { call, image: "busybox", directory };
  must(engine, "import", "--change", "ENV PATH=/bin", workshop.rootfs(), engine.image);
  return engine;
}

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

const checkpointCases: readonly Case[] = [
  ["checkpoint and start --checkpoint", (engine) => {
    const name = "saved";
    const last = () => Number(must(engine, "exec", name, "tail", "-n1", "/count"));
    must(engine, "run", "--detach", `--name=${name}`, ...usual, engine.image, "sh", "-c", COUNTING);
    until("it to count", () => last() > 0);
    must(engine, "checkpoint", "create", "--leave-running", name, "first");
    const before = last();
    until("it to count on", () => last() > before);
    must(engine, "checkpoint", "create", name, "second");
    assertEquals([status(engine, name), must(engine, "checkpoint", "ls", name)], [
      "exited",
      "CHECKPOINT NAME\nfirst\nsecond",
    ]);
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

engineTest("docker", needed, (workshop) => open(workshop, experimental), [
  ...usualCases,
  ...cgroupCases,
  ...dockersCases,
  ...(hasCriu ? checkpointCases : []),
]);
engineTest(
  "docker with user namespaces",
  needed,
  (workshop) => open(workshop, { "userns-remap": "tester" }),
  remappedCases,
);
