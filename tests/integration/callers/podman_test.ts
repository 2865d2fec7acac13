/** Podman with conmon, as root and as another user, on cgroupfs. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { bindDatagram, receive } from "../../../lib/ffi/sockets.ts";
import { existsSync } from "@std/fs";
import { COUNTING, criuPath, hasCriu } from "../criu_harness.ts";
import { kernel, until } from "../harness.ts";
import { type Case, type Engine, engineTest, must, printed, status, usual, withSleeper } from "./engine.ts";
import { cgroupCases } from "./engine_limits.ts";
import { usualCases } from "./engine_suite.ts";
import { podman, podmanAsRoot, podmansNeeds } from "./podman.ts";
import { subordinate, type Workshop } from "./workshop.ts";

/** No cgroup was delegated to the user: containers stay in that of the test. */
function asUser(workshop: Workshop): Engine {
  const directory = workshop.userDirectory("home");
  return podman(workshop, {
    directory,
    path: workshop.copiedRuntime(),
    execute: (argv, options) => workshop.executeAsUser(argv, options),
    first: [],
    env: { HOME: directory, XDG_RUNTIME_DIR: workshop.userDirectory("runtime") },
  });
}

const statusOf = (path: string, field: string) =>
  Deno.readTextFileSync(path).split("\n").find((line) => line.startsWith(`${field}:`))?.split("\t")[1];

const rootCases: readonly Case[] = [
  ["--privileged gives all capabilities that there are", (engine) => {
    const seen = printed(engine, ["--privileged"], "grep", "-E", "CapEff|Seccomp:", "/proc/self/status");
    assertEquals(seen, `CapEff:\t${statusOf("/proc/self/status", "CapBnd")}\nSeccomp:\t0\n`);
  }],
  ["a user namespace", (engine) => {
    const volume = `${engine.directory}/mapped`;
    Deno.mkdirSync(volume);
    Deno.chmodSync(volume, 0o777);
    const map = `0:${subordinate.first}:${subordinate.count}`;
    const options = [`--uidmap=${map}`, `--gidmap=${map}`, `--volume=${volume}:/v`];
    const seen = printed(engine, options, "sh", "-c", "cat /proc/self/uid_map; id -u; touch /v/file");
    assertEquals(seen.trim().split(/\s+/), ["0", `${subordinate.first}`, `${subordinate.count}`, "0"]);
    assertEquals(Deno.statSync(`${volume}/file`).uid, subordinate.first);
  }],
];

const checkpointCases: readonly Case[] = [
  ["checkpoint and restore, in place, and by an archive with and without the file system", (engine) => {
    const call = (...args: readonly string[]) => {
      const { code, stderr } = engine.call(args, { env: { PATH: criuPath } });
      assertEquals(code, 0, `${args.join(" ")}: ${stderr}`);
    };
    const count = (name: string) => Number(must(engine, "exec", name, "tail", "-n1", "/count"));
    const countsFrom = (name: string, least: number) => until(`${name} to count on`, () => count(name) > least);
    const archive = `${engine.directory}/checkpoint.tar.gz`;
    call("run", "--detach", "--name=saved", ...usual, engine.image, "sh", "-c", COUNTING);
    countsFrom("saved", 0);
    call("container", "checkpoint", "saved");
    assertEquals(status(engine, "saved"), "exited");
    call("container", "restore", "--keep", "saved");
    const before = count("saved");
    call("container", "checkpoint", "--leave-running", `--export=${archive}`, "saved");
    countsFrom("saved", before);
    call("rm", "--force", "--time=0", "saved");
    call("container", "restore", `--import=${archive}`, "--name=copy");
    countsFrom("copy", before);
    const copied = count("copy");
    call("container", "checkpoint", "--keep", `--export=${archive}`, "--ignore-rootfs", "copy");
    call("rm", "--force", "--time=0", "copy");
    call("container", "restore", `--import=${archive}`, "--ignore-rootfs", "--name=bare");
    countsFrom("bare", copied);
    // The file system is new, the program is not.
    assert(Number(must(engine, "exec", "bare", "head", "-n1", "/count")) >= copied);
    call("rm", "--force", "--time=0", "bare");
  }],
];

/** Volumes with the host's perl. */
const perl = ["/usr", "/lib", "/lib64"].filter((path) => existsSync(path)).map((path) => `--volume=${path}:${path}:ro`);
const sayReady = 'use Socket; socket(S, AF_UNIX, SOCK_DGRAM, 0) && send(S, "READY=1\nSTATUS=up", 0, ' +
  "sockaddr_un($ENV{NOTIFY_SOCKET})) or die $!; sleep 1000";

const podmansCases: readonly Case[] = [
  ["the runtime is that of containers.conf", (engine) => {
    assertMatch(
      must(engine, "info", "--format", "{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Version}}"),
      /^ts runc version /,
    );
  }],
  ["a health check", (engine) => {
    const check = ["--health-cmd=test -e /tmp/well", "--health-retries=1", "--health-interval=disable"];
    withSleeper(engine, check, (name) => {
      const health = () => must(engine, "inspect", "--format", "{{.State.Health.Status}}", name);
      assertEquals([engine.call(["healthcheck", "run", name]).code, health()], [1, "unhealthy"]);
      must(engine, "exec", name, "touch", "/tmp/well");
      assertEquals([engine.call(["healthcheck", "run", name]).code, health()], [0, "healthy"]);
    });
  }],
  ["--sdnotify=container: the container itself says when it is ready", (engine) => {
    const path = `${engine.directory}/manager.sock`;
    using manager = bindDatagram(kernel, path);
    Deno.chmodSync(path, 0o777);
    const next = () => new TextDecoder().decode(receive(kernel, manager, 4096).bytes).trimEnd();
    const args = ["run", "--detach", "--name=ready", "--sdnotify=container", ...usual, ...perl, engine.image];
    // Returns when the container is ready.
    const { code, stderr } = engine.call([...args, "/usr/bin/perl", "-e", sayReady], { env: { NOTIFY_SOCKET: path } });
    assertEquals([code, stderr], [0, ""]);
    const [main, ready] = [next(), next()].toSorted();
    assertMatch(main!, /^MAINPID=\d+$/);
    assertEquals(ready, "READY=1");
    must(engine, "kill", "ready");
    must(engine, "rm", "--force", "ready");
  }],
];

/** A user's containers have ids of the user's. */
const userCases: readonly Case[] = [
  ["root of the container is the user, the others are the user's others", (engine) => {
    const map = printed(engine, [], "cat", "/proc/self/uid_map").trim().split(/\s+/).map(Number);
    assertEquals(map, [0, Deno.statSync(engine.directory).uid!, 1, 1, subordinate.first, subordinate.count]);
  }],
];

engineTest("podman", podmansNeeds, podmanAsRoot, [
  ...usualCases,
  ...cgroupCases,
  ...podmansCases,
  ...rootCases,
  ...(hasCriu ? checkpointCases : []),
]);
engineTest("podman without root", podmansNeeds, asUser, [...userCases, ...usualCases, ...podmansCases]);
