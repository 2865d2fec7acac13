/** What only some kernels have, and tests that need it. */

import { existsSync } from "@std/fs";
import { type Box, execute, inBox } from "../../integration/harness.ts";

const mountPoint = "/sys/fs/cgroup";
const controllers = Deno.readTextFileSync(`${mountPoint}/cgroup.controllers`).trim().split(" ");

/** Whether cgroups below the top have the file. */
function hasFile(controller: string, file: string): boolean {
  if (!controllers.includes(controller)) return false;
  const probe = `${mountPoint}/runc-probe`;
  Deno.writeTextFileSync(`${mountPoint}/cgroup.subtree_control`, `+${controller}`);
  Deno.mkdirSync(probe);
  try {
    return existsSync(`${probe}/${file}`);
  } finally {
    Deno.removeSync(probe);
  }
}

/** A device of software over a network device of software, made once. rdma-link(8) */
function hasRdmaDevice(): boolean {
  const device = "/sys/class/infiniband/rxe0";
  if (existsSync(device)) return true;
  execute(["/usr/sbin/ip", "link", "add", "rdma0", "type", "dummy"]);
  execute(["/usr/sbin/ip", "link", "set", "rdma0", "up"]);
  execute(["/usr/bin/rdma", "link", "add", "rxe0", "type", "rxe", "netdev", "rdma0"]);
  return controllers.includes("rdma") && existsSync(device);
}

/** How to find out, by what it is called in names of tests. */
const needs = {
  "cpuset": () => controllers.includes("cpuset"),
  "hugetlb": () => controllers.includes("hugetlb"),
  "misc": () => controllers.includes("misc"),
  "io.max": () => hasFile("io", "io.max"),
  "io.weight": () => hasFile("io", "io.weight") || hasFile("io", "io.bfq.weight"),
  "pressure": () => existsSync("/proc/pressure/memory"),
  "an RDMA device": hasRdmaDevice,
  "two processors": () => navigator.hardwareConcurrency > 1,
} as const;

/** One of them. */
export type Need = keyof typeof needs;

/** What a machine is booted for, see README.md. There a test that needs it fails rather than be left out. */
const promised: Readonly<Record<string, readonly Need[]>> = {
  full: ["cpuset", "misc", "io.max", "io.weight", "pressure", "an RDMA device", "two processors"],
  qemu: ["cpuset", "hugetlb", "misc", "io.max", "pressure", "an RDMA device", "two processors"],
};

const promises = promised[Deno.env.get("RUNC_VM_MACHINE") ?? ""] ?? [];

/** A `boxTest` that needs something: its name says what that is, and it is left out where the kernel does not have it. */
export function testNeeding(need: Need, name: string, body: (box: Box) => void): void {
  // Looked for in any case: the device has to be made.
  const isThere = needs[need]() || promises.includes(need);
  const why = `needs ${need}${isThere ? "" : ", which this kernel does not have"}`;
  Deno.test({ name: `${name} (${why})`, ignore: !isThere, fn: () => inBox("native", body) });
}
