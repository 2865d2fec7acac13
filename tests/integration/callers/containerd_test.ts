/** containerd with its shim, by ctr: what Kubernetes uses it for. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { existsSync } from "@std/fs";
import { COUNTING, criuPath, hasCriu } from "../criu_harness.ts";
import { type Result, type StartOptions, until } from "../harness.ts";
import { imageArchive } from "./images.ts";
import { missing, runtime, subordinate, Workshop } from "./workshop.ts";

const image = "docker.io/library/busybox:latest";

/** A containerd of our own, and ctr that speaks to it. */
interface Containerd {
  readonly directory: string;
  ctr(args: readonly string[], io?: StartOptions): Result;
  must(...args: readonly string[]): string;
  /** `ctr run` with our runtime: options, then id and command. */
  run(options: readonly string[], command: readonly string[], io?: StartOptions): Result;
  /** {@link run} at a terminal; `stdout` is what was on the screen. */
  onTerminal(options: readonly string[], command: readonly string[]): Result;
}

const config = (directory: string) => `
version = 2
root = "${directory}/root"
state = "${directory}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
address = "${directory}/containerd.sock"
`;

function open(workshop: Workshop): Containerd {
  const { directory, name } = workshop;
  const socket = `${directory}/containerd.sock`;
  // Where a client does not name the runtime, as `ctr container create` cannot, the shim runs the first runc on PATH.
  Deno.mkdirSync(`${directory}/bin`);
  Deno.symlinkSync(runtime, `${directory}/bin/runc`);
  workshop.daemon(
    ["/usr/bin/containerd", "--config", workshop.write("containerd.toml", config(directory))],
    () => existsSync(socket),
    { env: { PATH: `${directory}/bin:${criuPath}` } },
  );
  // The namespace is the containers' parent cgroup, too.
  const argv = ["/usr/bin/ctr", "--address", socket, "--namespace", name];
  const ctr: Containerd["ctr"] = (args, io) => workshop.execute([...argv, ...args], io);
  const must = (...args: readonly string[]) => {
    const { code, stdout, stderr } = ctr(args);
    assertEquals(code, 0, `${args.join(" ")}: ${stderr}`);
    return stdout.trimEnd();
  };
  const words = (
    options: readonly string[],
    command: readonly string[],
  ) => ["run", "--snapshotter", "native", "--runc-binary", runtime, ...options, image, ...command];
  const run: Containerd["run"] = (options, command, io) => ctr(words(options, command), io);
  const onTerminal: Containerd["onTerminal"] = (options, command) => {
    const line = [...argv, ...words(["--tty", ...options], command)].map((word) => `'${word}'`).join(" ");
    return workshop.execute(["/usr/bin/script", "--quiet", "--return", "--command", line, "/dev/null"]);
  };
  const archive = imageArchive(workshop, { layer: workshop.rootfs(), name: "busybox", command: ["sh"] });
  must("image", "import", "--snapshotter", "native", archive);
  return { directory, ctr, must, run, onTerminal };
}

/** Runs `body` with a task that sleeps. */
function withSleeper({ ctr, run }: Containerd, body: (id: string) => void, options: readonly string[] = []): void {
  const id = "sleeper";
  const { code, stderr } = run(["--detach", ...options], [id, "sleep", "1000"]);
  assertEquals(code, 0, stderr);
  try {
    body(id);
  } finally {
    ctr(["task", "kill", "--signal", "KILL", id]);
    until("its end", () => ctr(["task", "delete", id]).code === 0 || !ctr(["task", "list"]).stdout.includes(id));
    ctr(["container", "delete", id]);
  }
}

const statusOf = ({ must }: Containerd, id: string) =>
  must("task", "list").split("\n").map((row) => row.trim().split(/\s+/)).find(([name]) => name === id)?.[2];

