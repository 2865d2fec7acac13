/** What is known of stage, helper and init, and how they are ended. The conversation itself: conversation_test.ts. */

import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { Errno } from "../../../../lib/ffi/errno.ts";
import { HEADER_SIZE } from "../../../../lib/plan/native/format.ts";
import { createOn, type Creating, leftovers, type Logged, runtimeOn } from "../../host/containers.ts";
import { type FakeHost, file, type Program } from "../../host/host.ts";
import { Notice, PlainFile, type Socket } from "../../host/open_files.ts";
import type { Process } from "../../host/processes.ts";
import { type Conduct, Speaker } from "../../host/stage.ts";
import { withHost } from "../../host/with_host.ts";

function failing(host: FakeHost, logged: Logged, creating: Creating): RuncError {
  return assertThrows(() => createOn(host, logged, creating), RuncError);
}

/** A stage that says this once it may go on, and ends. */
function saying(say: (me: Speaker) => void): Program {
  return function* (process, host) {
    const me = new Speaker(process, host);
    yield* me.await();
    say(me);
    return 0;
  };
}

/** Another process has all descriptors of this one. */
function share(process: Process, holder: Process): void {
  for (const [fd, { file }] of process.descriptors) {
    holder.descriptors.set(fd, { file: file.retain(), cloexec: true });
  }
}

Deno.test("a pid that is no child of ours is refused, and its process is not touched", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    const foreign = host.start("foreign", undefined, host.start("other"));
    for (const pid of [foreign.pid, 4_000_000]) {
      const error = failing(host, logged, { stage: saying((me) => me.say("child", pid)) });
      assertEquals(error.code, "protocol");
      assertEquals(
        error.message.endsWith(`sent ${pid} as the pid of init, which is no new child of the runtime`),
        true,
      );
    }
    assertEquals([foreign.hasEnded, foreign.signals], [false, []]);
    assertEquals(host.openFiles, []);
  });
});

Deno.test("descriptors of refused messages are closed", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    const passed = new PlainFile(file(), "passed").retain();
    const requests: Conduct["requests"] = function* (init) {
      init.say("target", 0, { fds: [passed, passed] });
      yield () => false;
    };
    const error = failing(host, logged, { conduct: { requests } });
    assertEquals([error.code, passed.refs], ["protocol", 1]);
    assertEquals(leftovers(host), []);
  });
});

Deno.test("warnings are logged, and the container is created", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    // Places in the plan that have no warning are ignored.
    const atCreated = (init: Speaker) => {
      for (let at = HEADER_SIZE; at < HEADER_SIZE + 4000; at += 4) init.report("warning", at, Errno.EPERM);
    };
    using _ = createOn(host, logged, { conduct: { atCreated } }).process;
    const warnings = logged.log.filter((line) => line.startsWith("warning: "));
    assertEquals(warnings.length > 0 && warnings.every((line) => line.endsWith(": operation not permitted")), true);
  });
});

Deno.test("an init that has ended while another process holds its socket does not make us wait", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    const atCreated = (init: Speaker) => {
      share(init.process, host.start("holder", undefined, init.process));
      init.process.end({ code: 5 });
    };
    const error = failing(host, logged, { conduct: { atCreated } });
    assertEquals(/container init ended before it was ready: exit status 5$/.test(error.message), true, error.message);
  });
});

Deno.test("the same for the stage, and without pidfds", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    host.refuse("pidfd_open", Errno.EPERM);
    const stage = saying((me) => share(me.process, host.start("holder", undefined, me.process)));
    const error = failing(host, logged, { stage });
    assertEquals(/stage ended before it was ready: exit status 0$/.test(error.message), true, error.message);
  });
});

Deno.test("a container is created without pidfds, too", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    host.refuse("pidfd_open", Errno.ENOSYS);
    const { process, container } = createOn(host, logged);
    assertEquals([process.pidfd, process.hasEnded], [undefined, false]);
    logged.wait(container.kill(9));
    assertEquals(logged.wait(process.wait()), { signal: 9 });
    process[Symbol.dispose]();
    logged.wait(container.delete());
    assertEquals(leftovers(host), []);
  });
});

Deno.test("a startContainer hook's process that keeps the socket does not hide the program", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    const atStart = (init: Speaker) => share(init.process, host.start("holder"));
    const { process } = createOn(host, logged, { conduct: { atStart }, options: { startBy: "parent" } });
    using _ = process;
    logged.wait(process.start());
    assertEquals(host.process(process.pid)!.name, "sleep");
  });
});

