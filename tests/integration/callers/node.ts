/** A node of a cluster: containerd with its CRI service, and a kubelet, which is the test. */

import { assertEquals } from "@std/assert";
import { existsSync } from "@std/fs";
import type { Running } from "../harness.ts";
import { ContainerState, Kubelet, NamespaceMode } from "./cri.ts";
import { imageArchive } from "./images.ts";
import type { Message } from "./protobuf.ts";
import { runtime, type Workshop } from "./workshop.ts";

/** The lines of the README, in a containerd that keeps everything in `directory`. */
const config = (directory: string) => `
version = 2
root = "${directory}/root"
state = "${directory}/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
address = "${directory}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "docker.io/library/pause:latest"
# Without CAP_SYS_RESOURCE root cannot give pods less than it has itself.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "${directory}/cni"
conf_dir = "${directory}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "${runtime}"
`;

/** A network plugin: it gives pods an address, and leaves their network alone. */
const networkPlugin = `#!/bin/sh
cat >/dev/null
case $CNI_COMMAND in
  VERSION) echo '{"cniVersion": "0.4.0", "supportedVersions": ["0.4.0"]}' ;;
  ADD) echo '{"cniVersion": "0.4.0", "interfaces": [{"name": "eth0", "sandbox": "'$CNI_NETNS'"}],
    "ips": [{"version": "4", "address": "10.9.8.7/24", "interface": 0}]}' ;;
esac
`;

/** A node of a cluster: a kubelet (the test) and its runtime. */
export interface Node {
  readonly kubelet: Kubelet;
  readonly directory: string;
  /** In the name of its cgroups. */
  readonly name: string;
  /** containerd itself. */
  readonly daemon: Running;
}

/** The name of containerd's socket, and of its configuration. */
const SOCKET = "containerd.sock", CONFIG = "containerd.toml";

