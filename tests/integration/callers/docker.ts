/** Docker: its daemon, and its client. */

import { assertEquals } from "@std/assert";
import { existsSync } from "@std/fs";
import { criuPath } from "../criu_harness.ts";
import { type Engine, must } from "./engine.ts";
import { type Needed, runtime, type Workshop } from "./workshop.ts";

const client = "/usr/bin/docker", daemon = "/usr/sbin/dockerd", containerdsClient = "/usr/bin/ctr";
/** What it needs. */
export const dockersNeeds: readonly Needed[] = [
  { program: daemon, package: "docker.io" },
  { program: client, package: "docker.io" },
  { program: containerdsClient, package: "containerd" },
];

/** Docker, and what its containerd keeps. */
export interface Docker extends Engine {
  /** Whether there is anything in containerd's content store. */
  hasContent(): boolean;
}

/** The runtime as the README gives it. Docker knows runc, which is Debian's, without being told. */
const configuration = { runtimes: { ts: { path: runtime } }, "default-runtime": "ts" };

/** Docker with its own daemon, which keeps everything in the workshop. `more`: of the daemon's configuration. */
export function docker(workshop: Workshop, more: Readonly<Record<string, unknown>> = {}): Docker {
  const { directory, name } = workshop;
  const socket = `${directory}/docker.sock`;
  const argv = [
    daemon,
    `--config-file=${workshop.write("daemon.json", JSON.stringify({ ...configuration, ...more }))}`,
    `--data-root=${directory}/data`,
    `--exec-root=${directory}/exec`,
    `--pidfile=${directory}/pid`,
    `--host=unix://${socket}`,
    `--cgroup-parent=/${name}`,
    "--exec-opt=native.cgroupdriver=cgroupfs",
    // An overlay is not possible on every file system, nor are bridges and filters in every kernel.
    "--storage-driver=vfs",
    "--bridge=none",
    "--iptables=false",
    "--ip6tables=false",
    "--ip-forward=false",
    "--ip-masq=false",
  ];
  const call: Engine["call"] = (args, options) =>
    workshop.execute([client, `--host=unix://${socket}`, ...args], options);
  workshop.daemon(argv, () => existsSync(socket) && call(["version"]).code === 0, { env: { PATH: criuPath } });
  const contents = `--address=${directory}/exec/containerd/containerd.sock --namespace=moby content ls --quiet`.split(
    " ",
  );
  const hasContent = () => {
    const { code, stdout, stderr } = workshop.execute([containerdsClient, ...contents]);
    assertEquals(code, 0, stderr);
    return stdout !== "";
  };
  const engine = { call, hasContent, image: "busybox", directory };
  must(engine, "import", "--change", "ENV PATH=/bin", workshop.rootfs(), engine.image);
  return engine;
}