const cases: readonly [name: string, body: (containerd: Containerd) => void][] = [
  ["output and statuses", ({ run }) => {
    const out = run(["--rm"], ["one", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assertEquals([out.code, out.stdout, out.stderr.includes("err\n")], [7, "out\n", true]);
  }],
  ["a program that is missing, or none, is told of", ({ run }) => {
    assertMatch(
      run(["--rm"], ["one", "nonsense"]).stderr,
      /OCI runtime create failed.*executable file not found in \$PATH/,
    );
    assertMatch(run(["--rm"], ["one", "/work/script"]).stderr, /OCI runtime create failed.*permission denied/);
  }],
  ["a task: exec, its status, ps, metrics", (containerd) => {
    withSleeper(containerd, (id) => {
      const { ctr, must } = containerd;
      assertEquals(statusOf(containerd, id), "RUNNING");
      assertEquals(must("task", "exec", "--exec-id", "e1", id, "echo", "inside"), "inside");
      assertEquals(ctr(["task", "exec", "--exec-id", "e2", id, "sh", "-c", "exit 9"]).code, 9);
      assertMatch(
        ctr(["task", "exec", "--exec-id", "e3", id, "nonsense"]).stderr,
        /executable file not found in \$PATH/,
      );
      assertEquals(
        must("task", "exec", "--exec-id", "e4", "--user", "1000", "--cwd", "/tmp", id, "sh", "-c", "id -u; pwd"),
        "1000\n/tmp",
      );
      assertMatch(must("task", "ps", id), /^PID/);
      assertMatch(must("task", "metrics", id), /memory/);
    });
  }],
  ["pause and resume", (containerd) => {
    withSleeper(containerd, (id) => {
      containerd.must("task", "pause", id);
      assertEquals(statusOf(containerd, id), "PAUSED");
      containerd.must("task", "resume", id);
      assertEquals(statusOf(containerd, id), "RUNNING");
    });
  }],
  ["kill: the task stops, and its status tells of the signal", (containerd) => {
    withSleeper(containerd, (id) => {
      containerd.must("task", "kill", "--signal", "KILL", id);
      until("its end", () => statusOf(containerd, id) === "STOPPED");
      assertMatch(containerd.ctr(["task", "delete", id]).stderr, /137/);
    });
  }],
  ["a mount, a working directory, a read-only root", ({ run, directory }) => {
    Deno.writeTextFileSync(`${directory}/note`, "note\n");
    const mount = `type=bind,src=${directory}/note,dst=/note,options=rbind:ro`;
    const options = ["--rm", "--mount", mount, "--read-only", "--cwd", "/tmp"];
    const script = "cat /note; pwd; touch /tmp/x 2>/dev/null || echo refused";
    assertEquals(run(options, ["one", "sh", "-c", script]).stdout, "note\n/tmp\nrefused\n");
  }],
  // `ctr` does not pass the end of its input on, with Debian's runc neither: the program has to know when it has enough.
  ["input", ({ run }) => {
    assertEquals(run(["--rm"], ["one", "head", "-n", "2"], { stdin: "a\nb\n" }).stdout, "a\nb\n");
  }],
  ["a terminal", ({ onTerminal }) => {
    const { code, stdout } = onTerminal(["--rm"], ["one", "sh", "-c", "tty; exit 6"]);
    // script(1) adds what the terminal echoes of the end of its own input.
    assertEquals([code, /\/dev\/pts\/0\r/.test(stdout)], [6, true], stdout);
  }],
  ["create and start apart, with the runc that is first on PATH", ({ must, ctr }) => {
    must("container", "create", "--snapshotter", "native", image, "apart", "echo", "started");
    assertEquals(must("task", "start", "apart"), "started");
    must("container", "delete", "apart");
    assertEquals(ctr(["container", "info", "apart"]).code, 1);
  }],
  ["limits", (containerd) => {
    const options = ["--memory-limit", `${64 << 20}`, "--cpus", "0.5"];
    withSleeper(
      containerd,
      (id) => assertMatch(containerd.must("task", "metrics", id), /limit(_in_bytes)? +67108864 *$/m),
      options,
    );
  }],
  ["a user namespace", ({ run }) => {
    const map = `0:${subordinate.first}:${subordinate.count}`;
    const seen = run(["--rm", "--uidmap", map, "--gidmap", map], ["one", "cat", "/proc/self/uid_map"]).stdout;
    assertEquals(seen.trim().split(/\s+/), ["0", `${subordinate.first}`, `${subordinate.count}`]);
  }],
  ["--privileged and capabilities", ({ run }) => {
    const caps = (...options: string[]) =>
      run(["--rm", ...options], ["one", "grep", "CapEff", "/proc/self/status"]).stdout.trim().split("\t")[1];
    const [all] = Deno.readTextFileSync("/proc/self/status").match(/(?<=CapBnd:\t).*/)!;
    assertEquals(caps("--privileged"), all);
    assertEquals([caps(), caps("--cap-drop", "CAP_CHOWN")], ["00000000a80425fb", "00000000a80425fa"]);
  }],
  ["the default seccomp profile, and another one", ({ run, directory }) => {
    const status = ["one", "grep", "Seccomp:", "/proc/self/status"];
    assertEquals(run(["--rm"], status).stdout, "Seccomp:\t0\n");
    assertEquals(run(["--rm", "--seccomp"], status).stdout, "Seccomp:\t2\n");
    const profile = `${directory}/profile.json`;
    const refused = { names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 95 };
    Deno.writeTextFileSync(profile, JSON.stringify({ defaultAction: "SCMP_ACT_ALLOW", syscalls: [refused] }));
    const { code, stderr } = run(["--rm", "--seccomp", "--seccomp-profile", profile], ["one", "mkdir", "/x"]);
    assertEquals(code, 1);
    assertMatch(stderr, /Operation not supported/);
  }],
];

const checkpointCases: typeof cases = [
  ["task checkpoint, and container checkpoint and restore", (containerd) => {
    const { ctr, must, run, directory } = containerd;
    const id = "saved", reference = "checkpoint/saved:latest";
    const counted = () => ctr(["task", "exec", "--exec-id", "count", id, "cat", "/count"]).stdout.trimEnd().split("\n");
    const last = () => Number(counted().at(-1));
    const remove = () => {
      must("task", "kill", "--signal", "KILL", id);
      until("its end", () => ctr(["task", "delete", id]).code === 0 || !ctr(["task", "list"]).stdout.includes(id));
      must("container", "delete", id);
    };
    assertEquals(run(["--detach"], [id, "sh", "-c", COUNTING]).code, 0);
    until("it to count", () => last() > 0);
    const images = `${directory}/images`;
    Deno.mkdirSync(images);
    must("task", "checkpoint", "--image-path", images, id);
    assert(existsSync(`${images}/inventory.img`));
    const before = last();
    until("it to count on", () => last() > before);
    const saved = last();
    must("container", "checkpoint", "--task", id, reference);
    remove();
    must("container", "restore", "--live", id, reference);
    assertEquals(statusOf(containerd, id), "RUNNING");
    until("it to count on", () => last() > saved);
    // The file system is new, the program is not.
    assert(Number(counted()[0]) > saved);
    remove();
    must("image", "remove", reference);
  }],
];

const lacking = missing([{ program: "containerd", package: "containerd" }, { program: "ctr", package: "containerd" }]);
Deno.test({
  name: `containerd${lacking}`,
  ignore: lacking !== "",
  fn: async (t) => {
    using workshop = new Workshop();
    const containerd = open(workshop);
    for (const [what, body] of [...cases, ...(hasCriu ? checkpointCases : [])]) {
      await t.step(what, () => body(containerd));
    }
  },
});
