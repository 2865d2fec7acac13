/**
 * What the kernel and the host's administrator write, and containers may have a say in: mountinfo, files of cgroups and
 * of /proc, /etc/passwd and /etc/group.
 *
 * @module
 */

import { parseDevicesList, transition } from "../../../lib/cgroups/devices/rules.ts";
import { directoryOf, parseCgroupLayout, parseProcCgroup, v1Mounts } from "../../../lib/cgroups/layout.ts";
import { linesBack } from "../../../lib/cgroups/limits/remember_files.ts";
import { cgroupPaths } from "../../../lib/cgroups/path.ts";
import { mountPointsOf } from "../../../lib/cgroups/rdt/resctrl.ts";
import { parseCount, parseIdList, parseKeyed } from "../../../lib/cgroups/stats/files.ts";
import { pageSizeName, parsePressure, parseRdma } from "../../../lib/cgroups/stats/parts.ts";
import { parseBlockIo, parseUsageAll } from "../../../lib/cgroups/stats/v1.ts";
import { parseIoStat } from "../../../lib/cgroups/stats/v2.ts";
import { filterTable } from "../../../lib/cli/commands/ps.ts";
import { parseOwnerUid } from "../../../lib/cli/identity.ts";
import { ownerName } from "../../../lib/cli/output/state.ts";
import { distributionOf } from "../../../lib/libcontainer/checks/doctor/packages.ts";
import {
  capabilitiesOf,
  coversOf,
  enabledControllers,
  fileSystemsOf,
  hugepageSize,
  interfacesOf,
  mountLines,
  numbersOf,
  showsAllOfProc,
  subordinateRanges,
  sysctlPath,
  userName,
} from "../../../lib/libcontainer/checks/read/parse_host.ts";
import { readProgramHead } from "../../../lib/libcontainer/checks/read/program_format.ts";
import { isHostIdMap } from "../../../lib/libcontainer/config/id_mappings.ts";
import {
  parseCapabilities,
  parseIdMap,
  parseLimits,
  parseMountinfo,
  parseStatus,
} from "../../../lib/libcontainer/inspect/proc_files.ts";
import { homeOf } from "../../../lib/libcontainer/launch/passwd.ts";
import { parseStat } from "../../../lib/libcontainer/state/process_status.ts";
import { parseIdRange, userHome } from "../../../lib/sandbox/config/facts.ts";
import { resolveUser } from "../../../lib/sandbox/rootfs/image/image_process.ts";
import { mutateBytes, mutateText, numbers } from "../mutate_text.ts";
import { asBytes, asText, hold, type Target } from "../target.ts";
import { textOf } from "./configs.ts";

const hybrid = `22 1 253:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
23 22 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:13 - proc proc rw
24 22 0:22 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
25 24 0:23 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,size=4096k,nr_inodes=1024,mode=755
26 25 0:24 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate
27 25 0:25 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd
28 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:12 - cgroup cgroup rw,cpu,cpuacct
29 25 0:27 /a /sys/fs/cgroup/memory rw,nosuid shared:14 - cgroup cgroup rw,memory
30 25 0:28 / /sys/fs/cgroup/devices rw master:5 propagate_from:2 - cgroup cgroup rw,devices
31 22 0:29 / /mnt/with\\040blank\\134 rw unbindable - tmpfs a\\040b rw
32 24 0:30 / /sys/fs/resctrl rw - resctrl resctrl rw
33 22 0:31 / /proc/sys ro - proc proc rw
`;
const unified = `22 1 253:0 / / rw - ext4 /dev/vda1 rw
24 22 0:22 / /sys rw shared:7 - sysfs sysfs rw
26 24 0:24 / /sys/fs/cgroup rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
`;
const ownCgroups = `4:cpu,cpuacct:/user.slice
3:memory:/a/b
2:devices:/
1:name=systemd:/user.slice/session-1.scope
0::/user.slice/a:b
`;
const mountWords = [
  "cgroup",
  "cgroup2",
  "-",
  "shared:1",
  "/sys/fs/cgroup",
  "/sys",
  "name=systemd",
  "rw,memory",
  "/..",
  "resctrl",
];

/** Both texts that a layout is made from stand in one input. */
const BETWEEN = "\f";

