import { assertEquals, assertRejects } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { Errno } from "../../../../lib/ffi/errno.ts";
import { Container } from "../../../../lib/libcontainer/container/container.ts";
import { execOutput, runOutput } from "../../../../lib/libcontainer/container/output.ts";
import { HEADER_SIZE } from "../../../../lib/plan/native/format.ts";
import { leftovers, runtimeOn, specOn } from "../../host/containers.ts";
import { bpfFilter } from "../../host/filters.ts";
import type { FakeHost } from "../../host/host.ts";
import type { Process, Script } from "../../host/processes.ts";
import { type Conduct, stageOf } from "../../host/stage.ts";
import { withHost } from "../../host/with_host.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** A program that reads all of its input and writes it to both outputs. */
function* echo(process: Process): Script {
  let text = "";
  for (;;) {
    yield () => (process.file(0).events() & 17) !== 0;
    const piece = process.file(0).read(65536)!;
    if (piece.length === 0) break;
    text += decode(piece);
  }
  process.file(1).write(encode(`out ${text}`));
  process.file(2).write(encode(`err ${text.length}`));
  return 3;
}

const conduct: Conduct = { cgroup: "/box", namespaces: ["pid", "mnt", "net"], startBy: "parent", program: echo };

function prepared(host: FakeHost, more: Partial<Conduct> = {}) {
  const logged = runtimeOn(host);
  const spec = specOn(host, logged);
  host.stage = stageOf({ ...conduct, ...more });
  return { runtime: logged.runtime, spec, logged };
}

Deno.test("runOutput passes input and collects output, code and both streams; nothing is left", async () => {
  await withHost(async (host) => {
    const { runtime, spec } = prepared(host);
    const { code, signal, stdout, stderr } = await runOutput(runtime, { id: "box", spec, stdin: "hello" });
    assertEquals([code, signal, decode(stdout), decode(stderr)], [3, undefined, "out hello", "err 5"]);
    assertEquals(leftovers(host), []);
  });
});

Deno.test("an input larger than a pipe arrives as a whole", async () => {
  await withHost(async (host) => {
    const { runtime, spec } = prepared(host);
    const stdin = encode("x".repeat(200_000)) as Uint8Array<ArrayBuffer>;
    const { stderr } = await runOutput(runtime, { id: "box", spec, stdin });
    assertEquals(decode(stderr), "err 200000");
  });
});

Deno.test("a process that does not read its input is no error", async () => {
  await withHost(async (host) => {
    const program = function* (process: Process): Script {
      process.close(0);
      process.file(1).write(encode("done"));
      yield host.sleep(5);
      return 0;
    };
    const { runtime, spec } = prepared(host, { program });
    const { code, stdout } = await runOutput(runtime, { id: "box", spec, stdin: "x".repeat(200_000) });
    assertEquals([code, decode(stdout)], [0, "done"]);
    assertEquals(leftovers(host), []);
  });
});

Deno.test("an aborted signal kills the process, and the output is what it has written until then", async () => {
  await withHost(async (host) => {
    const aborts = new AbortController();
    const program = function* (process: Process): Script {
      process.file(1).write(encode("so far"));
      yield host.sleep(50);
      aborts.abort();
      yield () => false;
    };
    const { runtime, spec } = prepared(host, { program });
    const { code, signal, stdout } = await runOutput(runtime, { id: "box", spec, signal: aborts.signal });
    assertEquals([code, signal, decode(stdout)], [137, 9, "so far"]);
    assertEquals(leftovers(host), []);
    await assertRejects(() => runOutput(runtime, { id: "box", spec, signal: aborts.signal }), DOMException);
    assertEquals(leftovers(host), []);
  });
});

Deno.test("a process with a terminal is refused", async () => {
  await withHost(async (host) => {
    const { runtime, spec } = prepared(host);
    const config = { ...spec.config, process: { ...spec.config.process!, terminal: true } };
    const error = await assertRejects(() => runOutput(runtime, { id: "box", spec: { ...spec, config } }), RuncError);
    assertEquals([error.code, error.field], ["usage", "/process/terminal"]);
  });
});

Deno.test("a failed start leaves no container", async () => {
  await withHost(async (host) => {
    const { runtime, spec } = prepared(host, { atCreated: (init) => init.process.end({ code: 1 }) });
    await assertRejects(() => runOutput(runtime, { id: "box", spec }), RuncError, "ended before it was ready");
    assertEquals(leftovers(host), []);
  });
});