/** Starts containerd, with the configuration that is there. */
function startContainerd(workshop: Workshop): Running {
  const { directory } = workshop;
  // The harness's child is nsenter: it tells nothing of signals to what it has started.
  const script = `echo $$ >${directory}/containerd.pid; exec /usr/bin/containerd --config ${directory}/${CONFIG}`;
  return workshop.daemon(
    ["/bin/sh", "-c", script],
    () => existsSync(`${directory}/${SOCKET}`),
    { env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" } },
  );
}

/** Ends containerd, and starts it again. The containers stay. */
export async function restart(workshop: Workshop, node: Node): Promise<Node> {
  await node.kubelet.close();
  workshop.must(["/bin/kill", Deno.readTextFileSync(`${workshop.directory}/containerd.pid`).trim()]);
  node.daemon.wait();
  const socket = `${workshop.directory}/${SOCKET}`;
  if (existsSync(socket)) Deno.removeSync(socket);
  const daemon = startContainerd(workshop);
  return { ...node, daemon, kubelet: await Kubelet.connect(socket) };
}

/** Brings an image into the node's store. */
export function importImage(workshop: Workshop, archive: string): void {
  const ctr = ["/usr/bin/ctr", "--address", `${workshop.directory}/${SOCKET}`, "--namespace", "k8s.io"];
  workshop.must([...ctr, "image", "import", archive]);
}

/** Makes a node with the images `busybox` and `pause`. */
export async function openNode(workshop: Workshop): Promise<Node> {
  const { directory, name } = workshop;
  Deno.mkdirSync(`${directory}/cni`);
  workshop.write(
    "cni/10-test.conflist",
    JSON.stringify({ cniVersion: "0.4.0", name: "t", plugins: [{ type: "test" }] }),
  );
  for (const plugin of ["test", "loopback"]) Deno.chmodSync(workshop.write(`cni/${plugin}`, networkPlugin), 0o755);
  workshop.write(CONFIG, config(directory));
  const daemon = startContainerd(workshop);
  const layer = workshop.rootfs();
  for (const [name, command] of [["busybox", ["sh"]], ["pause", ["sleep", "1000000"]]] as const) {
    importImage(workshop, imageArchive(workshop, { layer, name, command }));
  }
  return { kubelet: await Kubelet.connect(`${directory}/${SOCKET}`), directory, name, daemon };
}

/** A pod that runs, and what its containers are made with. */
export interface Pod {
  readonly id: string;
  readonly config: Message;
}

let number = 0;

/** A name that no other container of these tests has. */
export const newName = () => `container${number++}`;

/**
 * Runs `body` with a pod. `handler`: the runtime's name in containerd's configuration. `privileged`: whether the pod's
 * containers may be.
 */
export async function withPod(
  node: Node,
  namespaces: Message,
  body: (pod: Pod) => Promise<void>,
  { handler = "runc", privileged = false }: { readonly handler?: string; readonly privileged?: boolean } = {},
): Promise<void> {
  const { kubelet, directory, name } = node;
  const uid = `pod${number++}`;
  const logs = `${directory}/logs/${uid}`;
  Deno.mkdirSync(logs, { recursive: true });
  const config = {
    metadata: { name: uid, uid, namespace: "default", attempt: 0 },
    hostname: namespaces.network === NamespaceMode.NODE ? "" : "a-pod",
    log_directory: logs,
    linux: { cgroup_parent: `/${name}`, security_context: { namespace_options: namespaces, privileged } },
  };
  const { pod_sandbox_id: id } = await kubelet.call("RunPodSandbox", { config, runtime_handler: handler });
  try {
    await body({ id, config });
  } finally {
    await kubelet.call("StopPodSandbox", { pod_sandbox_id: id });
    await kubelet.call("RemovePodSandbox", { pod_sandbox_id: id });
  }
}

/** As the kubelet asks for it where a pod says nothing. */
export const usual = { pid: NamespaceMode.CONTAINER };

/** Starts a container in a pod; `more`: of its config. Returns its id. */
export async function start(node: Node, pod: Pod, command: readonly string[], more: Message = {}): Promise<string> {
  const { kubelet } = node;
  const config = {
    metadata: { name: newName(), attempt: 0 },
    image: { image: "docker.io/library/busybox:latest" },
    command,
    log_path: "0.log",
    linux: { security_context: { namespace_options: usual } },
    ...more,
  };
  const request = { pod_sandbox_id: pod.id, config, sandbox_config: pod.config };
  const { container_id } = await kubelet.call("CreateContainer", request);
  await kubelet.call("StartContainer", { container_id });
  return container_id;
}

/** Security options of a container, beside the usual ones. */
export const secured = (context: Message, resources?: Message) => ({
  linux: { resources, security_context: { namespace_options: usual, ...context } },
});

export async function statusOf(
  { kubelet }: Node,
  container_id: string,
): Promise<{ state: number; [name: string]: unknown }> {
  return (await kubelet.call("ContainerStatus", { container_id })).status;
}

export async function ended(node: Node, id: string, minutes = 1): Promise<{ state: number; [name: string]: unknown }> {
  // A minute is what `until` waits.
  for (let round = 0; round < 600 * minutes; round++) {
    const status = await statusOf(node, id);
    if (status.state === ContainerState.EXITED) return status;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("never happened: the container's end");
}

/** Output of a shell script that is executed in a container. */
export async function inside({ kubelet }: Node, container_id: string, script: string): Promise<string> {
  const { stdout, stderr, exit_code } = await kubelet.call("ExecSync", { container_id, cmd: ["sh", "-c", script] });
  assertEquals([exit_code, stderr], [0, ""]);
  return stdout;
}

/** What a container has printed, as its log has it: time, stream, F for a whole line, text. */
export const logOf = ({ directory }: Node, pod: Pod) =>
  Deno.readTextFileSync(`${directory}/logs/${(pod.config.metadata as { uid: string }).uid}/0.log`).trimEnd()
    .split("\n").map((line) => line.split(" ").slice(1).join(" "));
