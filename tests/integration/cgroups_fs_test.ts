/**
 * The cgroup drivers against the real kernel: what they make, who is in it, and that nothing stays.
 *
 * Needs root and writable cgroup mounts. Everything happens below /runc-deno-test-<pid> in each hierarchy.
 */

import { assert, assertEquals, assertInstanceOf, assertRejects, assertThrows } from "@std/assert";
import { dirname } from "@std/path";
import { attachedPrograms, bpfCall } from "../../lib/cgroups/devices/bpf.ts";
import { type CgroupLayout, parseProcCgroup, readCgroupLayout } from "../../lib/cgroups/layout.ts";
import type { CgroupManager } from "../../lib/cgroups/manager.ts";
import { createCgroupManager, loadCgroupManager } from "../../lib/cgroups/open.ts";
import type { Systemd } from "../../lib/cgroups/systemd/connection.ts";
import { SystemdV2 } from "../../lib/cgroups/systemd/v2.ts";
import { RuncError } from "../../lib/errors.ts";
import { openFlag } from "../../lib/ffi/constants.ts";
import { open } from "../../lib/ffi/files.ts";
import { type Argument, type Call, Kernel } from "../../lib/ffi/kernel.ts";
import { runWaits, runWaitsAsync, type Waits } from "../../lib/ffi/waits.ts";
import { noWait } from "../fixtures/no_wait.ts";
import { until } from "./foreground_harness.ts";

const kernel = new Kernel();
const layout = readCgroupLayout(kernel);
const unified = layout.hierarchies.find(({ controllers }) => controllers.length === 0);
const isRoot = Deno.uid() === 0;

/** Notes what is called on another thread. */
class NotingKernel extends Kernel {
  readonly elsewhere = new Set<string>();

  override callAsync(name: string, ...args: Argument[]): Promise<number> {
    this.elsewhere.add(name);
    return super.callAsync(name, ...args);
  }

  override callAllAsync(calls: readonly Call[]): Promise<readonly number[]> {
    for (const { call } of calls) this.elsewhere.add(call);
    return super.callAllAsync(calls);
  }
}

const top = `/runc-deno-test-${Deno.pid}`;

/** Reasons to skip stand in the test's name. */
const needsV1 = { ignore: !isRoot || layout.mode === "v2" };
const needsUnified = { ignore: !isRoot || unified === undefined };

/** A layout as on a host that has nothing but the cgroup2 mount. */
const v2Layout: CgroupLayout = { mode: "v2", hierarchies: unified === undefined ? [] : [unified] };

/** What `waits` returns. It blocks. */
const run = <Result>(waits: Waits<Result>): Result => runWaits({ kernel }, waits);

interface Fixture {
  readonly manager: CgroupManager;
  /** A process of `argv`, outside the cgroup; ended with the test. */
  readonly start: (...argv: [string, ...string[]]) => Deno.ChildProcess;
  readonly send: (pid: number, signal: number) => void;
}

/** Runs `body` with a manager for `<top>/<name>`, then removes whatever is left below `top` and fails if something was. */
async function withManager(
  on: CgroupLayout,
  name: string,
  body: (fixture: Fixture) => void | Promise<void>,
): Promise<void> {
  const children: Deno.ChildProcess[] = [];
  const unifiedBefore = subtreeControl();
  const manager = createCgroupManager(on, { id: name, cgroupsPath: `${top}/${name}` }, {
    kernel,
    rootless: false,
    inUserNamespace: false,
  });
  const start = (command: string, ...args: string[]): Deno.ChildProcess => {
    const child = new Deno.Command(command, { args, stdin: "null", stdout: "piped", stderr: "piped" }).spawn();
    children.push(child);
    return child;
  };
  try {
    await body({ manager, start, send: (pid, signal) => void kernel.call("kill", pid, signal) });
  } finally {
    for (const child of children) await end(child);
    removeTop();
    restoreSubtreeControl(unifiedBefore);
  }
}