const mountinfo: Target = {
  name: "mountinfo",
  share: 60,
  make: (random) => mutateText(random.pick([hybrid, unified]) + BETWEEN + ownCgroups, random, mountWords),
  run: (input) => {
    const [mounts = "", cgroups = ""] = asText(input).split(BETWEEN);
    const layout = parseCgroupLayout(mounts, cgroups);
    const lines = mountLines(mounts);
    const proc = lines.find(({ type }) => type === "proc");
    const made = [
      parseMountinfo(mounts),
      mountPointsOf(mounts),
      showsAllOfProc(lines),
      proc === undefined ? [] : coversOf(lines, proc),
      v1Mounts(layout, { memory: "/x" }),
      parseProcCgroup(cgroups).length,
    ];
    for (const hierarchy of layout.hierarchies) {
      for (const path of ["/a/b", "/../x", hierarchy.ownPath]) {
        const directory = directoryOf(hierarchy, path);
        const { mountPoint } = hierarchy;
        hold(
          directory === mountPoint || directory.startsWith(`${mountPoint}/`),
          () => `${directory} is not below ${mountPoint}`,
        );
      }
    }
    const paths = cgroupPaths(layout, { id: "box", cgroupsPath: "/../a/./b" });
    return textOf([layout, paths, ...made]).length;
  },
};

const cgroupTexts: readonly string[] = [
  "cache 12288\nrss 4096\nhierarchical_memory_limit 9223372036854771712\noom_kill 3\n",
  "usage_usec 100\nuser_usec 60\nsystem_usec 40\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
  "max\n",
  "9223372036854771712\n",
  "some avg10=0.12 avg60=0.00 avg300=0.00 total=123\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
  "mlx5_0 hca_handle=2 hca_object=max\n",
  "8:0 Read 1282048\n8:0 Write 0\n8:0 Total 1282048\nTotal 1282048\n",
  "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n",
  "cpu user system\n0 123 456\n1 789 0\n",
  "0-2,5\n",
  "a *:* rwm\n",
  "c 1:3 rwm\nb *:* m\nc 136:* rwm\n",
  "8:0 rbps=max wbps=1048576 riops=max wiops=max\n",
];
const cgroupWords = [
  "max",
  "Total",
  "Read",
  "8:0",
  "c",
  "b",
  "a",
  "*:*",
  "rwm",
  "0-4294967295",
  "0-99999999",
  "5-2",
  "rbytes=1",
  "some",
];
const limitFiles = [
  "io.max",
  "blkio.throttle.read_bps_device",
  "io.weight",
  "memory.max",
  "cpu.max",
  "net_prio.ifpriomap",
  "rdma.max",
];

const empty = parseDevicesList("");

const readers: readonly ((text: string) => unknown)[] = [
  parseCount,
  parseKeyed,
  parseIdList,
  parsePressure,
  parseRdma,
  parseBlockIo,
  parseIoStat,
  parseUsageAll,
  (text) => {
    const filter = parseDevicesList(text);
    return [transition(empty, filter), transition(filter, empty)];
  },
  (text) => limitFiles.map((file) => linesBack(file, text, cgroupTexts.at(-1)!)),
  pageSizeName,
  numbersOf,
];

/** Every reader reads each text: which file the kernel has at a name is not a reader's to know. */
const cgroupFiles: Target = {
  name: "cgroup files",
  share: 80,
  make: (random) => mutateText(random.pick(cgroupTexts), random, cgroupWords),
  run: (input) => {
    const text = asText(input);
    return readers.reduce((sum, read) => sum + sizeOf(() => read(text)), 0);
  },
};

/** The size of what a reader makes; 0 for what it refuses. */
function sizeOf(read: () => unknown): number {
  try {
    return textOf(read()).length;
  } catch (error) {
    if (error instanceof Error && error.name === "RuncError") return 0;
    throw error;
  }
}

const accounts = `root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
# comment
+::::::
someone:x:1000:1000:Some One,,,:/home/someone:/bin/sh
${BETWEEN}root:x:0:
wheel:x:10:someone,root
someone:x:1000:
${BETWEEN}someone:100000:65536
1000:165536:65536
`;
const users = [
  "",
  "0",
  "someone",
  "someone:wheel",
  "1000:1000",
  ":",
  "nobody",
  "4294967295",
  "-1",
  "someone:",
  ":wheel",
  "0x10",
];

