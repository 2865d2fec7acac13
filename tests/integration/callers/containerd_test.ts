/** containerd with its shim, by ctr: what Kubernetes uses it for. */

import { assertEquals, assertMatch } from "@std/assert";
import { existsSync } from "@std/fs";
import { type Result, until } from "../harness.ts";
import { missing, runtime, Workshop } from "./workshop.ts";

const image = "docker.io/library/busybox:latest";

/** A containerd of our own, and ctr that speaks to it. */
interface Containerd {
  readonly directory: string;
  ctr(args: readonly string[]): Result;
  must(...args: readonly string[]): string;
  /** `ctr run` with our runtime: options, then id and command. */
  run(options: readonly string[], command: readonly string[]): Result;
}

const config = (directory: string) => `
version = 2
root = "${directory}/root"
state = "${directory}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
address = "${directory}/containerd.sock"
`;

/** The root file system as an image that \`docker save\` could have written. */
function imageArchive(workshop: Workshop): string {
  const layer = workshop.rootfs();
  const digest = workshop.must(["/usr/bin/sha256sum", layer]).split(" ")[0];
  workshop.write(
    "config.json",
    JSON.stringify({
      architecture: Deno.build.arch === "aarch64" ? "arm64" : "amd64",
      os: "linux",
      config: { Env: ["PATH=/bin"], Cmd: ["sh"] },
      rootfs: { type: "layers", diff_ids: [`sha256:${digest}`] },
    }),
  );
  workshop.write(
    "manifest.json",
    JSON.stringify([
      { Config: "config.json", RepoTags: ["busybox:latest"], Layers: ["rootfs.tar"] },
    ]),
  );
  const archive = `${workshop.directory}/image.tar`;
  const parts = ["manifest.json", "config.json", "rootfs.tar"];
  workshop.must(["/usr/bin/tar", "--create", "--file", archive, "--directory", workshop.directory, ...parts]);
  return archive;
}

function open(workshop: Workshop): Containerd {
  const { directory, name } = workshop;
  const socket = `${directory}/containerd.sock`;
  workshop.daemon(
    ["/usr/bin/containerd", "--config", workshop.write("containerd.toml", config(directory))],
    () => existsSync(socket),
  );
  // The namespace is the containers' parent cgroup, too.
  const ctr: Containerd["ctr"] = (args) =>
    workshop.execute(["/usr/bin/ctr", "--address", socket, "--namespace", name, ...args]);
  const must = (...args: readonly string[]) => {
    const { code, stdout, stderr } = ctr(args);
    assertEquals(code, 0, `${args.join(" ")}: ${stderr}`);
    return stdout.trimEnd();
  };
  const usual = ["--snapshotter", "native", "--runc-binary", runtime];
  const run: Containerd["run"] = (options, command) => ctr(["run", ...usual, ...options, image, ...command]);
  must("image", "import", "--snapshotter", "native", imageArchive(workshop));
  return { directory, ctr, must, run };
}

/** Runs `body` with a task that sleeps. */
function withSleeper({ ctr, run }: Containerd, body: (id: string) => void): void {
  const id = "sleeper";
  const { code, stderr } = run(["--detach"], [id, "sleep", "1000"]);
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
];

const lacking = missing([{ program: "containerd", package: "containerd" }, { program: "ctr", package: "containerd" }]);
Deno.test({
  name: `containerd${lacking}`,
  ignore: lacking !== "",
  fn: async (t) => {
    using workshop = new Workshop();
    const containerd = open(workshop);
    for (const [what, body] of cases) await t.step(what, () => body(containerd));
  },
});
