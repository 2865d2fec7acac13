/** The monitor's image on both machines: streams, a signal, a status. What it can do beyond that is tested on this one. */

import { assertEquals } from "@std/assert";
import { openFlag } from "../../lib/ffi/constants.ts";
import { Fd } from "../../lib/ffi/fd.ts";
import { pipe, setNonblocking } from "../../lib/ffi/files.ts";
import { alloc } from "../../lib/ffi/kernel.ts";
import { kill, shellStatus, spawn, waitChild } from "../../lib/ffi/process/process.ts";
import type { Arch } from "../../lib/ffi/syscalls.ts";
import { planMonitor } from "../../lib/libcontainer/plans/monitor/plan.ts";
import { encode } from "../../lib/plan/native/encode.ts";
import { contentOf, kernel, readAll, readUntil, until, writeText } from "./foreground_harness.ts";
import { emulatorFor, lacks } from "./interpreter_harness.ts";

const { O_NONBLOCK } = openFlag(kernel.arch);

/** Descriptors of the monitor; 3 to 5 are the process's ends of the pipes. */
const fds = {
  sync: -1,
  stdin: 0,
  stdout: 1,
  stderr: 2,
  "stdin pipe": 6,
  "stdout pipe": 7,
  "stderr pipe": 8,
  "caught signals": 9,
  signals: 12,
};

function imageFor(arch: Arch, pid: number): Uint8Array<ArrayBuffer> {
  const plan = planMonitor({
    arch,
    pid,
    stdio: { kind: "pipes", manners: { stdin: "blocking", stdout: "blocking", stderr: "blocking" } },
    removal: { kind: "none" },
    id: "box",
    again: { path: "/bin/false", args: ["false"], ownArguments: 1 },
    debug: false,
  });
  return encode(plan, { arch, fds, fold: false }).image;
}

/**
 * A shell that starts `program` with the pipes, writes its pid to `<directory>/pid`, waits for `<directory>/go`, and becomes the image in there with all
 * signals blocked: what the runtime does.
 */
function startParent(directory: string, program: string, emulator: string, stdio: readonly Fd[]): number {
  // Whoever reads it gets their own signals.
  using signals = new Fd(
    kernel,
    kernel.must("signalfd", "signalfd", -1, alloc(128).fill(0xff), O_NONBLOCK),
    "signalfd",
  );
  new Deno.Command("mkfifo", { args: [`${directory}/go`] }).outputSync();
  const blockAll = "$set = POSIX::SigSet->new; $set->fillset; sigprocmask(SIG_BLOCK, $set); exec @ARGV";
  const script = `
    sh -c 'echo $$ > ${directory}/pid; ${program}' <&3 >&4 2>&5 3<&- 4>&- 5>&- 6>&- 7<&- 8<&- 9<&- &
    exec 3<&- 4>&- 5>&-
    read go < ${directory}/go
    exec perl -MPOSIX -e '${blockAll}' ${emulator} ${directory}/image`;
  return spawn(kernel, {
    path: "/bin/sh",
    argv: ["sh", "-c", script],
    env: ["PATH=/usr/bin:/bin"],
    fds: [...stdio.map((fd, to) => ({ from: fd.number, to })), { from: signals.number, to: fds.signals }],
    closeFrom: fds.signals + 1,
  });
}

for (const arch of ["x86_64", "aarch64"] as const) {
  const emulator = emulatorFor(arch);
  Deno.test({
    name: `${arch}: a monitor passes on streams, a signal and the status${emulator ? ` (needs ${emulator})` : ""}`,
    ignore: lacks(emulator),
    fn: () => {
      const directory = Deno.makeTempDirSync({ prefix: "monitor-" });
      const [input, output, errors, processInput, processOutput, processErrors, caught] = Array.from(
        { length: 7 },
        (_, index) => pipe(kernel, `pipe ${index}`),
      ) as [Pipe, Pipe, Pipe, Pipe, Pipe, Pipe, Pipe];
      const theirs = [
        input.read,
        output.write,
        errors.write,
        processInput.read,
        processOutput.write,
        processErrors.write,
      ];
      const ours = [processInput.write, processOutput.read, processErrors.read, caught.read];
      for (const { number } of ours) setNonblocking(kernel, number, true);
      try {
        const program =
          'trap "echo got; exit 5" TERM; while read x; do echo $x! >&2; echo $x; done; while :; do sleep 0.01; done';
        const parent = startParent(directory, program, emulator ?? "", [...theirs, ...ours]);
        for (const fd of [...theirs, ...ours]) fd.close();
        caught.write.close();
        const pid = until("the process", () => Number(contentOf(`${directory}/pid`)) || undefined);
        Deno.writeFileSync(`${directory}/image`, imageFor(arch, pid), { mode: 0o755 });
        Deno.writeTextFileSync(`${directory}/go`, "go\n");
        writeText(input.write, "hello\n");
        assertEquals(readUntil(output.read, (text) => text.endsWith("\n")), "hello\n");
        input.write.close();
        kill(kernel, parent, 15);
        assertEquals([readAll(output.read), readAll(errors.read)], ["got\n", "hello!\n"]);
        assertEquals(shellStatus(waitChild(kernel, parent)!), 5);
      } finally {
        for (const { read, write } of [input, output, errors]) [read, write].forEach((fd) => fd.close());
        Deno.removeSync(directory, { recursive: true });
      }
    },
  });
}

type Pipe = ReturnType<typeof pipe>;
