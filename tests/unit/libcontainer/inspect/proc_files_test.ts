import { assertEquals } from "@std/assert";
import { rlimitNames } from "../../../../lib/ffi/constants.ts";
import {
  parseCapabilities,
  parseIdMap,
  parseLimits,
  parseMountinfo,
  parseStatus,
  wordsOf,
} from "../../../../lib/libcontainer/inspect/proc_files.ts";

Deno.test("parseStatus() and wordsOf() read values with tabs, blanks, and colons", () => {
  const status = parseStatus("Name:\ta:b\nUid:\t1000\t1000\t0\t0\nGroups:\t5 6 \nNoNewPrivs:\t1\n");
  assertEquals(status, { Name: "a:b", Uid: "1000\t1000\t0\t0", Groups: "5 6", NoNewPrivs: "1" });
  assertEquals(wordsOf(status.Uid!), ["1000", "1000", "0", "0"]);
  assertEquals(wordsOf(""), []);
});

Deno.test("parseCapabilities() names the bits, also those above 32 and those without a name", () => {
  assertEquals(parseCapabilities("0000000000000000"), []);
  assertEquals(parseCapabilities("0000010000200021"), [
    "CAP_CHOWN",
    "CAP_KILL",
    "CAP_SYS_ADMIN",
    "CAP_CHECKPOINT_RESTORE",
  ]);
  assertEquals(parseCapabilities("8000000000000000"), ["CAP_63"]);
});

Deno.test("parseMountinfo() reads escaped fields and any number of optional ones", () => {
  const text = "36 35 98:0 /a\\040b /mnt\\011x rw,nosuid shared:1 master:2 - ext3 /dev/root rw,errors=continue\n" +
    "37 36 0:5 / / ro - tmpfs none ro,size=4k\n";
  assertEquals(parseMountinfo(text), [
    {
      id: 36,
      root: "/a b",
      mountPoint: "/mnt\tx",
      options: ["rw", "nosuid"],
      propagation: ["shared:1", "master:2"],
      type: "ext3",
      source: "/dev/root",
      superOptions: ["rw", "errors=continue"],
    },
    {
      id: 37,
      root: "/",
      mountPoint: "/",
      options: ["ro"],
      propagation: [],
      type: "tmpfs",
      source: "none",
      superOptions: ["ro", "size=4k"],
    },
  ]);
});

/** As Linux 6.1 prints it. */
const limits = `Limit                     Soft Limit           Hard Limit           Units     
Max cpu time              unlimited            unlimited            seconds   
Max file size             unlimited            unlimited            bytes     
Max data size             unlimited            unlimited            bytes     
Max stack size            8388608              unlimited            bytes     
Max core file size        0                    unlimited            bytes     
Max resident set          unlimited            unlimited            bytes     
Max processes             96364                96365                processes 
Max open files            1024                 4096                 files     
Max locked memory         8388608              8388608              bytes     
Max address space         unlimited            unlimited            bytes     
Max file locks            unlimited            unlimited            locks     
Max pending signals       96364                96364                signals   
Max msgqueue size         819200               819200               bytes     
Max nice priority         0                    0                    
Max realtime priority     0                    0                    
Max realtime timeout      unlimited            unlimited            us        
`;

Deno.test("parseLimits() finds every limit that the kernel has", () => {
  const parsed = parseLimits(limits);
  assertEquals(Object.keys(parsed), rlimitNames);
  assertEquals([parsed.RLIMIT_NOFILE, parsed.RLIMIT_NPROC, parsed.RLIMIT_CORE, parsed.RLIMIT_RTTIME], [
    "1024 4096",
    "96364 96365",
    "0 unlimited",
    "unlimited unlimited",
  ]);
  assertEquals(parseLimits("nonsense\n"), {});
});

Deno.test("parseIdMap() is one line without the blanks for columns", () => {
  assertEquals(
    parseIdMap("         0     100000      65536\n     65536       1000          1\n"),
    "0 100000 65536, 65536 1000 1",
  );
});
