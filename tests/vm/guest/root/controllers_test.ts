/** Controllers of cgroup v2 that few kernels of virtual machines have. Runs in the virtual machine, as root. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Box, execute, until } from "../../../integration/harness.ts";
import { type Need, testNeeding } from "../needs.ts";
import { type Driver, drivers, read, start } from "./drivers.ts";

const MEGABYTE = 1 << 20;

/** A test with each driver. */
function withDrivers(need: Need, name: string, body: (box: Box, driver: Driver) => void): void {
  for (const driver of drivers) testNeeding(need, `${driver.driver}: ${name}`, (box) => body(box, driver));
}

const stats = (box: Box) => JSON.parse(box.must(["events", "--stats", box.id])).data;

// --- cpuset ------------------------------------------------------------------------------------------------------------

/** What a process of the container may run on. */
const allowed = (box: Box) =>
  box.must(["exec", box.id, "grep", "Cpus_allowed_list", "/proc/self/status"]).split(/\s/)[1];

withDrivers("cpuset", "processors are the container's alone to be chosen from, and change", (box, driver) => {
  start(box, driver, (config) => config.linux.resources = { cpu: { cpus: "0", mems: "0" } });
  assertEquals(["cpus", "cpus.effective", "mems"].map((name) => read(box, `cpuset.${name}`)), ["0", "0", "0"]);
  assertEquals(allowed(box), "0");
  if (navigator.hardwareConcurrency > 1) {
    box.must(["update", "--cpuset-cpus", "1", box.id]);
    assertEquals([read(box, "cpuset.cpus.effective"), allowed(box)], ["1", "1"]);
  }
  const { msg } = box.refused(["update", "--cpuset-cpus", "900-901", box.id]);
  assertMatch(msg, /cpuset|AllowedCPUs/);
  box.remove();
});

withDrivers("cpuset", "unified has processors, too", (box, driver) => {
  const unified = { "cpuset.cpus": "0", "cpuset.mems": "0", "cpuset.cpus.partition": "member" };
  start(box, driver, (config) => config.linux.resources = { unified });
  assertEquals(Object.fromEntries(Object.keys(unified).map((name) => [name, read(box, name)])), unified);
  box.remove();
});

testNeeding("two processors", "a process of exec runs where config.json says", (box) => {
  box.startSleeping();
  const process = JSON.stringify({
    cwd: "/",
    args: ["grep", "Cpus_allowed_list", "/proc/self/status"],
    env: ["PATH=/bin"],
    user: { uid: 0, gid: 0 },
    execCPUAffinity: { initial: "0", final: "1" },
  });
  Deno.writeTextFileSync(`${box.bundle}/process.json`, process);
  assertEquals(box.must(["exec", "--process", "process.json", box.id]).split(/\s/)[1], "1");
  box.remove();
});

// --- block devices -------------------------------------------------------------------------------------------------------

/** The disk that the bundle is on, as the kernel numbers it: partitions have no limits of their own. */
function diskOf(box: Box): { major: number; minor: number } {
  const { stdout } = execute(["/usr/bin/stat", "--format=%Hd %Ld", box.bundle]);
  const [major = 0, minor = 0] = stdout.trim().split(" ").map(Number);
  return { major, minor };
}

withDrivers("io.max", "a process that writes more than it may waits", (box, driver) => {
  const { major, minor } = diskOf(box);
  const rate = MEGABYTE;
  start(box, driver, (config) => {
    config.root.readonly = false;
    config.linux.resources = { blockIO: { throttleWriteBpsDevice: [{ major, minor, rate }] } };
  });
  assertEquals(read(box, "io.max"), `${major}:${minor} rbps=max wbps=${rate} riops=max wiops=max`);
  // Past the page cache, so that the disk is waited for. By a clock inside: starting exec takes its time, too.
  const write = "busybox dd if=/dev/zero of=/big bs=65536 count=48 oflag=direct 2> /dev/null";
  const script = `read before _ < /proc/uptime; ${write}; read after _ < /proc/uptime; echo $before $after`;
  const [before = 0, after = 0] = box.must(["exec", box.id, "sh", "-c", script]).trim().split(" ").map(Number);
  // Three MB, of which the kernel may let some through at once.
  assert(after - before >= 2, `${after - before} s`);
  const written = stats(box).blkio.ioServiceBytesRecursive.find((entry: { major: number; op: string }) =>
    entry.major === major && entry.op === "Write"
  );
  assert(written.value >= 3 * MEGABYTE, JSON.stringify(written));
  box.must(["update", "--resources", "-", box.id], {
    stdin: JSON.stringify({ blockIO: { throttleReadIOPSDevice: [{ major, minor, rate: 77 }] } }),
  });
  assertEquals(read(box, "io.max"), `${major}:${minor} rbps=max wbps=${rate} riops=77 wiops=max`);
  box.remove();
});

