/** Podman with conmon, as root, on cgroupfs. */

import { engineSuite } from "./engine_suite.ts";
import { type Engine, runtime, type Workshop } from "./workshop.ts";

/**
 * What is not the default elsewhere has to be on the command line, for the Podman that conmon starts at a container's end does not read this.
 *
 * No limits by default: raising RLIMIT_NOFILE, which Podman does, needs CAP_SYS_RESOURCE.
 */
const containersConf = ({ directory }: Workshop) => `
[containers]
pids_limit = 0
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
tmp_dir = "${directory}/tmp"
`;

// vfs: an overlay is not possible on every file system.
const storageConf = ({ directory }: Workshop) => `
[storage]
driver = "vfs"
graphroot = "${directory}/graph"
runroot = "${directory}/run"
`;

function open(workshop: Workshop): Engine {
  const env = {
    CONTAINERS_CONF: workshop.write("containers.conf", containersConf(workshop)),
    CONTAINERS_STORAGE_CONF: workshop.write("storage.conf", storageConf(workshop)),
  };
  const parent = `--cgroup-parent=/${workshop.name}`;
  const podman: Engine["call"] = ([command = "", ...args], options = {}) => {
    const extra = command === "run" || command === "create" ? [parent] : [];
    return workshop.execute(["/usr/bin/podman", "--runtime", runtime, command, ...extra, ...args], { ...options, env });
  };
  workshop.must(["/usr/bin/podman", "import", "--quiet", "--change", "ENV PATH=/bin", workshop.rootfs(), "busybox"], {
    env,
  });
  return { call: podman, image: "busybox", directory: workshop.directory };
}

engineSuite("podman", [{ program: "podman", package: "podman" }, { program: "conmon", package: "conmon" }], open);
