/** Podman with conmon, on cgroupfs. */

import { type Engine, must } from "./engine.ts";
import { type Needed, runtime, type Workshop } from "./workshop.ts";

const program = "/usr/bin/podman";
/** What it needs. */
export const podmansNeeds: readonly Needed[] = [
  { program: "podman", package: "podman" },
  { program: "conmon", package: "conmon" },
  { program: "newuidmap", package: "uidmap" },
];

/**
 * The runtime as the README gives it.
 *
 * Limits: raising RLIMIT_NOFILE, which Podman does by default, needs CAP_SYS_RESOURCE.
 */
const containersConf = (tmp: string, runtime: string) => `
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
tmp_dir = "${tmp}"
runtime = "ts"
[engine.runtimes]
ts = ["${runtime}"]
`;

// vfs: an overlay is not possible on every file system.
const storageConf = (directory: string) => `
[storage]
driver = "vfs"
graphroot = "${directory}/graph"
runroot = "${directory}/run"
`;

/** Podman that keeps everything in `directory`, with an image of busybox; called by `execute`; `first`: options of `run` and `create`. */
export function podman(workshop: Workshop, { directory, path, execute, first, env }: {
  directory: string;
  path: string;
  execute: Workshop["execute"];
  first: readonly string[];
  env: Readonly<Record<string, string>>;
}): Engine {
  const configured = {
    ...env,
    CONTAINERS_CONF: workshop.write("containers.conf", containersConf(`${directory}/tmp`, path)),
    CONTAINERS_STORAGE_CONF: workshop.write("storage.conf", storageConf(directory)),
  };
  const call: Engine["call"] = ([command = "", ...args], options = {}) => {
    const extra = command === "run" || command === "create" ? first : [];
    return execute([program, command, ...extra, ...args], { ...options, env: { ...configured, ...options.env } });
  };
  const engine = { call, image: "busybox", directory };
  must(engine, "import", "--quiet", "--change", "ENV PATH=/bin", workshop.rootfs(), engine.image);
  return engine;
}

/** Podman of root. */
export const podmanAsRoot = (workshop: Workshop): Engine =>
  podman(workshop, {
    directory: workshop.directory,
    path: runtime,
    execute: (argv, options) => workshop.execute(argv, options),
    first: [`--cgroup-parent=/${workshop.name}`],
    env: {},
  });
