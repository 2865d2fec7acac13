/** Buildah: what `RUN` lines and `buildah run` start. */

import { assertEquals, assertMatch } from "@std/assert";
import type { Result, StartOptions } from "../harness.ts";
import { missing, runtime, Workshop } from "./workshop.ts";

interface Buildah {
  call(args: readonly string[], options?: StartOptions): Result;
  /** A call that has to succeed; returns what it printed. */
  must(...args: readonly string[]): string;
  /** A working container; more options for `run`, then the command. */
  run(options: readonly string[], command: readonly string[], io?: StartOptions): Result;
  readonly directory: string;
  readonly runOptions: readonly string[];
}

function open(workshop: Workshop): Buildah {
  const { directory } = workshop;
  // vfs: an overlay is not possible on every file system.
  const storage = `[storage]\ndriver = "vfs"\ngraphroot = "${directory}/graph"\nrunroot = "${directory}/run"\n`;
  // As the README has it for Podman.
  const containers = `[engine]\ncgroup_manager = "cgroupfs"\nruntime = "ts"\n[engine.runtimes]\nts = ["${runtime}"]\n`;
  const env = {
    CONTAINERS_STORAGE_CONF: workshop.write("storage.conf", storage),
    CONTAINERS_CONF: workshop.write("containers.conf", containers),
  };
  const call: Buildah["call"] = (args, io) => workshop.execute(["/usr/bin/buildah", ...args], { ...io, env });
  const must = (...args: readonly string[]) => {
    const { code, stdout, stderr } = call(args);
    assertEquals(code, 0, `${args.join(" ")}: ${stderr}`);
    return stdout.trimEnd();
  };
  // Without it Buildah would change the root directory and start no runtime, where it thinks that it is in a container.
  const runOptions = ["--isolation=oci", `--runtime=${runtime}`];
  must("from", "--name=work", `--cgroup-parent=/${workshop.name}`, "scratch");
  must("add", "work", workshop.rootfs(), "/");
  must("config", "--env=PATH=/bin", "work");
  const run: Buildah["run"] = (options, command, io) =>
    call(["run", ...runOptions, "--network=none", ...options, "work", ...command], io);
  return { call, must, run, directory, runOptions };
}

const containerfile = `
FROM localhost/base
COPY note /note
RUN grep Seccomp: /proc/self/status >/seen && cat /note >>/seen
USER 1000
WORKDIR /work
ENV WHAT=that
RUN echo "$(id -u) $(pwd) $WHAT" >/tmp/seen
`;

const cases: readonly [name: string, body: (buildah: Buildah) => void][] = [
  ["output and statuses", ({ run }) => {
    const { code, stdout, stderr } = run([], ["sh", "-c", "echo out; echo err >&2; exit 7"]);
    assertEquals([code, stdout], [7, "out\n"]);
    assertMatch(stderr, /^err$/m);
    assertMatch(run([], ["nonsense"]).stderr, /executable file not found in \$PATH/);
  }],
  ["the runtime is that of containers.conf, if none is named", ({ call }) => {
    const { code, stderr } = call(["--log-level=debug", "run", "--isolation=oci", "--network=none", "work", "true"]);
    assertEquals([code, stderr.includes(`Running [\\"${runtime}\\" \\"create\\"`)], [0, true], stderr);
  }],
  ["input, and a terminal", ({ run }) => {
    assertEquals(run([], ["sort"], { stdin: "b\na\n" }).stdout, "a\nb\n");
    assertEquals(run(["--terminal"], ["tty"]).stdout, "/dev/pts/0\r\n");
  }],
  ["volumes, users, capabilities", ({ run, directory }) => {
    Deno.writeTextFileSync(`${directory}/note`, "note\n");
    const options = [`--volume=${directory}/note:/note:ro`, "--user=1000", "--cap-drop=all", "--hostname=box"];
    const script = "cat /note; id -u; hostname; grep CapBnd /proc/self/status";
    assertEquals(run(options, ["sh", "-c", script]).stdout, "note\n1000\nbox\nCapBnd:\t0000000000000000\n");
  }],
  ["what a container has written is in its image", ({ run, must }) => {
    assertEquals(run([], ["sh", "-c", "mkdir -p /tmp; chmod 1777 /tmp; echo kept >/kept"]).code, 0);
    must("commit", "--quiet", "work", "base");
    must("from", "--name=other", "--pull-never", "localhost/base");
    assertEquals(must("run", "--isolation=oci", `--runtime=${runtime}`, "other", "cat", "/kept"), "kept");
    must("rm", "other");
  }],
  ["an image is built", ({ must, directory, runOptions }) => {
    Deno.mkdirSync(`${directory}/context`);
    Deno.writeTextFileSync(`${directory}/context/Containerfile`, containerfile);
    Deno.writeTextFileSync(`${directory}/context/note`, "note\n");
    must("bud", ...runOptions, "--network=none", "--pull-never", "--tag=built", `${directory}/context`);
    must("from", "--name=result", "--pull-never", "localhost/built");
    assertEquals(
      must("run", ...runOptions, "result", "cat", "/seen", "/tmp/seen"),
      "Seccomp:\t2\nnote\n1000 /work that",
    );
    must("rm", "result");
  }],
  ["a line that fails ends the build with its status", ({ call, directory, runOptions }) => {
    Deno.writeTextFileSync(`${directory}/failing`, "FROM localhost/base\nRUN exit 9\n");
    const { code, stderr } = call([
      "bud",
      ...runOptions,
      "--network=none",
      "--pull-never",
      `--file=${directory}/failing`,
    ]);
    assertEquals([code, /exit status 9/.test(stderr)], [9, true], stderr);
  }],
];

const lacking = missing([{ program: "buildah", package: "buildah" }]);
Deno.test({
  name: `buildah${lacking}`,
  ignore: lacking !== "",
  fn: async (t) => {
    using workshop = new Workshop();
    const buildah = open(workshop);
    for (const [what, body] of cases) await t.step(what, () => body(buildah));
  },
});