const passwd: Target = {
  name: "accounts",
  share: 60,
  make: (random) =>
    random.pick(users) + BETWEEN + mutateText(accounts, random, [...users, "root", "x", ":::::::", ...numbers]),
  run: (input) => {
    const [user = "", passwd = "", group = "", ranges = ""] = asText(input).split(BETWEEN);
    const homes = [0, 1, 1000, 4294967294].flatMap((uid) => {
      const home = homeOf(uid, passwd);
      hold(home !== "" && !home.includes("\0"), () => `HOME is ${JSON.stringify(home)}`);
      return [home, userName(passwd, uid), userHome(passwd, uid), ownerName(uid, passwd)];
    });
    const range = [
      subordinateRanges(ranges, { uid: 1000, name: "someone" }),
      parseIdRange(ranges, { uid: 1000, name: "someone" }),
    ];
    const { uid, gid, additionalGids = [] } = resolveUser(user, { passwd, group });
    hold(
      [uid, gid, ...additionalGids].every((id) => Number.isInteger(id) && id >= 0 && id < 0xffffffff),
      () => `the ids ${uid} ${gid}`,
    );
    return textOf([homes, range, uid, gid, additionalGids]).length;
  },
};

const procTexts: readonly string[] = [
  "4242 (a) b) S 1 4242 4242 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 123456 1 1 18446744073709551615 1 1 1 1 1 0 0 0 0 0 0 0 17 1 0 0 0 0 0 1 1 1 1 1 1 1 9\n",
  "Name:\tsh\nUmask:\t0022\nUid:\t0\t0\t0\t0\nGroups:\t0 10 \nCapInh:\t0000000000000000\nCapPrm:\t000001ffffffffff\nCapEff:\t000001ffffffffff\nSeccomp:\t2\n",
  "Limit                     Soft Limit           Hard Limit           Units     \nMax cpu time              unlimited            unlimited            seconds   \nMax open files            1024                 1048576              files     \n",
  "         0          0 4294967295\n",
  "nodev\tsysfs\nnodev\ttmpfs\n\text4\n",
  "Inter-|   Receive\n face |bytes\n    lo:  1 2 3\n  eth0: 4 5 6\n",
  "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t4\t10\t1\nmemory\t5\t60\t0\n",
  "hugepages-2048kB",
  "net.ipv4.conf.eth0/1.forwarding",
  'PRETTY_NAME="Debian GNU/Linux 12"\nID=debian\nID_LIKE="a b"\n',
  "UniqueName=:1.0\nOwnerUID=1000\n",
  "UID          PID    PPID  C STIME TTY          TIME CMD\nroot           1       0  0 10:00 ?        00:00:01 sh\nroot        4242       1  0 10:00 ?        00:00:00 a b\n",
];

const procReaders: readonly ((text: string) => unknown)[] = [
  parseStat,
  parseStatus,
  parseLimits,
  parseIdMap,
  isHostIdMap,
  fileSystemsOf,
  interfacesOf,
  enabledControllers,
  hugepageSize,
  sysctlPath,
  distributionOf,
  parseOwnerUid,
  (text) => filterTable(text, new Set([1, 4242])),
  (text) => capabilitiesOf(text, "CapPrm"),
  (text) => parseCapabilities(/CapEff:\s*([0-9a-f]+)$/m.exec(text)?.[1] ?? "0"),
];

const procFiles: Target = {
  name: "proc files",
  share: 60,
  make: (random) =>
    mutateText(random.pick(procTexts), random, ["CapPrm:", "PID", "unlimited", "(", ")", "ID=", "nodev", ...numbers]),
  run: (input) => {
    const text = asText(input);
    return procReaders.reduce((sum, read) => sum + sizeOf(() => read(text)), 0);
  },
};

/** An ELF file with an interpreter, and scripts. */
const programs = [
  (() => {
    const bytes = new Uint8Array(200);
    const view = new DataView(bytes.buffer);
    bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
    view.setUint16(16, 3, true);
    view.setUint16(18, 62, true);
    view.setUint32(20, 1, true);
    view.setBigUint64(32, 64n, true);
    view.setUint16(52, 64, true);
    view.setUint16(54, 56, true);
    view.setUint16(56, 1, true);
    view.setUint32(64, 3, true);
    view.setBigUint64(72, 120n, true);
    view.setBigUint64(96, 20n, true);
    bytes.set(new TextEncoder().encode("/lib64/ld-linux.so.2\0"), 120);
    return bytes;
  })(),
  new TextEncoder().encode("#!/bin/sh -e\necho\n"),
  new TextEncoder().encode("#! /usr/bin/env   python3\n"),
];

const program: Target = {
  name: "program",
  share: 60,
  make: (random) => mutateBytes(random.pick(programs), random),
  run: (input) => textOf(readProgramHead(asBytes(input))).length,
};

/** Targets of files of the host. */
export const hostTargets: readonly Target[] = [mountinfo, cgroupFiles, passwd, procFiles, program];
