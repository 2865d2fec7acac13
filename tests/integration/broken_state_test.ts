/** Containers whose state cannot be read: refused, listed by name, and removed by force. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { readCgroupLayout } from "../../lib/cgroups/layout.ts";
import { contentOf } from "./foreground_harness.ts";
import { type Box, boxTest, execute, kernel, Running, until } from "./harness.ts";
import { cgroupsNamed } from "./leftovers.ts";

const needsV1 = { ignore: readCgroupLayout(kernel).mode === "v2" };

/** What may stand in a state.json after a crash, or be there by mistake. A command: it makes the file instead. */
const broken: readonly [name: string, content: string | readonly string[]][] = [
  ["an empty file", ""],
  ["half a file", '{"id":'],
  ["zeroes", "\0".repeat(512)],
  ["something else", "[1,2]"],
  ["a fifo", ["/usr/bin/mkfifo"]],
  ["a directory", ["/bin/mkdir"]],
  ["an endless device", ["/bin/ln", "-s", "/dev/zero"]],
  ["a symlink to itself", ["/bin/ln", "-s", "state.json"]],
  ["larger than memory", ["/usr/bin/truncate", "-s", "1T"]],
  ["a state whose cgroups are no paths", '{"id":"box","init_process_pid":1,"config":{},"cgroup_paths":{"pids":1}}'],
  [
    "a state whose namespaces are a text",
    '{"id":"box","init_process_pid":1,"init_process_start":1,"created":"","namespace_paths":{},' +
    '"config":{"rootfs":"/","namespaces":"pid"}}',
  ],
];

for (const [name, content] of broken) {
  boxTest(
    `a state.json that is ${name}: delete refuses it, delete --force removes it, and says that it is a guess`,
    (box) => {
      const directory = `${box.root}/${box.id}`;
      Deno.mkdirSync(directory, { recursive: true });
      if (typeof content === "string") Deno.writeTextFileSync(`${directory}/state.json`, content);
      else assertEquals(execute([...content, `${directory}/state.json`]).code, 0);
      const { code, hint = "" } = box.refused(["delete", box.id]);
      assertEquals([code, box.containers()], ["state-invalid", [box.id]]);
      assertMatch(hint, /delete --force/);
      const list = box.runc(["list", "--quiet"]);
      assertEquals([list.code, list.stdout], [0, ""]);
      assertMatch(list.stderr, /^load container box: .+\n$/);
      const forced = box.runc(["delete", "--force", box.id]);
      assertEquals([forced.code, forced.stdout, box.containers()], [0, "", []]);
      assertMatch(
        forced.stderr,
        /level=warning msg="the state of container box cannot be read .*poststop hooks were not run/,
      );
    },
  );
}

/** Shell commands that move the shell into a cgroup of the box's: relative to it are the cgroups of a container without `cgroupsPath`. */
const inOwnCgroup = (box: Box) =>
  [
    `for top in /sys/fs/cgroup/*; do [ -e $top/cgroup.procs ] && [ ! -L $top ] || continue; mkdir -p $top${box.cgroup}`,
    `for file in cpus mems; do [ ! -e $top/cpuset.$file ] || cat $top/cpuset.$file > $top${box.cgroup}/cpuset.$file; done`,
    `echo $$ > $top${box.cgroup}/cgroup.procs; done; exec "$@"`,
  ].join("; ");

/** Runs `body` with what puts a command into a cgroup of its own, and a container there whose state is lost. */
function withLostState(box: Box, body: (lost: { id: string; pid: number; prefix: readonly string[] }) => void): void {
  // The cgroup2 of a hybrid host has it at the top.
  const id = box.name;
  const prefix = ["/bin/sh", "-c", inOwnCgroup(box), "sh"];
  box.write((config) => {
    config.process.args = ["sleep", "1000"];
    delete config.linux.cgroupsPath;
  });
  try {
    box.must(["run", "--detach", id], { prefix });
    const { pid } = box.state(id);
    Deno.writeTextFileSync(`${box.root}/${id}/state.json`, "");
    body({ id, pid, prefix });
  } finally {
    for (const path of cgroupsNamed(box.name)) {
      const pids = Deno.readTextFileSync(`${path}/cgroup.procs`).split("\n").filter((line) => line !== "");
      for (const pid of pids) execute(["/bin/kill", "-KILL", pid]);
      until("an empty cgroup", () => Deno.readTextFileSync(`${path}/cgroup.procs`) === "");
    }
    for (const path of cgroupsNamed(box.name).toReversed()) Deno.removeSync(path);
  }
}