async function end(child: Deno.ChildProcess): Promise<void> {
  try {
    child.kill("SIGKILL");
  } catch {
    // It has ended.
  }
  await Promise.all([child.stdout.cancel(), child.stderr.cancel(), child.status].map((done) => done.catch(() => {})));
}

/** The directories of every hierarchy that this test owns and that exist. */
function leftOvers(): readonly string[] {
  return layout.hierarchies.map(({ mountPoint }) => mountPoint + top).filter(isDirectory);
}

function removeTop(): void {
  const options = { kernel, rootless: false, inUserNamespace: false };
  leftOvers().forEach((directory) => run(loadCgroupManager({ devices: directory, "": directory }, options).destroy()));
}

/** The v2 driver passes controllers down from the top: the host's own setting is put back. */
function subtreeControl(): readonly string[] {
  if (unified === undefined) return [];
  return Deno.readTextFileSync(`${unified.mountPoint}/cgroup.subtree_control`).split(/\s+/).filter((word) =>
    word !== ""
  );
}

function restoreSubtreeControl(before: readonly string[]): void {
  for (const added of subtreeControl().filter((controller) => !before.includes(controller))) {
    Deno.writeTextFileSync(`${unified?.mountPoint}/cgroup.subtree_control`, `-${added}`, { create: false });
  }
}

function isDirectory(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}

/** A process's cgroup by controller, as the kernel tells. */
function cgroupsOf(pid: number): Record<string, string> {
  const lines = parseProcCgroup(Deno.readTextFileSync(`/proc/${pid}/cgroup`));
  return Object.fromEntries(
    lines.flatMap(({ controllers, path }) =>
      (controllers.length === 0 ? [""] : controllers).map((name) => [name, path])
    ),
  );
}

/** The words that it prints. */
async function outputOf(child: Deno.ChildProcess): Promise<string> {
  return new TextDecoder().decode((await child.output()).stdout).trim().split(/\s+/).join(" ");
}

Deno.test({
  name: "v1 (root): create() and join() put a process into every hierarchy, destroy() leaves nothing",
  ...needsV1,
  fn: () =>
    withManager(layout, "joined", async ({ manager, start, send }) => {
      const child = start("sleep", "100");
      const other = cgroupsOf(Deno.pid);
      run(manager.create());
      run(manager.join(child.pid));
      const actual = cgroupsOf(child.pid);
      for (const controller of Object.keys(manager.paths)) {
        assertEquals(actual[controller], `${top}/joined`, controller);
      }
      assertEquals(Object.keys(manager.paths).toSorted(), Object.keys(actual).toSorted());
      assertEquals(cgroupsOf(Deno.pid), other);
      assertEquals(manager.processes(), [child.pid]);
      assert(manager.exists());
      assert(run(manager.kill(send)));
      assertEquals((await child.status).signal, "SIGKILL");
      run(manager.destroy());
      assertEquals(Object.values(manager.paths).filter(isDirectory), []);
      assert(!manager.exists());
      assert(!run(manager.kill(send)));
      run(manager.destroy());
    }),
});

for (const [mode, on, needs] of [["v1", layout, needsV1], ["v2", v2Layout, needsUnified]] as const) {
  Deno.test({
    name: `${mode} (root): the same on other threads`,
    ...needs,
    fn: () =>
      withManager(on, "async", async ({ manager, start, send }) => {
        const noting = new NotingKernel();
        const runAsync = <Result>(waits: Waits<Result>) => runWaitsAsync({ kernel: noting }, waits);
        const child = start("sleep", "100");
        await runAsync(manager.create());
        assert(noting.elsewhere.has("mkdir"));
        await runAsync(manager.join(child.pid));
        assert(noting.elsewhere.has("write"));
        assertEquals(manager.processes(), [child.pid]);
        await assertRejects(() => runAsync(manager.create()), RuncError, "container's cgroup is not empty");
        await runAsync(manager.setDevices([{ allow: false, access: "rwm" }]));
        await runAsync(manager.freeze());
        assertEquals(await runAsync(manager.freezerState()), "frozen");
        await assertRejects(() => runAsync(manager.destroy()), RuncError);
        assertEquals(manager.processes(), [child.pid]);
        assert(await runAsync(manager.kill(send)));
        assertEquals((await child.status).signal, "SIGKILL");
        await runAsync(manager.destroy());
        assert(noting.elsewhere.has("rmdir"));
        assert(!manager.exists());
      }),
  });
}

