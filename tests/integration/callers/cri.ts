/**
 * The kubelet's side of the container runtime interface, as far as the tests need it.
 *
 * Field numbers: Kubernetes 1.36, staging/src/k8s.io/cri-api/pkg/apis/runtime/v1/api.proto
 */

import { assert } from "@std/assert";
import { GrpcClient } from "./grpc.ts";
import { decode, encode, type Message, type Table } from "./protobuf.ts";

const strings = ["list", "string"] as const;
const int64Value = { value: [1, "int"] } as const satisfies Table;

/** Where a namespace is from. */
export const NamespaceMode = { POD: 0, CONTAINER: 1, NODE: 2, TARGET: 3 } as const;
/** Where a profile is from. */
export const ProfileType = { RuntimeDefault: 0, Unconfined: 1, Localhost: 2 } as const;
/** What a container's `state` says. */
export const ContainerState = { CREATED: 0, RUNNING: 1, EXITED: 2, UNKNOWN: 3 } as const;
/** What a pod's `state` says. */
export const PodState = { READY: 0, NOTREADY: 1 } as const;

const namespaceOption = {
  network: [1, "int"],
  pid: [2, "int"],
  ipc: [3, "int"],
  target_id: [4, "string"],
} as const satisfies Table;
const securityProfile = { profile_type: [1, "int"], localhost_ref: [2, "string"] } as const satisfies Table;
const resources = {
  cpu_period: [1, "int"],
  cpu_quota: [2, "int"],
  cpu_shares: [3, "int"],
  memory_limit_in_bytes: [4, "int"],
  oom_score_adj: [5, "int"],
  cpuset_cpus: [6, "string"],
} as const satisfies Table;

const podConfig = {
  metadata: [1, { name: [1, "string"], uid: [2, "string"], namespace: [3, "string"], attempt: [4, "int"] }],
  hostname: [2, "string"],
  log_directory: [3, "string"],
  linux: [8, {
    cgroup_parent: [1, "string"],
    security_context: [2, { namespace_options: [1, namespaceOption], privileged: [6, "bool"] }],
  }],
} as const satisfies Table;

const securityContext = {
  capabilities: [1, { add_capabilities: [1, strings], drop_capabilities: [2, strings] }],
  privileged: [2, "bool"],
  namespace_options: [3, namespaceOption],
  run_as_user: [5, int64Value],
  run_as_group: [12, int64Value],
  readonly_rootfs: [7, "bool"],
  no_new_privs: [11, "bool"],
  masked_paths: [13, strings],
  readonly_paths: [14, strings],
  seccomp: [15, securityProfile],
} as const satisfies Table;

const containerConfig = {
  metadata: [1, { name: [1, "string"], attempt: [2, "int"] }],
  image: [2, { image: [1, "string"] }],
  command: [3, strings],
  args: [4, strings],
  working_dir: [5, "string"],
  envs: [6, ["list", { key: [1, "string"], value: [2, "string"] }]],
  mounts: [7, [
    "list",
    { container_path: [1, "string"], host_path: [2, "string"], readonly: [3, "bool"], propagation: [5, "int"] },
  ]],
  log_path: [11, "string"],
  linux: [15, { resources: [1, resources], security_context: [2, securityContext] }],
} as const satisfies Table;

const podId = { pod_sandbox_id: [1, "string"] } as const satisfies Table;
const containerId = { container_id: [1, "string"] } as const satisfies Table;
const nothing = {} as const satisfies Table;

/** Request and answer of each call. */
const calls = {
  Version: [nothing, { runtime_name: [2, "string"], runtime_version: [3, "string"] }],
  RunPodSandbox: [{ config: [1, podConfig], runtime_handler: [2, "string"] }, podId],
  StopPodSandbox: [podId, nothing],
  RemovePodSandbox: [podId, nothing],
  PodSandboxStatus: [podId, { status: [1, { state: [3, "int"], network: [5, { ip: [1, "string"] }] }] }],
  CreateContainer: [{ ...podId, config: [2, containerConfig], sandbox_config: [3, podConfig] }, containerId],
  StartContainer: [containerId, nothing],
  StopContainer: [{ ...containerId, timeout: [2, "int"] }, nothing],
  RemoveContainer: [containerId, nothing],
  ListContainers: [nothing, { containers: [1, ["list", { id: [1, "string"], state: [6, "int"] }]] }],
  ContainerStatus: [containerId, {
    status: [1, { state: [3, "int"], exit_code: [7, "int"], reason: [10, "string"], message: [11, "string"] }],
  }],
  UpdateContainerResources: [{ ...containerId, linux: [2, resources] }, nothing],
  ExecSync: [{ ...containerId, cmd: [2, strings], timeout: [3, "int"] }, {
    stdout: [1, "string"],
    stderr: [2, "string"],
    exit_code: [3, "int"],
  }],
  ContainerStats: [containerId, {
    stats: [1, { memory: [3, { working_set_bytes: [2, int64Value] }], cpu: [2, { timestamp: [1, "int"] }] }],
  }],
} as const satisfies Record<string, readonly [request: Table, answer: Table]>;

/** A call of the runtime service. */
export type CriCall = keyof typeof calls;

/** A kubelet that is connected to a runtime. */
export class Kubelet {
  readonly #client: GrpcClient;

  private constructor(client: GrpcClient) {
    this.#client = client;
  }

  /** `socket`: the runtime's. */
  static async connect(socket: string): Promise<Kubelet> {
    return new Kubelet(await GrpcClient.connect(socket));
  }

  /** Answer of the runtime, or in `error` what it says is wrong. */
  async try(call: CriCall, request: Message = {}): Promise<{ readonly answer: Message; readonly error?: string }> {
    const [asked, answered] = calls[call];
    const answer = await this.#client.call(`/runtime.v1.RuntimeService/${call}`, encode(asked, request));
    return "bytes" in answer ? { answer: decode(answered, answer.bytes) } : { answer: {}, error: answer.message };
  }

  /** A call that has to succeed. */
  // deno-lint-ignore no-explicit-any -- the tables tell what is in it, and the tests look at it
  async call(call: CriCall, request: Message = {}): Promise<any> {
    let { answer, error } = await this.try(call, request);
    // Its socket is there before all of it is. instrumented_service.go of containerd
    for (let tries = 0; error?.includes("server is not initialized yet") && tries < 600; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      ({ answer, error } = await this.try(call, request));
    }
    assert(error === undefined, `${call}: ${error}`);
    return answer;
  }

  close(): Promise<void> {
    return this.#client.close();
  }
}
