import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { Errno } from "../../../../lib/ffi/errno.ts";
import { runHook, secondsText, statusText } from "../../../../lib/libcontainer/launch/host_hooks.ts";
import type { Runtime } from "../../../../lib/libcontainer/runtime.ts";
import type { Hook } from "../../../../lib/specs/config.ts";
import { runtimeOn } from "../../host/containers.ts";
import type { FakeHost, Program } from "../../host/host.ts";
import { Notice } from "../../host/open_files.ts";
import { withHost } from "../../host/with_host.ts";

const state = { ociVersion: "1.3.0", id: "box", status: "creating", pid: 5, bundle: "/bundle" } as const;

function run(host: FakeHost, program: Program | undefined, hook: Partial<Hook> = {}, more: Partial<Runtime> = {}) {
  if (program !== undefined) host.programs.set("/bin/hook", program);
  const { runtime, log, wait } = runtimeOn(host, more);
  const does = { name: "prestart", index: 2, hook: { path: "/bin/hook", ...hook }, cwd: "/bundle" } as const;
  const before = host.openFiles;
  try {
    wait(runHook(runtime, does, state));
  } finally {
    assertEquals(host.openFiles, before);
    assertEquals(host.others, [], "the hook is reaped");
  }
  return log;
}

Deno.test("a hook gets state, arguments, environment and directory, and no descriptor of ours", () => {
  withHost((host) => {
    let seen: unknown;
    host.self.open(new Notice("the caller's"), { cloexec: false });
    const log = run(
      host,
      // deno-lint-ignore require-yield
      function* ({ argv, environment, cwd, descriptors }) {
        const text = new TextDecoder().decode(descriptors.get(0)!.file.read(999)!);
        seen = { argv, environment, cwd, fds: [...descriptors.keys()], state: JSON.parse(text) };
        descriptors.get(1)!.file.write(new TextEncoder().encode("said"));
        return 0;
      },
      { args: ["hook", "one"], env: ["A=1"] },
    );
    assertEquals(seen, { argv: ["hook", "one"], environment: ["A=1"], cwd: "/bundle", fds: [0, 1, 2], state });
    assertEquals(log, ["debug: prestart hook #2: stdout: said, stderr: , after 0 ms"]);
  });
});

Deno.test("a hook without args and env has its path, and the runtime's environment", () => {
  withHost((host) => {
    let seen: unknown;
    const raw = [new TextEncoder().encode("RAW=x\0") as Uint8Array<ArrayBuffer>];
    // deno-lint-ignore require-yield
    const program: Program = function* ({ argv, environment }) {
      seen = [argv, environment];
      return 0;
    };
    run(host, program, {}, { environment: { B: "2" }, rawEnvironment: raw });
    assertEquals(seen, [["/bin/hook"], ["B=2", "RAW=x"]]);
  });
});

Deno.test("a hook has the caller's limit of open files, and we have ours again", () => {
  withHost((host) => {
    let seen: unknown;
    host.self.limits.set(7, { soft: 5000n, hard: 9000n });
    // deno-lint-ignore require-yield
    const program: Program = function* ({ limits }) {
      seen = limits.get(7);
      return 0;
    };
    run(host, program, {}, { softFileLimit: 77 });
    assertEquals(seen, { soft: 77n, hard: 9000n });
    assertEquals(host.self.limits.get(7), { soft: 5000n, hard: 9000n });
  });
});

const failures: readonly { name: string; program?: Program; hook?: Partial<Hook>; message: string }[] = [
  {
    name: "exits with a code",
    // deno-lint-ignore require-yield
    *program(process) {
      process.file(2).write(new TextEncoder().encode("why"));
      return 4;
    },
    message: "error running prestart hook #2: exit status 4, stdout: , stderr: why",
  },
  {
    name: "is killed",
    // deno-lint-ignore require-yield
    *program(process) {
      process.end({ signal: 11 });
    },
    message: "error running prestart hook #2: signal: segmentation fault, stdout: , stderr: ",
  },
  { name: "is missing", message: "error running prestart hook #2: fork/exec /bin/hook: no such file or directory" },
  {
    name: "takes too long",
    *program() {
      yield () => false;
    },
    hook: { timeout: 2 },
    message: "error running prestart hook #2: hook ran past specified timeout of 2.0s",
  },
  {
    name: "is reaped by our caller, who ignores SIGCHLD",
    // deno-lint-ignore require-yield
    *program(process, host) {
      process.end({ code: 0 });
      host.processes.delete(process.pid);
    },
    message: "the exit status of hook 1001 is unknown",
  },
];

for (const { name, program, hook, message } of failures) {
  Deno.test(`a hook that ${name} is an error`, () => {
    withHost((host) => {
      const error = assertThrows(() => run(host, program, hook), RuncError);
      assertEquals([error.code, error.field, error.message], ["hook-failed", "/hooks/prestart/2", message]);
    });
  });
}

Deno.test("a hook that cannot be watched by a pidfd is looked at now and then", () => {
  withHost((host) => {
    host.refuse("pidfd_open", Errno.EPERM);
    const before = host.nowMs;
    run(host, function* (_, { sleep }) {
      yield sleep.call(host, 50);
      return 0;
    });
    assertEquals(host.nowMs - before, 60, "three looks, 20 ms apart");
  });
});

Deno.test("a signal ends a hook and the command; the hook is not blamed", () => {
  withHost((host) => {
    const notice = new Notice("signals");
    const interrupts = {
      fd: host.self.open(notice),
      check: () => {
        throw new RuncError("interrupted", "interrupted by SIGTERM", { signal: 15 });
      },
    };
    const error = assertThrows(() =>
      run(
        host,
        function* () {
          notice.pieces.push(new Uint8Array([15]));
          yield () => false;
        },
        {},
        { interrupts },
      ), RuncError);
    assertEquals([error.code, error.message, error.signal], ["interrupted", "interrupted by SIGTERM", 15]);
  });
});

Deno.test("numbers in texts are Go's", () => {
  assertEquals([2, 0.5].map(secondsText), ["2.0s", "0.5s"]);
  assertEquals([{ code: 3 }, { signal: 9 }, { signal: 64 }].map(statusText), [
    "exit status 3",
    "signal: killed",
    "signal: 64",
  ]);
});