Deno.test({
  name: "v1 (root): a single-threaded process joins by itself through selfJoin's files",
  ...needsV1,
  fn: () =>
    withManager(layout, "self", ({ manager, start }) => {
      run(manager.create());
      const writes = manager.selfJoin.taskFiles.map(({ path }) => `echo 0 > ${path}`).join(" && ");
      // The shell is one thread, and `echo` is built in.
      const child = start("sh", "-c", `${writes} && exec sleep 100`);
      const devices = manager.paths["devices"] ?? "";
      until("the program", () => Deno.readTextFileSync(`/proc/${child.pid}/comm`) === "sleep\n");
      assertEquals(cgroupsOf(child.pid)["devices"], `${top}/self`);
      assertEquals(cgroupsOf(child.pid)["freezer"], `${top}/self`);
      assertEquals(manager.selfJoin.cloneInto, manager.paths[""]);
      assert(devices.endsWith(`${top}/self`));
    }),
});

Deno.test({
  name: "v1 (root): setDevices() of the default spec denies what it does not list, and a second time changes nothing",
  ...needsV1,
  fn: () =>
    withManager(layout, "devices", async ({ manager, start }) => {
      run(manager.create());
      const list = () =>
        Deno.readTextFileSync(`${manager.paths["devices"]}/devices.list`).trim().split("\n").toSorted();
      assertEquals(list(), ["a *:* rwm"]);
      for (let times = 0; times < 2; times++) {
        run(manager.setDevices([{ allow: false, access: "rwm" }]));
        assertEquals(
          list(),
          [
            "b *:* m",
            "c *:* m",
            "c 10:200 rwm",
            "c 136:* rwm",
            "c 1:3 rwm",
            "c 1:5 rwm",
            "c 1:7 rwm",
            "c 1:8 rwm",
            "c 1:9 rwm",
            "c 5:0 rwm",
            "c 5:2 rwm",
          ].toSorted(),
        );
      }
      run(manager.setDevices([{ allow: false, access: "rwm" }, {
        allow: true,
        type: "c",
        major: 1,
        minor: 11,
        access: "r",
      }]));
      assert(list().includes("c 1:11 r"));
      const child = start("sh", "-c", "read go; cat /dev/kmsg; head -c1 /dev/zero | wc -c");
      run(manager.join(child.pid));
      await end(child);
      run(manager.setDevices([]));
      assert(!list().includes("c 1:11 r"));
    }),
});

Deno.test({
  name: "v1 (root): create() refuses a cgroup with processes or a frozen one, and removes only what it made",
  ...needsV1,
  fn: () =>
    withManager(layout, "taken", async ({ manager, start }) => {
      const options = { kernel, rootless: false, inUserNamespace: false };
      const again = () => createCgroupManager(layout, { id: "x", cgroupsPath: `${top}/taken` }, options);
      const child = start("sleep", "100");
      run(manager.create());
      run(manager.join(child.pid));
      const refusal = assertThrows(() => run(again().create()), RuncError);
      assertEquals(refusal.message, "container's cgroup is not empty: 1 process(es) found");
      assertEquals(refusal.code, "cgroup-failed");
      assertEquals(manager.processes(), [child.pid]);
      await end(child);
      // Empty ones are taken over.
      until("their end", () => manager.processes().length === 0);
      run(again().create());
      run(manager.freeze());
      assertEquals(
        assertThrows(() => run(again().create()), RuncError).message,
        "container's cgroup unexpectedly frozen",
      );
      manager.thaw();
      run(manager.destroy());
    }),
});

