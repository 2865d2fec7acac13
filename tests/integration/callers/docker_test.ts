/** Docker: its daemon with the containerd that it starts, and its client. */

import { existsSync } from "@std/fs";
import { engineSuite } from "./engine_suite.ts";
import { type Engine, runtime, type Workshop } from "./workshop.ts";

const docker = "/usr/bin/docker", daemon = "/usr/sbin/dockerd";

function open(workshop: Workshop): Engine {
  const { directory, name } = workshop;
  const socket = `${directory}/docker.sock`;
  const argv = [
    daemon,
    `--config-file=${workshop.write("daemon.json", "{}")}`,
    `--data-root=${directory}/data`,
    `--exec-root=${directory}/exec`,
    `--pidfile=${directory}/pid`,
    `--host=unix://${socket}`,
    `--cgroup-parent=/${name}`,
    "--exec-opt=native.cgroupdriver=cgroupfs",
    // An overlay is not possible on every file system; the network of the machine stays as it is.
    "--storage-driver=vfs",
    "--bridge=none",
    "--iptables=false",
    "--ip6tables=false",
    "--ip-forward=false",
    "--ip-masq=false",
    `--add-runtime=ours=${runtime}`,
    "--default-runtime=ours",
  ];
  const call: Engine["call"] = (args, options) =>
    workshop.execute([docker, `--host=unix://${socket}`, ...args], options);
  workshop.daemon(argv, () => existsSync(socket) && call(["version"]).code === 0);
  workshop.must([
    docker,
    `--host=unix://${socket}`,
    "import",
    "--change",
    "ENV PATH=/bin",
    workshop.rootfs(),
    "busybox",
  ]);
  return { call, image: "busybox", directory };
}

engineSuite("docker", [{ program: daemon, package: "docker.io" }, { program: docker, package: "docker.io" }], open);