const isAlive = (pid: number) => {
  try {
    return !/^State:\t[ZX]/m.test(Deno.readTextFileSync(`/proc/${pid}/status`));
  } catch {
    return false;
  }
};

if (!needsV1.ignore) {
  boxTest("delete --force of a container whose state is lost ends its processes where its id leads to", (box) => {
    withLostState(box, ({ id, pid, prefix }) => {
      const own = () => cgroupsNamed(id).filter((path) => path.endsWith(`/${id}`));
      assert(own().length > 5, own().join());
      const { code, stderr } = box.runc(["delete", "--force", id], { prefix });
      assertEquals([code, isAlive(pid), own(), box.containers()], [0, false, [], []]);
      assertMatch(
        stderr,
        new RegExp(`level=warning .*removed its directory, and these cgroups found by its id: .*/${id}`),
      );
    });
  });

  boxTest(
    "delete --force kills no process that may not be the container's, though it is in a cgroup of its name",
    (box) => {
      withLostState(box, ({ id, pid, prefix }) => {
        using stranger = new Running(["/bin/sleep", "1000"]);
        const pids = cgroupsNamed(id).filter((path) => path.endsWith(`/${id}`) && path.includes("/pids/"));
        assertEquals(pids.length, 1);
        Deno.writeTextFileSync(`${pids[0]}/cgroup.procs`, `${stranger.pid}`);
        const { code, stderr } = box.runc(["delete", "--force", id], { prefix });
        assertEquals([code, isAlive(pid), stranger.isOver, box.containers()], [0, true, false, []]);
        assertMatch(stderr, new RegExp(`may not belong to container ${id} and was not removed: .* ${stranger.pid}"`));
      });
    },
  );

  boxTest(
    "delete --force kills nothing where all processes are in cgroups below: they may be other containers'",
    (box) => {
      withLostState(box, ({ id, pid, prefix }) => {
        const own = cgroupsNamed(id).filter((path) => path.endsWith(`/${id}`));
        assert(own.length > 5, own.join());
        for (const path of own) {
          Deno.mkdirSync(`${path}/${id}-other`);
          for (const file of path.includes("/cpuset/") ? ["cpuset.cpus", "cpuset.mems"] : []) {
            Deno.writeTextFileSync(`${path}/${id}-other/${file}`, Deno.readTextFileSync(`${path}/${file}`));
          }
          Deno.writeTextFileSync(`${path}/${id}-other/cgroup.procs`, `${pid}`);
        }
        const { code, stderr } = box.runc(["delete", "--force", id], { prefix });
        assertEquals([code, isAlive(pid), box.containers()], [0, true, []]);
        assertMatch(stderr, new RegExp(`may not be container ${id}'s, and stays: all processes are in cgroups below`));
      });
    },
  );
}

boxTest(
  "delete --force finds no state, but one that is written before it has the lock: it removes the container",
  (box) => {
    box.startSleeping();
    const directory = `${box.root}/${box.id}`, aside = `${box.directory}/state.json`, trace = `${box.directory}/trace`;
    Deno.renameSync(`${directory}/state.json`, aside);
    const lock = Deno.openSync(directory);
    lock.lockSync(true);
    const strace = ["/usr/bin/strace", "--follow-forks", "--trace=flock", `--output=${trace}`];
    using running = box.start(["delete", "--force", box.id], { prefix: strace });
    until("it wants the lock", () => contentOf(trace).includes("EAGAIN"));
    Deno.renameSync(aside, `${directory}/state.json`);
    lock.close();
    assertEquals([running.wait(), box.containers()], [{ code: 0, stdout: "", stderr: "" }, []]);
  },
);