Deno.test({
  name: "v1 (root): freeze(), thaw() and the state; a parent's freeze is not the container's",
  ...needsV1,
  fn: () =>
    withManager(layout, "frozen", async ({ manager, start, send }) => {
      const child = start("sleep", "100");
      run(manager.create());
      run(manager.join(child.pid));
      assertEquals(run(manager.freezerState()), "running");
      run(manager.freeze());
      assertEquals(run(manager.freezerState()), "frozen");
      manager.thaw();
      assertEquals(run(manager.freezerState()), "running");
      const parent = `${dirname(manager.paths["freezer"] ?? "")}/freezer.state`;
      Deno.writeTextFileSync(parent, "FROZEN", { create: false });
      assertEquals(run(manager.freezerState()), "running");
      Deno.writeTextFileSync(parent, "THAWED", { create: false });
      // A frozen container dies as well.
      run(manager.freeze());
      assert(run(manager.kill(send)));
      assertEquals((await child.status).signal, "SIGKILL");
      run(manager.destroy());
      assertEquals(run(manager.freezerState()), "running");
    }),
});

Deno.test({
  name: "v1 (root): without cgroup2, kill() signals every process of the cgroup and those below it",
  ...needsV1,
  fn: () =>
    withManager(
      { mode: "v1", hierarchies: layout.hierarchies.filter((one) => one !== unified) },
      "each",
      async (fixture) => {
        const { manager, start, send } = fixture;
        const children = [start("sleep", "100"), start("sleep", "100")];
        const [inside, below] = children;
        run(manager.create());
        assertEquals(manager.paths[""], undefined);
        const devices = `${manager.paths["devices"]}`;
        Deno.mkdirSync(`${devices}/below`);
        if (inside !== undefined) run(manager.join(inside.pid));
        Deno.writeTextFileSync(`${devices}/below/cgroup.procs`, String(below?.pid), { create: false });
        assertEquals(manager.processes().toSorted(), children.map(({ pid }) => pid).toSorted());
        // One below that is frozen by itself ends, too.
        const freezer = `${manager.paths["freezer"]}/below`;
        Deno.mkdirSync(freezer);
        Deno.writeTextFileSync(`${freezer}/cgroup.procs`, String(below?.pid), { create: false });
        Deno.writeTextFileSync(`${freezer}/freezer.state`, "FROZEN", { create: false });
        assert(run(manager.kill(send)));
        for (const child of children) assertEquals((await child.status).signal, "SIGKILL");
        run(manager.destroy());
        assert(!isDirectory(devices));
      },
    ),
});

Deno.test({
  name: "v1 (root): a failing create() leaves nothing, a failing destroy() names what is left",
  ...needsV1,
  fn: () =>
    withManager(layout, "half", ({ manager, start }) => {
      // Memory is made after cpuset and devices: there, a file system without cgroups refuses.
      const broken = loadCgroupManager({ ...manager.paths, memory: "/proc/runc-deno-test/x" }, {
        kernel,
        rootless: false,
        inUserNamespace: false,
      });
      assertInstanceOf(assertThrows(() => run(broken.create())), RuncError);
      assertEquals(leftOvers(), []);
      const child = start("sleep", "100");
      run(manager.create());
      run(manager.join(child.pid));
      const pids = loadCgroupManager({ pids: manager.paths["pids"] ?? "" }, {
        kernel,
        rootless: false,
        inUserNamespace: false,
      });
      assertEquals(
        assertThrows(() => run(pids.destroy()), RuncError).message,
        `Failed to remove paths: ${manager.paths["pids"]}`,
      );
    }),
});