Deno.test("what fails at the start is the error, and ends the container", async () => {
  await withHost(async (host) => {
    const { runtime, spec } = prepared(host, { atStart: (init) => init.report("error", HEADER_SIZE, Errno.EACCES) });
    const error = await assertRejects(() => runOutput(runtime, { id: "box", spec }), RuncError);
    assertEquals([error.code, error.errnoName], ["step-failed", "EACCES"]);
    assertEquals(leftovers(host), []);
  });
});

Deno.test("a filter that cannot be loaded at the start is an error of the container's init", async () => {
  await withHost(async (host) => {
    const logged = runtimeOn(host);
    const spec = specOn(host, logged, (config) => {
      config.linux.seccomp = { defaultAction: "SCMP_ACT_ALLOW" } as typeof config.linux.seccomp;
    });
    host.stage = stageOf({ ...conduct, atStart: (init) => init.process.end({ signal: 5 }) });
    const options = { id: "box", spec, startBy: "parent", stdio: [0, 1, 2], seccomp: bpfFilter() } as const;
    const { container, process } = await Container.create(logged.runtime, options);
    using _ = process;
    const error = await assertRejects(() => process.start(), RuncError);
    assertEquals(error.message, "container init ended before it was ready: signal: trace/breakpoint trap");
    await container.destroy();
  });
});

Deno.test("execOutput runs another process of the container", async () => {
  await withHost(async (host) => {
    const { runtime, spec, logged } = prepared(host, { startBy: "fifo", program: undefined });
    const { container, process } = await Container.create(runtime, {
      id: "box",
      spec,
      startBy: "fifo",
      stdio: [0, 1, 2],
    });
    process[Symbol.dispose]();
    await container.start();
    const before = host.openFiles;
    host.stage = stageOf({ isExec: true, program: echo });
    const asked = { args: ["cat"], cwd: "/", user: { uid: 0, gid: 0 } };
    const { code, stdout } = await execOutput(runtime, container, { process: asked, stdin: "there" });
    assertEquals([code, decode(stdout)], [3, "out there"]);
    assertEquals(host.openFiles, before);
    void logged;
    await container.delete({ force: true });
  });
});

Deno.test("a program sees a container's life by promises", async () => {
  await withHost(async (host) => {
    const { runtime, spec } = prepared(host, { startBy: "fifo", program: undefined });
    const seen: unknown[] = [];
    const { container, process } = await Container.create(runtime, {
      id: "box",
      spec,
      startBy: "fifo",
      stdio: [0, 1, 2],
      onProcess: (pending) => seen.push(pending.id),
    });
    using _ = process;
    assertEquals(seen, ["box"]);
    assertEquals([process.pid, process.hasEnded, process.pidfd === undefined], [container.pid, false, false]);
    assertEquals([await container.status(), (await container.state()).status], ["created", "created"]);
    await container.start(() => seen.push("start"));
    await container.poststart();
    assertEquals([seen, await container.status()], [["box", "start"], "running"]);
    assertEquals(container.processes(), [container.pid]);
    await container.pause();
    await container.resume();
    await container.update({ pids: { limit: 9 } });
    assertEquals(host.fs.get("/sys/fs/cgroup/pids/box/pids.max").text, "9\n");
    assertEquals([container.bundle, container.usesSystemd, container.rootlessCgroups], ["/bundle", false, false]);
    assertEquals([container.rootOwner, container.rdtGroup, container.compileSeccomp()], [
      { uid: 0, gid: 0 },
      undefined,
      undefined,
    ]);
    assertEquals(container.removal.kind, "directories");
    assertEquals(Container.ids(runtime), ["box"]);
    assertEquals(process.signal(0), 0);
    await container.kill(9);
    assertEquals(await process.wait(), { signal: 9 });
    await Container.load(runtime, "box").destroy();
    assertEquals(Container.ids(runtime), []);
    await assertRejects(() => container.delete(), RuncError, "container does not exist");
  });
});

Deno.test("aborting a process ends it", async () => {
  await withHost(async (host) => {
    const { runtime, spec } = prepared(host, { program: undefined });
    const { container, process } = await Container.create(runtime, {
      id: "box",
      spec,
      startBy: "parent",
      stdio: [0, 1, 2],
    });
    await process.start();
    await process.abort();
    process[Symbol.dispose]();
    await container.destroy();
    assertEquals(leftovers(host), []);
  });
});
