import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { sysctlPath, sysctlSteps } from "../../../../lib/libcontainer/steps/sysctl.ts";
import { callLines, callsNamed, origins, structArg, structHex } from "../../plan_reader.ts";
import { config } from "../fixed.ts";

const steps = (sysctl: Readonly<Record<string, string>>) =>
  sysctlSteps(config((draft) => draft.linux.sysctl = sysctl), "x86_64");

Deno.test("sysctlPath(): the separator that comes first separates, the other one is a dot in a part", () => {
  // sysctl(8), sysctl.d(5)
  const cases: readonly [key: string, path: string][] = [
    ["kernel.domainname", "kernel/domainname"],
    ["kernel/domainname", "kernel/domainname"],
    ["net.ipv4.ip_forward", "net/ipv4/ip_forward"],
    ["net/ipv4/conf/eno2.100/rp_filter", "net/ipv4/conf/eno2.100/rp_filter"],
    ["net.ipv4.conf.eno2/100.rp_filter", "net/ipv4/conf/eno2.100/rp_filter"],
    ["single", "single"],
  ];
  for (const [key, path] of cases) assertEquals(sysctlPath(key), path);
});

Deno.test("each key is written below the host's /proc, through no link and no other mount", () => {
  const all = steps({ "net.a": "1", "net/b~c": "ü" });
  assertEquals(origins(all), [["set net.a to 1", "/linux/sysctl/net.a"], [
    "set net/b~c to ü",
    "/linux/sysctl/net~1b~0c",
  ]]);
  assertEquals(callLines(all).filter((line) => !line.startsWith("openat2")), [
    'write($file, "1", 1)',
    "close($file)",
    'write($file, "ü", 2)',
    "close($file)",
  ]);
  const [open] = callsNamed(all, "openat2");
  assertEquals(open!.args.slice(0, 2), [{ fd: "proc" }, { data: "text", text: "sys/net/a" }]);
  // struct open_how: O_WRONLY|O_CLOEXEC; no mode; RESOLVE_BENEATH|RESOLVE_NO_XDEV|RESOLVE_NO_MAGICLINKS. openat2(2)
  assertEquals(structHex(structArg(open!, 2)), "01000800 00000000 00000000 00000000 0b000000 00000000");
});

Deno.test("a sysctl key cannot climb out of its directory", () => {
  const climbing = [
    "net/../kernel/core_pattern",
    "net/ipv4/../../../sysrq-trigger",
    "/net/a",
    "net//a",
    "net/./a",
    "net/a/",
  ]
    .concat(["net..a", ".net", "net.", "net.//.kernel", "net/..", ".."]);
  for (const key of climbing) {
    const error = assertThrows(() => steps({ "net.a": "1", [key]: "x" }), RuncError, JSON.stringify(key));
    assertEquals([error.code, error.field], ["config-invalid", `/linux/sysctl/${key.replaceAll("/", "~1")}`]);
  }
});
