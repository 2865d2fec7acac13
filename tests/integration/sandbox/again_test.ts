/** Sandboxes with the same options share what can be shared, and nothing else. As root. */

import { assert, assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { KeptImages } from "../../../lib/libcontainer/launch/kept_images.ts";
import { RuncError, Sandbox, type SandboxOptions } from "../../../mod.ts";
import { cgroupsNamed } from "../leftovers.ts";

const directory = Deno.makeTempDirSync({ prefix: "runc-sandbox-again-" });
addEventListener("unload", () => Deno.removeSync(directory, { recursive: true }));

/** How often an image was found while `action` ran. */
async function imagesFound(action: () => Promise<void>): Promise<number> {
  const { get } = KeptImages.prototype;
  let found = 0;
  KeptImages.prototype.get = function (...args) {
    const image = get.apply(this, args);
    if (image !== undefined) found++;
    return image;
  };
  try {
    await action();
    return found;
  } finally {
    KeptImages.prototype.get = get;
  }
}

const cgroups = async (sandbox: Sandbox) =>
  await sandbox.sh`cat /proc/self/cgroup; hostname; cat /proc/self/status`.text();

Deno.test("the second sandbox is made from the image of the first, in its own cgroups", async () => {
  await using first = await Sandbox.create({ directory });
  const texts = [await cgroups(first)];
  const found = await imagesFound(async () => {
    await using second = await Sandbox.create({ directory });
    texts.push(await cgroups(second));
    const own = Deno.readTextFileSync(`/proc/${second.pid}/cgroup`);
    assert(own.includes(`/runc-${second.id}`) && !own.includes(first.id), own);
  });
  // Its creation, and that of the shell.
  assertEquals(found, 2);
  const [one, other] = texts.map((text) =>
    text.replaceAll(/^(Pid|Tgid|NSpid|NStgid|NSpgid|NSsid|.*ctxt.*|Vm.*|Rss.*|PPid):.*\n/gm, "")
  );
  assertEquals(other, one);
});

Deno.test("other options give another sandbox", async () => {
  const hostnames: string[] = [];
  for (const hostname of ["one", "two", "one"]) {
    await using sandbox = await Sandbox.create({ directory, hostname });
    hostnames.push((await sandbox.sh`hostname`.text()).trim());
  }
  assertEquals(hostnames, ["one", "two", "one"]);
});

Deno.test("other arguments, variables and directories give another process", async () => {
  await using sandbox = await Sandbox.create({ directory });
  const say = async (args: readonly string[], env: Record<string, string>, cwd: string) => {
    const child = await sandbox.spawn("sh", { args: ["-c", "echo $0 $X $PWD", ...args], env, cwd, stdout: "piped" });
    return (await child.output()).stdoutText?.trim();
  };
  const said = [
    await say(["a"], { X: "1" }, "/tmp"),
    await say(["b"], { X: "1" }, "/tmp"),
    await say(["a"], { X: "2" }, "/tmp"),
    await say(["a"], { X: "1" }, "/run"),
    await say(["a"], { X: "1" }, "/tmp"),
  ];
  assertEquals(said, ["a 1 /tmp", "b 1 /tmp", "a 2 /tmp", "a 1 /run", "a 1 /tmp"]);
});

Deno.test("a failure is told as the first time, with the names of this sandbox", async () => {
  const messages: string[] = [];
  const found = await imagesFound(async () => {
    for (let time = 0; time < 2; time++) {
      await using sandbox = await Sandbox.create({ directory });
      const error = await assertRejects(() => sandbox.spawn("/no/such/program"), RuncError);
      assertEquals(error.code, "command-failed");
      messages.push(`${error.step} ${error.message}`.replaceAll(sandbox.id, "ID"));
    }
  });
  assert(found >= 1, `${found}`);
  assertMatch(messages[0]!, /\/no\/such\/program/);
  assertEquals(messages[1], messages[0]);
});

Deno.test("what has gone from the host is missed at once: the source of a mount, the skeleton of the root", async () => {
  const source = Deno.makeTempDirSync({ dir: directory });
  const options: SandboxOptions = { directory, mounts: [{ source, target: "/data" }] };
  await (await Sandbox.create(options)).close();
  Deno.removeSync(source);
  await assertRejects(() => Sandbox.create(options), RuncError, source);
  for (const { name } of Deno.readDirSync(`${directory}/roots`)) {
    Deno.removeSync(`${directory}/roots/${name}`, { recursive: true });
  }
  await using sandbox = await Sandbox.create({ directory });
  assertEquals(await sandbox.sh`echo there`.text(), "there\n");
});

Deno.test("a file that becomes a directory is mounted as what it is", async () => {
  const source = `${directory}/source`;
  const options: SandboxOptions = { directory, mounts: [{ source, target: "/data" }] };
  const kinds: string[] = [];
  for (const make of [() => Deno.writeTextFileSync(source, "text"), () => Deno.mkdirSync(source)]) {
    make();
    await using sandbox = await Sandbox.create(options);
    kinds.push((await sandbox.sh`stat -c %F /data`.text()).trim());
    Deno.removeSync(source);
  }
  assertNotEquals(kinds[0], kinds[1]);
  assertEquals(kinds, ["regular file", "directory"]);
});

Deno.test("what a caller changes in its options reaches no other sandbox, and no process of this one", async () => {
  const user = { uid: 1000, gid: 1000 };
  const mine = { directory, hostname: "changed", user };
  await using first = await Sandbox.create(mine);
  user.uid = 0;
  assertEquals(await first.sh`id -u`.text(), "1000\n");
  await using second = await Sandbox.create({ ...mine, user: { uid: 1000, gid: 1000 } });
  assertEquals(await second.sh`id -u`.text(), "1000\n");
});

Deno.test("an option of a prototype reaches only its own sandbox", async () => {
  await using first = await Sandbox.create(Object.create({ hostname: "inherited" }, {
    directory: { value: directory, enumerable: true },
  }));
  assertEquals(await first.sh`hostname`.text(), "inherited\n");
  await using second = await Sandbox.create({ directory });
  assertEquals(await second.sh`hostname`.text(), "sandbox\n");
});

Deno.test("a profile may have numbers that JSON cannot hold", async () => {
  const compared = (value: number | bigint) => ({
    names: ["sethostname"],
    action: "SCMP_ACT_ERRNO",
    errnoRet: 1,
    args: [{ index: 1, value, op: "SCMP_CMP_NE" }],
  });
  const options = (value: number | bigint) =>
    ({ directory, seccomp: { defaultAction: "SCMP_ACT_ALLOW", syscalls: [compared(value)] } }) as const;
  for (const value of [0xffff_ffff_ffff_fffen, 0xffff_ffff_ffff_ffffn, 0xffff_ffff_ffff_ffffn, 1]) {
    await using sandbox = await Sandbox.create(options(value));
    assertEquals(await sandbox.sh`echo there`.text(), "there\n");
  }
});

Deno.test("later sandboxes have the same limits and device rules, and on v1 only cgroups that they need", async () => {
  const read = (path: string) => Deno.readTextFileSync(path).trim();
  const names = (path: string) => [...Deno.readDirSync(path)].map(({ name }) => name);
  const of = ({ id }: Sandbox) =>
    cgroupsNamed(id).map((path) => {
      const files = ["devices.list", "memory.limit_in_bytes", "memory.max", "pids.max", "cpu.cfs_quota_us", "cpu.max"];
      const values = files.filter((file) => names(path).includes(file)).map((file) =>
        `${file} ${read(`${path}/${file}`)}`
      );
      return [path.replace(id, "ID"), ...values];
    });
  const options = { directory, memory: "64MiB", pids: 17, cpus: 0.5 };
  await using first = await Sandbox.create(options);
  await using second = await Sandbox.create(options);
  assertEquals(of(second), of(first));
  const all = of(first).flat().join("\n");
  for (const limit of ["pids.max 17", "67108864", "50000", "c 1:3 rwm"]) {
    // Device rules of v2 are a program, which has no file.
    if (limit.startsWith("c ") && !all.includes("devices.list")) continue;
    assert(all.includes(limit), all);
  }
  for (const name of ["blkio", "cpuset", "cpuacct", "perf_event", "systemd"]) {
    assert(!all.includes(`/sys/fs/cgroup/${name}/`), all);
  }
});
