/** Kubernetes: containerd's CRI service, with the calls that a kubelet makes. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { execute } from "../harness.ts";
import { ContainerState, NamespaceMode, PodState, ProfileType } from "./cri.ts";
import { ended, inside, logOf, newName, type Node, openNode, secured, start, statusOf, withPod } from "./node.ts";
import { missing, Workshop } from "./workshop.ts";

const cases: readonly [name: string, body: (node: Node) => Promise<void>][] = [
  ["the runtime is containerd", async ({ kubelet }) => {
    assertEquals((await kubelet.call("Version")).runtime_name, "containerd");
  }],
  ["a pod is ready, has an address, and is not ready once it is stopped", async (node) => {
    await withPod(node, {}, async ({ id: pod_sandbox_id }) => {
      const { status } = await node.kubelet.call("PodSandboxStatus", { pod_sandbox_id });
      assertEquals([status.state, status.network.ip], [PodState.READY, "10.9.8.7"]);
      await node.kubelet.call("StopPodSandbox", { pod_sandbox_id });
      assertEquals((await node.kubelet.call("PodSandboxStatus", { pod_sandbox_id })).status.state, PodState.NOTREADY);
    });
  }],
  ["the containers of a pod share network, ipc and host name, and not their processes", async (node) => {
    await withPod(node, {}, async (pod) => {
      const [one, other] = [await start(node, pod, ["sleep", "1000"]), await start(node, pod, ["sleep", "1000"])];
      const script = "hostname; for type in net ipc uts pid mnt; do readlink /proc/self/ns/$type; done";
      const [first, second] = [await inside(node, one!, script), await inside(node, other!, script)].map((text) =>
        text.trimEnd().split("\n")
      );
      assertEquals([first![0], first!.slice(0, 4)], ["a-pod", second!.slice(0, 4)]);
      assert(first![4] !== second![4] && first![5] !== second![5]);
    });
  }],
  ["the containers of a pod share their processes where it says so", async (node) => {
    await withPod(node, { pid: NamespaceMode.POD }, async (pod) => {
      const shared = { linux: { security_context: { namespace_options: { pid: NamespaceMode.POD } } } };
      const one = await start(node, pod, ["sleep", "1001"], shared);
      const other = await start(node, pod, ["sleep", "1002"], shared);
      assertMatch(await inside(node, other, "ps"), /sleep 1000000[^]*sleep 1001/);
      await node.kubelet.call("StopContainer", { container_id: one, timeout: 0 });
      assertEquals((await statusOf(node, other)).state, ContainerState.RUNNING);
    });
  }],
  ["a pod on the node's network, with the node's processes", async (node) => {
    const namespaces = { network: NamespaceMode.NODE, pid: NamespaceMode.NODE, ipc: NamespaceMode.NODE };
    await withPod(node, namespaces, async (pod) => {
      const id = await start(node, pod, ["sleep", "1000"], secured({ namespace_options: namespaces }));
      assertMatch(await inside(node, id, "ps"), /containerd/);
    });
  }],
  ["a container's status and its log", async (node) => {
    await withPod(node, {}, async (pod) => {
      const id = await start(node, pod, ["sh", "-c", "echo out; sleep 0; echo err >&2; exit 7"]);
      const { exit_code, reason } = await ended(node, id);
      assertEquals([exit_code, reason], [7, "Error"]);
      assertEquals(logOf(node, pod).toSorted(), ["stderr F err", "stdout F out"]);
    });
    await withPod(node, {}, async (pod) => {
      const { exit_code, reason } = await ended(node, await start(node, pod, ["true"]));
      assertEquals([exit_code, reason], [0, "Completed"]);
    });
  }],
  ["a command that is missing, or none, is told of", async (node) => {
    await withPod(node, {}, async (pod) => {
      for (
        const [command, error] of [
          ["nonsense", /exec: "nonsense": executable file not found in \$PATH/],
          ["/work/nonsense", /exec: "\/work\/nonsense": stat \/work\/nonsense: no such file or directory/],
          ["/work/script", /exec: "\/work\/script": permission denied/],
        ] as const
      ) {
        const config = {
          metadata: { name: newName() },
          image: { image: "docker.io/library/busybox:latest" },
          command: [command],
        };
        const request = { pod_sandbox_id: pod.id, config, sandbox_config: pod.config };
        const { container_id } = await node.kubelet.call("CreateContainer", request);
        assertMatch((await node.kubelet.try("StartContainer", { container_id })).error ?? "", error);
        const { exit_code, reason } = await statusOf(node, container_id);
        assertEquals([exit_code, reason], [128, "StartError"]);
      }
    });
  }],
  ["probes: their output and status, and their end after a timeout", async (node) => {
    await withPod(node, {}, async (pod) => {
      const container_id = await start(node, pod, ["sleep", "1000"]);
      const cmd = ["sh", "-c", "echo out; echo err >&2; exit 3"];
      assertEquals(await node.kubelet.call("ExecSync", { container_id, cmd }), {
        stdout: "out\n",
        stderr: "err\n",
        exit_code: 3,
      });
      const slow = { container_id, cmd: ["sleep", "1000"], timeout: 1 };
      assertMatch((await node.kubelet.try("ExecSync", slow)).error ?? "", /timeout 1s exceeded|deadline exceeded/);
      assertMatch(
        (await node.kubelet.try("ExecSync", { container_id, cmd: ["nonsense"] })).error ?? "",
        /executable file not found in \$PATH/,
      );
      assertEquals((await inside(node, container_id, "ps")).includes("{sleep}"), false);
    });
  }],
  ["stop: a container that ends by itself, and one that has to be killed", async (node) => {
    await withPod(node, {}, async (pod) => {
      const script = 'trap "exit 5" TERM; echo > /ready; while :; do sleep 0.01; done';
      const polite = await start(node, pod, ["sh", "-c", script]);
      await inside(node, polite, "until test -e /ready; do sleep 0.01; done");
      await node.kubelet.call("StopContainer", { container_id: polite, timeout: 60 });
      assertEquals((await statusOf(node, polite)).exit_code, 5);
      const deaf = await start(node, pod, ["sleep", "1000"]);
      await node.kubelet.call("StopContainer", { container_id: deaf, timeout: 0 });
      assertEquals((await statusOf(node, deaf)).exit_code, 137);
      await node.kubelet.call("RemoveContainer", { container_id: deaf });
      const { containers } = await node.kubelet.call("ListContainers");
      assertEquals(containers.map(({ id }: { id: string }) => id).includes(deaf), false);
    });
  }],
  ["resources, changed while it runs, and statistics", async (node) => {
    await withPod(node, {}, async (pod) => {
      const given = { memory_limit_in_bytes: 64 << 20, cpu_shares: 512, cpu_period: 100_000, cpu_quota: 50_000 };
      const container_id = await start(node, pod, ["sleep", "1000"], secured({}, { ...given, oom_score_adj: 900 }));
      const script =
        "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 memory.max cpu.max; cat /proc/self/oom_score_adj";
      assertEquals(await inside(node, container_id, script), `${64 << 20}\n50000\n900\n`);
      const linux = { ...given, memory_limit_in_bytes: 128 << 20, cpu_quota: 25_000 };
      await node.kubelet.call("UpdateContainerResources", { container_id, linux });
      assertEquals(await inside(node, container_id, script), `${128 << 20}\n25000\n900\n`);
      const { stats } = await node.kubelet.call("ContainerStats", { container_id });
      assert(stats.memory.working_set_bytes.value > 0 && stats.cpu.timestamp > 0);
    });
  }],
  ["a container that needs too much memory is killed, and the reason told", async (node) => {
    await withPod(node, {}, async (pod) => {
      const limits = secured({}, { memory_limit_in_bytes: 16 << 20 });
      const { exit_code, reason } = await ended(node, await start(node, pod, ["tail", "/dev/zero"], limits));
      assertEquals([exit_code, reason], [137, "OOMKilled"]);
    });
  }],
  ["users, groups, a read-only root, no new privileges, masked paths", async (node) => {
    await withPod(node, {}, async (pod) => {
      const context = secured({
        run_as_user: { value: 1000 },
        run_as_group: { value: 1002 },
        readonly_rootfs: true,
        no_new_privs: true,
        masked_paths: ["/proc/kcore", "/proc/keys"],
        readonly_paths: ["/proc/sys"],
      });
      const id = await start(node, pod, ["sleep", "1000"], context);
      const script =
        "id -u; id -g; touch /tmp/x 2>/dev/null || echo refused; grep NoNewPrivs /proc/self/status; wc -c </proc/keys";
      assertEquals(await inside(node, id, script), "1000\n1002\nrefused\nNoNewPrivs:\t1\n0\n");
    });
  }],
  ["capabilities", async (node) => {
    await withPod(node, {}, async (pod) => {
      const capabilities = { drop_capabilities: ["ALL"], add_capabilities: ["KILL"] };
      const id = await start(node, pod, ["sleep", "1000"], secured({ capabilities }));
      assertMatch(await inside(node, id, "grep CapEff /proc/self/status"), /0000000000000020$/m);
    });
  }],
  ["the default seccomp profile", async (node) => {
    await withPod(node, {}, async (pod) => {
      for (const [profile_type, mode] of [[ProfileType.RuntimeDefault, 2], [ProfileType.Unconfined, 0]] as const) {
        const id = await start(node, pod, ["sleep", "1000"], secured({ seccomp: { profile_type } }));
        assertMatch(await inside(node, id, "grep Seccomp: /proc/1/status"), new RegExp(`:\\t${mode}$`, "m"));
      }
    });
  }],
  ["environment, working directory, volumes of the node, read-only if wanted", async (node) => {
    await withPod(node, {}, async (pod) => {
      const host_path = `${node.directory}/volume`;
      Deno.mkdirSync(host_path);
      const id = await start(node, pod, ["sleep", "1000"], {
        working_dir: "/work",
        envs: [{ key: "WHAT", value: "that one" }],
        mounts: [{ container_path: "/v", host_path }, { container_path: "/r", host_path, readonly: true }],
      });
      const script = 'pwd; echo "$WHAT"; echo kept >/v/file; cat /r/file; touch /r/x 2>/dev/null || echo refused';
      assertEquals(await inside(node, id, script), "/work\nthat one\nkept\nrefused\n");
      assertEquals(Deno.readTextFileSync(`${host_path}/file`), "kept\n");
    });
  }],
];

const lacking = missing([{ program: "containerd", package: "containerd" }, { program: "ctr", package: "containerd" }]);
Deno.test({
  name: `kubernetes: containerd's CRI${lacking}`,
  ignore: lacking !== "",
  fn: async (t) => {
    using workshop = new Workshop();
    const node = await openNode(workshop);
    try {
      for (const [what, body] of cases) await t.step(what, () => body(node));
      const left = execute(["/usr/bin/find", "/sys/fs/cgroup", "-path", `*${node.name}/*`, "-type", "d"]).stdout;
      assertEquals(left, "");
    } finally {
      await node.kubelet.close();
    }
  },
});