Deno.test({
  name: "v2 (root): create(), join(), freeze(), kill() and destroy() on the cgroup2 mount",
  ...needsUnified,
  fn: () =>
    withManager(v2Layout, "unified", async ({ manager, start, send }) => {
      const options = { kernel, rootless: false, inUserNamespace: false };
      const child = start("sleep", "100");
      run(manager.create());
      run(manager.join(child.pid));
      assertEquals(Object.keys(manager.paths), [""]);
      assertEquals(cgroupsOf(child.pid)[""], `${top}/unified`);
      const controllers = Deno.readTextFileSync(`${unified?.mountPoint}/cgroup.controllers`);
      assertEquals(Deno.readTextFileSync(`${manager.paths[""]}/cgroup.controllers`), controllers);
      const again = createCgroupManager(v2Layout, { id: "x", cgroupsPath: `${top}/unified` }, options);
      assertThrows(() => run(again.create()), RuncError, "container's cgroup is not empty: 1 process(es) found");
      run(manager.freeze());
      assertEquals(run(loadCgroupManager(manager.paths, options).freezerState()), "frozen");
      assert(run(manager.kill(send)));
      assertEquals((await child.status).signal, "SIGKILL");
      manager.thaw();
      assertEquals(run(manager.freezerState()), "running");
      run(manager.destroy());
      assert(!manager.exists());
    }),
});

Deno.test({
  name: "v2 (root): kill() ends what is frozen below, one by one too where the kernel refuses cgroup.kill",
  ...needsUnified,
  fn: () =>
    withManager(v2Layout, "frozen-below", async ({ manager, start, send }) => {
      const child = start("sleep", "100");
      run(manager.create());
      const directory = manager.paths[""]!;
      // The kernel refuses cgroup.kill in a threaded cgroup; before 5.14 no cgroup has it.
      const write = (file: string, text: string) => Deno.writeTextFileSync(file, text, { create: false });
      const passedOn = Deno.readTextFileSync(`${dirname(directory)}/cgroup.subtree_control`).trim();
      const back = passedOn.split(" ").filter((word) => word !== "").map((word) => `-${word}`).join(" ");
      write(`${dirname(directory)}/cgroup.subtree_control`, back);
      write(`${directory}/cgroup.type`, "threaded");
      const below = `${directory}/below`;
      Deno.mkdirSync(below);
      write(`${below}/cgroup.type`, "threaded");
      write(`${below}/cgroup.procs`, `${child.pid}`);
      write(`${below}/cgroup.freeze`, "1");
      assertThrows(() => write(`${directory}/cgroup.kill`, "1"), Error, "os error 95");
      assert(run(manager.kill(send)));
      assertEquals((await child.status).signal, "SIGKILL");
      run(manager.destroy());
    }),
});

Deno.test({
  name: "v2 (root): exec follows init where the container's cgroup takes no process",
  ...needsUnified,
  fn: () =>
    withManager(v2Layout, "left", ({ manager, start }) => {
      const init = start("sleep", "100").pid;
      run(manager.create());
      run(manager.join(init));
      const own = manager.paths[""] ?? "";
      assertEquals(manager.selfJoinOfExec(init).cloneInto, own);
      // Init moves down, and passes controllers on; a host that keeps them all for v1 has none to pass.
      Deno.mkdirSync(`${own}/below`);
      Deno.writeTextFileSync(`${own}/below/cgroup.procs`, String(init), { create: false });
      const [controller] = Deno.readTextFileSync(`${own}/cgroup.controllers`).trim().split(" ");
      if (controller) {
        Deno.writeTextFileSync(`${own}/cgroup.subtree_control`, `+${controller}`, { create: false });
        assertEquals(manager.selfJoinOfExec(init).cloneInto, `${own}/below`);
      }
      // Init moves away, and its cgroup is removed.
      const elsewhere = `${dirname(own)}/elsewhere`;
      Deno.mkdirSync(elsewhere);
      Deno.writeTextFileSync(`${elsewhere}/cgroup.procs`, String(init), { create: false });
      run(manager.destroy());
      assertEquals(manager.selfJoinOfExec(init).cloneInto, elsewhere);
    }),
});

