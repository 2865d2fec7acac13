/**
 * A host that is full: no room for the state, no descriptors, no processes; and one that has lost its state. Commands
 * answer, and leave nothing. As root; with Debian's busybox-static.
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { contentOf } from "./foreground_harness.ts";
import { afterShell, type Box, boxTest, execute, kernel, until } from "./harness.ts";
import { kill } from "../../lib/ffi/process/process.ts";

/** Runs a shell script in a mount namespace of its own, where `runc` is the box's runtime. Returns its lines. */
function inMounts(box: Box, script: string): readonly string[] {
  const runtime = box.argv("--log", `${box.directory}/log`, "--log-format", "json").join(" ");
  const lines = [
    `runc() { ${runtime} "$@" >/dev/null 2>&1 </dev/null; echo "$1: $?"; }`,
    `fill() { dd if=/dev/zero of="$1/filler" bs=4k 2>/dev/null || true; }`,
    script,
  ];
  const unshare = ["/usr/bin/unshare", "--mount", "--propagation=private", "/bin/sh", "-c", lines.join("\n")];
  const { code, stdout, stderr } = execute(unshare, { cwd: box.bundle });
  assertEquals([code, stderr], [0, ""], stdout);
  return stdout.trimEnd().split("\n");
}

/** The errors of the log: code and errno. */
function errorsOf(box: Box): readonly string[] {
  const records = contentOf(`${box.directory}/log`).split("\n").slice(0, -1).map((line) => JSON.parse(line));
  return records.filter(({ level }) => level === "error").map(({ code, errno }) => `${code} ${errno ?? ""}`.trim());
}

boxTest("a full state directory: create and update are refused, and all else works", (box) => {
  box.write((config) => {
    config.process.args = ["sleep", "1000"];
    config.linux.resources = { ...config.linux.resources, pids: { limit: 50 } };
  });
  Deno.mkdirSync(box.root);
  const said = inMounts(
    box,
    [
      `mount -t tmpfs -o size=64k tmpfs ${box.root}`,
      `fill ${box.root}`,
      `runc create ${box.id}`,
      `ls ${box.root}`,
      `rm ${box.root}/filler`,
      `runc create ${box.id}`,
      `fill ${box.root}`,
      `runc update --pids-limit 77 ${box.id}`,
      `cat /sys/fs/cgroup/pids${box.cgroup}/pids.max /sys/fs/cgroup${box.cgroup}/pids.max 2>/dev/null || true`,
      ...["start", "pause", "resume", "state"].map((command) => `runc ${command} ${box.id}`),
      `runc exec ${box.id} true`,
      `runc delete --force ${box.id}`,
      `ls ${box.root}`,
    ].join("\n"),
  );
  assertEquals(said, [
    ...["create: 1", "filler", "create: 0", "update: 1", "50"],
    ...["start: 0", "pause: 0", "resume: 0", "state: 0", "exec: 0", "delete: 0", "filler"],
  ]);
  assertEquals(errorsOf(box), ["syscall-failed ENOSPC", "syscall-failed ENOSPC"]);
});

boxTest("a state directory without inodes: create is refused, and leaves nothing", (box) => {
  Deno.mkdirSync(box.root);
  for (const inodes of [1, 2, 3, 4, 5]) {
    const said = inMounts(
      box,
      [
        `mount -t tmpfs -o nr_inodes=${inodes} tmpfs ${box.root}`,
        `runc create ${box.id}`,
        `ls ${box.root}`,
      ].join("\n"),
    );
    if (said[0] === "create: 0") {
      assertEquals(said, ["create: 0", box.id]);
      inMounts(box, ":");
      // Its state went with the file system: its process and its cgroups are what a power loss would leave.
      const directory = `/sys/fs/cgroup/pids${box.cgroup}`;
      for (const pid of contentOf(`${directory}/cgroup.procs`).trim().split("\n")) kill(kernel, Number(pid), 9);
      until("its end", () => contentOf(`${directory}/cgroup.procs`) === "");
      box.must(["create", box.id]);
      box.remove();
      continue;
    }
    assertEquals(said, ["create: 1"], `${inodes} inodes`);
  }
  assert(errorsOf(box).length >= 2);
  assertEquals([...new Set(errorsOf(box))], ["syscall-failed ENOSPC"]);
});

boxTest("a full /run: a compiled filter is not kept, and the container runs", (box) => {
  box.write((config) => {
    config.linux.seccomp = {
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [{ names: ["getcwd"], action: "SCMP_ACT_ERRNO" }],
    };
  });
  const said = inMounts(
    box,
    [
      "mount -t tmpfs -o size=16k,nr_inodes=8 tmpfs /run",
      "fill /run",
      `runc run ${box.id}`,
    ].join("\n"),
  );
  assertEquals([said, errorsOf(box)], [["run: 0"], []]);
});

boxTest("few descriptors: each command works or is refused, and nothing is left", (box) => {
  box.write((config) => void (config.process.args = ["sleep", "1000"]));
  const commands = [["create"], ["start"], ["exec", "--detach"], ["pause"], ["resume"], ["delete", "--force"]];
  for (const limit of [3, 4, 5, 6, 7, 8, 10, 12, 16, 20]) {
    for (const [command = "", ...options] of commands) {
      const words = [command, ...options, box.id, ...(command === "exec" ? ["sleep", "1000"] : [])];
      const log = `${box.directory}/log`;
      const few = { prefix: afterShell(`ulimit -n ${limit}`) };
      const { code, stderr } = box.runc(["--log", log, "--log-format", "json", ...words], few);
      const errors = errorsOf(box);
      if (contentOf(log) !== "") Deno.removeSync(log);
      const where = `${words.join(" ")} with ${limit} descriptors: ${code} ${errors} ${stderr}`;
      // The program itself cannot be opened any more.
      const isTold = stderr.startsWith("runc: open ") || (errors.length === 1 && !errors[0]!.startsWith("internal"));
      assert(code === 0 || isTold, where);
      // What the next command needs.
      if (code !== 0 && command !== "delete") {
        if (command === "create") assertEquals(box.containers(), [], where);
        const { code, stderr } = box.runc(words);
        assertEquals(code, 0, `${where}, then ${stderr}`);
      }
    }
    if (box.containers().length > 0) box.remove();
  }
});

boxTest("a lost state: a container of the same id is made once the old cgroups are empty", (box) => {
  box.startSleeping();
  const { pid } = box.state();
  Deno.renameSync(`${box.root}/${box.id}`, `${box.directory}/lost`);
  const refused = box.runc(["create", box.id]);
  kill(kernel, pid, 9);
  until("its end", () => !/\) [^Z] /.test(contentOf(`/proc/${pid}/stat`)));
  const made = box.runc(["create", box.id]);
  assertStringIncludes(refused.stderr, "container's cgroup is not empty");
  assertEquals([refused.code, made], [1, { code: 0, stdout: "", stderr: "" }]);
  box.remove();
});
