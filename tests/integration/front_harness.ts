/**
 * Commands that are carried out by the front of the program: without the snapshot, or as the program and the snapshot
 * carry them out.
 */

import { assertEquals } from "@std/assert";
import { existsSync } from "@std/fs";
import { readCgroupLayout } from "../../lib/cgroups/layout.ts";
import { contentOf } from "./foreground_harness.ts";
import {
  type Box,
  type Change,
  execute,
  inBox,
  isSnapshot,
  kernel,
  program,
  type Result,
  type StartOptions,
  until,
} from "./harness.ts";

export const isV1 = readCgroupLayout(kernel).mode !== "v2";

/** How many bytes of the program have all of the front, and not all of the snapshot. */
const FRONT_BYTES = 1 << 20;

/** What the front alone says where it leaves a command to the snapshot. */
export const left: Result = {
  code: 1,
  stdout: "",
  stderr: "runc: the program's file is incomplete: copy, build or install it again\n",
};

export function frontTest(name: string, body: (box: Box) => void): void {
  Deno.test({ name, ignore: !isSnapshot(program), fn: () => withContainer(body) });
}

/** Runs `body` in a new box. The container that it leaves is removed. */
export function withContainer<T>(body: (box: Box) => T): T {
  return inBox("native", (box) => {
    const result = body(box);
    if (filesOf(box) !== undefined) box.remove();
    return result;
  });
}

/** The path of a front without a snapshot. */
export function frontOf(box: Box): string {
  const path = `${box.directory}/front`;
  if (!existsSync(path)) {
    using file = Deno.openSync(program);
    const bytes = new Uint8Array(FRONT_BYTES);
    file.readSync(bytes);
    Deno.writeFileSync(path, bytes, { mode: 0o755 });
  }
  return path;
}

export type By = "front" | "program" | "snapshot";

function argvOf(box: Box, by: By): readonly string[] {
  if (by === "snapshot") return [program, "--init", "native"];
  return [by === "front" ? frontOf(box) : program];
}

/** Runs a command line on the state directory of the box. */
export function runBy(box: Box, by: By, args: readonly string[], options: StartOptions = {}): Result {
  return execute([...(options.prefix ?? []), ...argvOf(box, by), "--root", box.root, ...args], options);
}

export const sleeping: Change = (config) => {
  config.process.args = ["sleep", "1000"];
  config.annotations = { "org.example.b": "<&>", "org.example.a": "ü" };
};

export const statuses = ["created", "running", "paused", "stopped"] as const;
export type TestedStatus = typeof statuses[number];

/** Makes a container with this status. */
export function bring(box: Box, status: TestedStatus, change: Change = () => {}): void {
  box.write((config) => {
    sleeping(config);
    change(config);
  });
  box.must(status === "created" ? ["create", box.id] : ["run", "--detach", box.id]);
  if (status === "paused") box.must(["pause", box.id]);
  if (status === "stopped") end(box);
}

/** Ends the container, and waits until its process is reaped. */
export function end(box: Box): void {
  const { pid } = box.state();
  box.must(["kill", box.id, "KILL"]);
  // Each run of the program reaps.
  until("it is reaped", () => box.state().status === "stopped" && !existsSync(`/proc/${pid}`));
}

/** The files in the container's directory; undefined if it is gone. */
export function filesOf(box: Box): readonly string[] | undefined {
  const path = `${box.root}/${box.id}`;
  return existsSync(path) ? [...Deno.readDirSync(path)].map(({ name }) => name).sort() : undefined;
}

export function cgroupsOf(box: Box): number {
  return isV1
    ? [...Deno.readDirSync("/sys/fs/cgroup")].filter(({ name }) => existsSync(`/sys/fs/cgroup/${name}${box.cgroup}`))
      .length
    : Number(existsSync(`/sys/fs/cgroup${box.cgroup}`));
}

/** Counts calls, and lets them fail. */
export const strace = "/usr/bin/strace";

/** The system calls that the front makes, as strace counts them: by name, and the how-manieth of its name. */
export function callsOf(box: Box, args: readonly string[]): readonly (readonly [name: string, nth: number])[] {
  const log = `${box.directory}/strace`;
  const prefix = [strace, "-o", log];
  assertEquals(runBy(box, "front", args, { prefix }).code, 0);
  const counts = new Map<string, number>();
  return contentOf(log).split("\n").flatMap((line) => {
    const [, name = ""] = /^(\w+)\(/.exec(line) ?? [];
    if (["", "execve", "exit_group"].includes(name)) return [];
    counts.set(name, (counts.get(name) ?? 0) + 1);
    return [[name, counts.get(name)!] as const];
  });
}
