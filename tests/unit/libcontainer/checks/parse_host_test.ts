import { assertEquals } from "@std/assert";
import {
  capabilitiesOf,
  coversOf,
  enabledControllers,
  fileSystemsOf,
  hugepageSize,
  interfacesOf,
  isOfInterface,
  mountLines,
  numbersOf,
  showsAllOfProc,
  subordinateRanges,
  sysctlPath,
  userName,
} from "../../../../lib/libcontainer/checks/read/parse_host.ts";
import { dottedName } from "../../../../lib/libcontainer/config/validate/sysctl.ts";

Deno.test("numbersOf() reads lists of /sys", () => {
  assertEquals(numbersOf("0-1,4\n"), [0, 1, 4]);
  assertEquals(numbersOf(undefined), []);
});

Deno.test("hugepageSize() is the controller's name of a size", () => {
  const names = ["hugepages-2048kB", "hugepages-1048576kB", "hugepages-64kB", "other"];
  assertEquals(names.map(hugepageSize), ["2MB", "1GB", "64KB", undefined]);
});

Deno.test("fileSystemsOf(), interfacesOf() and enabledControllers() read tables of /proc", () => {
  assertEquals(fileSystemsOf("nodev\tproc\n\text4\n"), ["proc", "ext4"]);
  assertEquals(interfacesOf("Inter-|\n face |\n    lo: 1 2\nveth1: 3\n"), ["lo", "veth1"]);
  const table = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t3\t10\t1\nmemory\t0\t1\t0\n";
  assertEquals(enabledControllers(table), ["cpu"]);
});

Deno.test("subordinateRanges() finds a user by name and by number", () => {
  const text = "a:1:10\n1000:5:20\nb:7:1\nbroken\n";
  assertEquals(subordinateRanges(text, { uid: 1000, name: "a" }), [{ first: 1, size: 10 }, { first: 5, size: 20 }]);
  assertEquals(subordinateRanges(text, { uid: 1 }), []);
});

Deno.test("userName() reads /etc/passwd", () => {
  const passwd = "root:x:0:0::/root:/bin/sh\na:x:1000:1000::/:\n";
  assertEquals([0, 1000, 5].map((uid) => userName(passwd, uid)), ["root", "a", undefined]);
});

Deno.test("capabilitiesOf() reads the bits of a set", () => {
  assertEquals(capabilitiesOf("Name:\tx\nCapPrm:\t0000000000000021\n", "CapPrm"), ["CAP_CHOWN", "CAP_KILL"]);
  assertEquals(capabilitiesOf("", "CapPrm"), []);
});

const mountinfo = (...lines: string[]) => mountLines(lines.join("\n"));
const proc = "20 1 0:5 / /proc rw,nosuid - proc proc rw,hidepid=invisible";

Deno.test("mountLines() reads mountinfo", () => {
  assertEquals(mountinfo("36 35 98:0 /a\\040b /mnt rw,noexec master:1 - ext4 /dev/sda rw,errors=x"), [{
    id: 36,
    parent: 35,
    root: "/a b",
    mountPoint: "/mnt",
    options: ["rw", "noexec"],
    type: "ext4",
    superOptions: ["rw", "errors=x"],
  }]);
  assertEquals(mountinfo(proc)[0]?.superOptions, ["rw", "hidepid=invisible"]);
});

Deno.test("showsAllOfProc(): one mount of proc has nothing mounted on it but on empty directories", () => {
  const misc = "21 20 0:6 / /proc/sys/fs/binfmt_misc rw - binfmt_misc none rw";
  const cover = "22 20 0:7 / /proc/kcore ro - tmpfs tmpfs rw";
  const other = "23 1 0:8 / /mnt/proc rw - proc proc rw";
  assertEquals(showsAllOfProc(mountinfo(proc, misc)), true);
  assertEquals(showsAllOfProc(mountinfo(proc, cover)), false);
  assertEquals(coversOf(mountinfo(proc, misc, cover), mountinfo(proc)[0]!), ["/proc/kcore"]);
  assertEquals(showsAllOfProc(mountinfo(proc, cover, other)), true);
  assertEquals(showsAllOfProc(mountinfo()), false);
});

Deno.test("sysctlPath() follows sysctl(8)", () => {
  const keys = ["net.ipv4.ip_forward", "net/ipv4/conf/eno2.100/forwarding"];
  assertEquals(keys.map((key) => sysctlPath(dottedName(key))), [
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv4/conf/eno2.100/forwarding",
  ]);
  assertEquals(keys.map((key) => isOfInterface(dottedName(key))), [false, true]);
});