Deno.test("a frozen init that cannot be ended is a warning after five seconds", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    const atCreated = (init: Speaker) => {
      host.fs.get("/sys/fs/cgroup/freezer/box/freezer.state").bytes = new TextEncoder().encode("FROZEN\n");
      init.report("error", HEADER_SIZE, Errno.EPERM);
    };
    const before = host.nowMs;
    failing(host, logged, { conduct: { atCreated } });
    const [init] = host.others;
    assertEquals(
      logged.log.includes(
        `warning: process ${init!.pid} was killed and has not ended yet: is its cgroup frozen?`,
      ),
      true,
    );
    assertEquals(host.nowMs - before >= 5000, true);
  });
});

/** A parent that gives up at its next wait after `interrupt` has been called. */
function interruptible(host: FakeHost): { logged: Logged; interrupt: () => void } {
  const notice = new Notice("signals");
  const interrupts = {
    fd: host.self.open(notice),
    check: () => {
      throw new RuncError("interrupted", "interrupted by SIGTERM", { signal: 15 });
    },
  };
  return { logged: runtimeOn(host, { interrupts }), interrupt: () => void notice.pieces.push(new Uint8Array([15])) };
}

Deno.test("an init whose pid was still unread is ended when the parent gives up", () => {
  withHost((host) => {
    const { logged, interrupt } = interruptible(host);
    interrupt();
    const error = failing(host, logged, {});
    assertEquals(error.code, "interrupted");
    assertEquals(leftovers(host).filter((each) => !each.endsWith(": signals")), []);
  });
});

Deno.test("an init that the stage has forked and not named yet is ended when the parent gives up", () => {
  withHost((host) => {
    const { logged, interrupt } = interruptible(host);
    const error = failing(host, logged, { conduct: { lateAfterFork: interrupt } });
    assertEquals(error.code, "interrupted");
    assertEquals(leftovers(host).filter((each) => !each.endsWith(": signals")), []);
  });
});

Deno.test("a connection reset is no error: the messages behind it are read", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    const requests: Conduct["requests"] = function* (init) {
      yield () => true;
      const theirs = [...init.process.descriptors.values()].map(({ file }) => file)
        .find((each): each is Socket => "peer" in each && (each as Socket).peer?.tellsSenders === true);
      theirs!.peer!.failsOnce = Errno.ECONNRESET;
    };
    using _ = createOn(host, logged, { conduct: { requests } }).process;
  });
});

Deno.test("a home directory that is too long is refused", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    const pieces = [`root:x:0:0:root:/`, "x".repeat(4000), "y".repeat(200), ":/bin/sh\n", ""];
    const error = failing(host, logged, { conduct: { passwd: pieces } });
    assertEquals([error.code, leftovers(host)], ["unsupported", []]);
    assertEquals(/the user's home directory is longer than 4095 bytes$/.test(error.message), true);
  });
});

Deno.test("the caller's soft limit of open files is the process's", () => {
  withHost((host) => {
    const logged = runtimeOn(host, { softFileLimit: 99 });
    const change: Creating["change"] = (config) => void (config.process.rlimits = []);
    const { process } = createOn(host, logged, { change });
    using _ = process;
    assertEquals(host.process(process.pid)!.limits.get(7)?.soft, 99n);
  });
});

/** Mounts whose sources only the host's root can open. */
const helped: NonNullable<Creating["change"]> = (config) => {
  config.linux.namespaces.push({ type: "user" } as never);
  config.linux.uidMappings = [{ containerID: 0, hostID: 5000, size: 10 }];
  config.linux.gidMappings = [{ containerID: 0, hostID: 6000, size: 10 }];
  config.mounts = [...config.mounts, { destination: "/x", type: "bind", source: "/tmp", options: ["bind"] } as never];
};

Deno.test("a helper is reaped with the stage, and ended after a failure", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    const conduct: Conduct = { helper: true, userNamespace: true };
    const { process } = createOn(host, logged, { change: helped, conduct });
    assertEquals(host.others.map(({ pid }) => pid), [process.pid]);
    process[Symbol.dispose]();
    assertEquals(host.openFiles, []);
  });
  withHost((host) => {
    const logged = runtimeOn(host);
    const conduct: Conduct = { helper: true, userNamespace: true, atCreated: (init) => init.process.end({ code: 1 }) };
    failing(host, logged, { change: helped, conduct });
    assertEquals(leftovers(host), []);
  });
});