withDrivers("io.max", "unified has lines for one device, too", (box, driver) => {
  const { major, minor } = diskOf(box);
  const device = `${major}:${minor}`;
  const unified = { "io.max": `${device} riops=333\n${device} wiops=444` };
  start(box, driver, (config) => config.linux.resources = { unified });
  assertEquals(read(box, "io.max"), `${device} rbps=max wbps=max riops=333 wiops=444`);
  box.remove();
});

withDrivers("io.weight", "a weight is BFQ's where the kernel has that", (box, driver) => {
  start(box, driver, (config) => config.linux.resources = { blockIO: { weight: 333 } });
  const weight = (() => {
    try {
      return read(box, "io.bfq.weight");
    } catch {
      return read(box, "io.weight");
    }
  })();
  // On io.weight's scale: 1 + (333 - 10) * 9999 / 990.
  assert(["default 333", "333", "default 3263"].includes(weight), weight);
  box.must(["update", "--blkio-weight", "444", box.id]);
  box.remove();
});

// --- what is counted ----------------------------------------------------------------------------------------------------

withDrivers("pressure", "events and the metrics tell how long processes waited", (box, driver) => {
  start(box, driver, (config) => config.linux.resources = { cpu: { quota: 10_000, period: 100_000 } });
  box.must(["exec", "--detach", box.id, "sh", "-c", "while :; do :; done"]);
  until("pressure", () => /^some .* total=[1-9]/m.test(read(box, "cpu.pressure")));
  const { cpu, memory, blkio } = stats(box);
  assert(cpu.psi.some.total > 0, JSON.stringify(cpu.psi));
  for (const { psi } of [cpu, memory, blkio]) {
    for (const kind of ["some", "full"]) assertEquals(Object.keys(psi[kind]), ["avg10", "avg60", "avg300", "total"]);
  }
  assertMatch(box.must(["events", "--format", "prometheus", box.id]), /pressure\w*\{[^}]*\} [0-9.]*[1-9]/);
  box.remove();
});

withDrivers(
  "misc",
  "the container's cgroup has the misc controller, which refuses a resource that is not there",
  (box, driver) => {
    start(box, driver, () => {});
    assertEquals(read(box, "misc.max"), "");
    stats(box);
    const unified = JSON.stringify({ unified: { "misc.max": "no_such_resource 1" } });
    const { msg } = box.refused(["update", "--resources", "-", box.id], { stdin: unified });
    assertMatch(msg, /misc\.max/);
    box.remove();
  },
);

withDrivers("an RDMA device", "handles and objects of a device are limited", (box, driver) => {
  start(box, driver, (config) => config.linux.resources = { rdma: { rxe0: { hcaHandles: 3, hcaObjects: 10_000 } } });
  assertEquals(read(box, "rdma.max"), "rxe0 hca_handle=3 hca_object=10000");
  // update knows the controller by unified alone, as runc's.
  const update = (limit: string) => ({ stdin: JSON.stringify({ unified: { "rdma.max": limit } }) });
  box.must(["update", "--resources", "-", box.id], update("rxe0 hca_handle=2"));
  assertEquals(read(box, "rdma.max"), "rxe0 hca_handle=2 hca_object=10000");
  const { msg } = box.refused(["update", "--resources", "-", box.id], update("none0 hca_handle=2"));
  assertMatch(msg, /rdma\.max/);
  box.remove();
});

withDrivers("hugetlb", "huge pages are limited and counted", (box, driver) => {
  // The machine has four; the container may have two.
  Deno.writeTextFileSync("/proc/sys/vm/nr_hugepages", "4");
  const limit = 4 * MEGABYTE;
  start(box, driver, (config) => {
    config.mounts.push({ destination: "/tmp", type: "hugetlbfs", source: "hugetlbfs", options: ["pagesize=2M"] });
    config.linux.resources = { hugepageLimits: [{ pageSize: "2MB", limit }] };
  });
  assertEquals(["max", "rsvd.max"].map((name) => read(box, `hugetlb.2MB.${name}`)), [`${limit}`, `${limit}`]);
  const allocate = (megabytes: number) =>
    box.runc(["exec", box.id, "busybox", "fallocate", "-l", `${megabytes * MEGABYTE}`, "/tmp/pages"]).code;
  assertEquals([allocate(4), allocate(6) === 0], [0, false]);
  assertMatch(read(box, "hugetlb.2MB.events"), /^max [1-9]/m);
  const { usage, failcnt } = stats(box).hugetlb["2MB"];
  assertEquals([usage, failcnt > 0], [limit, true]);
  box.remove();
});