Deno.test({
  name: "v2 (root): setDevices() attaches one program that refuses what it does not list",
  ...needsUnified,
  fn: () =>
    withManager(v2Layout, "filter", async ({ manager, start }) => {
      run(manager.create());
      using directory = open(kernel, manager.paths[""] ?? "", openFlag(kernel.arch).O_DIRECTORY);
      const programs = () => run(attachedPrograms(bpfCall(kernel), directory.number));
      const inside = (script: string) =>
        outputOf(start("sh", "-c", `echo $$ > ${manager.paths[""]}/cgroup.procs; ${script}`));
      await withTemporaryNode(async (node, probe) => {
        assertEquals(await inside(probe), "made readable writable null");
        for (let times = 0; times < 2; times++) {
          run(manager.setDevices([{ allow: false, access: "rwm" }]));
          assertEquals(programs().length, 1);
        }
        // runc lets a container make any node; using it is another thing.
        assertEquals(await inside(probe), "made null");
        run(manager.setDevices([{ allow: false, access: "rwm" }, { ...kmsg, allow: true, access: "r" }]));
        assertEquals(await inside(probe), "made readable null");
        assertEquals(
          await inside(`( : <> ${node} ) 2>&1 | grep -o 'Operation not permitted'`),
          "Operation not permitted",
        );
        run(manager.setDevices([{ allow: true, access: "rwm" }, { ...kmsg, allow: false, access: "wm" }]));
        assertEquals(await inside(probe), "readable null");
        assertEquals(programs().length, 1);
      });
    }),
});

/** A device that no default rule is about. */
const kmsg = { type: "c", major: 1, minor: 11 } as const;

/** Gives `body` the path of a node of {@link kmsg} and a script that makes it anew and says what it may do with it. */
async function withTemporaryNode(body: (node: string, probe: string) => Promise<void>): Promise<void> {
  const directory = Deno.makeTempDirSync();
  const node = `${directory}/kmsg`;
  try {
    await new Deno.Command("mknod", { args: [node, "c", String(kmsg.major), String(kmsg.minor)] }).output();
    await body(
      node,
      `exec 2>&-; mknod ${node}2 c 1 11 && echo made; rm -f ${node}2; ` +
        `( : < ${node} ) && echo readable; ( : >> ${node} ) && echo writable; echo x > /dev/null && echo null; true`,
    );
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

Deno.test({
  name: "v2 by systemd (root): the unit's cgroup is where systemd says, and not where it was expected",
  ...needsUnified,
  fn: () =>
    withManager(v2Layout, "unit", async ({ start, send }) => {
      const child = start("sleep", "100");
      const { mountPoint } = unified!;
      const real = `${mountPoint}${top}/another.slice/_odd.scope`;
      const asked: string[] = [];
      // What of systemd the driver needs: it makes the cgroup, and puts the process in.
      const systemd = {
        startTransientUnit: () =>
          noWait(() => {
            Deno.mkdirSync(real, { recursive: true });
            Deno.writeTextFileSync(`${real}/cgroup.procs`, String(child.pid), { create: false });
          }),
        cgroupOf: (unit: string) =>
          noWait(() => {
            asked.push(unit);
            return `${top}/another.slice/_odd.scope`;
          }),
        stopUnit: () => noWait(() => {}),
      } as unknown as Systemd;
      const manager = new SystemdV2(`${mountPoint}${top}/odd.scope`, {
        kernel,
        systemd,
        unit: { name: "odd.scope", slice: "any.slice", sliceFrom: "", container: "odd" },
        properties: [],
        warn: (message) => assert(false, message),
        rootless: false,
        inUserNamespace: false,
        explicitPath: true,
        loaded: false,
        refused: false,
        unifiedMount: mountPoint,
      });
      run(manager.create(undefined, child.pid));
      assertEquals([manager.paths, manager.processes(), asked], [{ "": real }, [child.pid], ["odd.scope"]]);
      run(manager.freeze());
      assertEquals(Deno.readTextFileSync(`${real}/cgroup.freeze`), "1\n");
      run(manager.kill(send));
      await child.status;
      run(manager.destroy());
      assertEquals(isDirectory(real), false);
    }),
});
