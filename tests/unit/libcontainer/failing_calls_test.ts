/**
 * Each call of libc and of Deno's functions on files that a command makes fails with ENOSPC, EMFILE, ENOMEM and EIO: the
 * command goes on without it, or ends with an error that is an answer. Afterwards, nothing is left that a removal leaves.
 */

import { assert, assertEquals } from "@std/assert";
import { toRuncError } from "../../../lib/cli/system_error.ts";
import { Errno } from "../../../lib/ffi/errno.ts";
import { ContainerHandle } from "../../../lib/libcontainer/container/handle.ts";
import type { CgroupVersion } from "../host/cgroups.ts";
import { createOn, leftovers, type Logged, runtimeOn } from "../host/containers.ts";
import type { FakeHost } from "../host/host.ts";
import { stageOf } from "../host/stage.ts";
import { withHost } from "../host/with_host.ts";

/** What a full disk, too many open files, too little memory and a broken disk give. */
const errnos = ["ENOSPC", "EMFILE", "ENOMEM", "EIO"] as const;

/** Calls that cannot fail with any of these on a Linux host, or that nobody could go on without. */
const infallible =
  /^(close|prctl|getpid|clock_gettime|poll|waitid|waitpid|posix_spawn_file_actions_\w+|posix_spawnattr_\w+)$/;

/** A command, on a host that is prepared for it. */
interface Case {
  readonly name: string;
  /** Statuses that the container goes through before. */
  readonly before: readonly ("created" | "running" | "paused" | "stopped")[];
  readonly run: (host: FakeHost, logged: Logged) => void;
}

const load = ({ runtime }: Logged) => ContainerHandle.load(runtime, "box");
const sleep = { args: ["sleep", "1"], cwd: "/", user: { uid: 0, gid: 0 } };

const cases: readonly Case[] = [
  { name: "create", before: [], run: (host, logged) => createOn(host, logged).process[Symbol.dispose]() },
  { name: "start", before: ["created"], run: (_, logged) => logged.wait(load(logged).start()) },
  {
    name: "exec",
    before: ["created", "running"],
    run: (host, logged) => {
      host.stage = stageOf({ isExec: true, name: "sleep" });
      logged.wait(load(logged).exec({ process: sleep, stdio: [0, 1, 2] }))[Symbol.dispose]();
    },
  },
  { name: "state", before: ["created", "running"], run: (_, logged) => void logged.wait(load(logged).state()) },
  { name: "kill", before: ["created", "running"], run: (_, logged) => logged.wait(load(logged).kill(9)) },
  { name: "pause", before: ["created", "running"], run: (_, logged) => logged.wait(load(logged).pause()) },
  { name: "resume", before: ["created", "running", "paused"], run: (_, logged) => logged.wait(load(logged).resume()) },
  {
    name: "update",
    before: ["created", "running"],
    run: (_, logged) => logged.wait(load(logged).update({ pids: { limit: 7 }, memory: { limit: 1e8 } })),
  },
  { name: "delete", before: ["created", "running", "stopped"], run: (_, logged) => logged.wait(load(logged).delete()) },
  {
    name: "delete --force",
    before: ["created", "running", "paused"],
    run: (_, logged) => logged.wait(load(logged).delete({ force: true })),
  },
];

function prepare(host: FakeHost, logged: Logged, { before }: Case): void {
  for (const status of before) {
    if (status === "created") createOn(host, logged).process[Symbol.dispose]();
    else if (status === "running") {
      logged.wait(load(logged).start());
      host.goOn();
    } else if (status === "paused") logged.wait(load(logged).pause());
    else {
      const init = host.process(load(logged).pid)!;
      init.end({ code: 0 });
      host.processes.delete(init.pid);
    }
  }
}

/** Far more calls than any command makes. */
const ENDLESS = 3000;

/** The calls of a command that nothing refuses. */
function callsOf(each: Case, cgroups: CgroupVersion): readonly string[] {
  return withHost((host) => {
    const logged = runtimeOn(host);
    prepare(host, logged, each);
    host.fallible.length = 0;
    each.run(host, logged);
    return [...host.fallible];
  }, { cgroups });
}

/** What a command leaves, beside what `delete --force` removes. `hasFailed`: it has ended with an error. */
function problemsOf(host: FakeHost, logged: Logged, { name }: Case, hasFailed: boolean): readonly string[] {
  const problems = [...host.openFiles];
  const isThere = host.fs.find("/run/runc/box/state.json") !== undefined;
  const init = isThere ? load(logged).pid : 0;
  for (const process of host.others) {
    if (process.name !== "sleep" || process.pid === init) continue;
    // The program of exec.
    if (hasFailed && !process.hasEnded) problems.push(`process ${process.pid}`);
    host.processes.delete(process.pid);
  }
  if (name === "create" && hasFailed) problems.push(...leftovers(host));
  if (isThere) logged.wait(load(logged).delete({ force: true }));
  // Orphans are not ours to reap.
  for (const process of host.others) if (process.hasEnded) host.processes.delete(process.pid);
  return [...problems, ...leftovers(host)];
}

/** Runs a command whose call `index` fails. */
function runFailing(each: Case, cgroups: CgroupVersion, index: number, errno: typeof errnos[number]): void {
  withHost((host) => {
    const logged = runtimeOn(host);
    prepare(host, logged, each);
    host.fallible.length = 0;
    host.fails = (_, at) => {
      if (at > ENDLESS) throw new Error("it goes on for ever");
      return at === index ? Errno[errno] : undefined;
    };
    let error: unknown;
    try {
      each.run(host, logged);
    } catch (thrown) {
      error = thrown;
    }
    host.fails = undefined;
    const where = `${each.name}: call ${index}, ${host.fallible[index]}, fails with ${errno}: ${error}`;
    if (error !== undefined) assert(toRuncError(error).code !== "internal", where);
    assertEquals(problemsOf(host, logged, each, error !== undefined), [], where);
  }, { cgroups });
}

/** With the argument `all`, each call fails with each errno; otherwise with one of them. */
const isAll = Deno.args.includes("all");

for (const cgroups of ["v1", "v2"] as const) {
  for (const each of cases) {
    Deno.test(`each call of ${each.name} fails, and nothing is left: cgroup ${cgroups}`, () => {
      const calls = callsOf(each, cgroups);
      assert(calls.length > 5, calls.join());
      calls.forEach((name, index) => {
        if (infallible.test(name)) return;
        const chosen = errnos.filter((_, number) => isAll || number === index % errnos.length);
        for (const errno of chosen) runFailing(each, cgroups, index, errno);
      });
    });
  }
}
