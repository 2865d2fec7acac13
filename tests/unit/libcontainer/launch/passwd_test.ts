import { assertEquals } from "@std/assert";
import { homeOf } from "../../../../lib/libcontainer/launch/passwd.ts";

const passwd = `root:x:0:0:root:/root:/bin/sh
# a comment
broken
daemon:x:1:1::/usr/sbin:/usr/sbin/nologin
empty:x:2:2:::/bin/sh
short:x:3:3:no home
twice:x:5:5::/first:
twice:x:5:5::/second:
noid:x::0::/noid:
text:x:zero:0::/text:
hex:x:0x0:0::/hex:
last:x:4294967294:7::/last:/bin/sh`;

Deno.test("homeOf() is the home of the first line with the uid, and / where there is none", () => {
  const cases: readonly [uid: number, home: string][] = [
    [0, "/root"],
    [1, "/usr/sbin"],
    [2, "/"],
    [3, "/"],
    [4, "/"],
    [5, "/first"],
    [4294967294, "/last"],
  ];
  for (const [uid, home] of cases) assertEquals(homeOf(uid, passwd), home, `${uid}`);
  assertEquals([
    homeOf(0, ""),
    homeOf(0, "noid:x::0::/noid:\ntext:x:zero:0::/text:\nhex:x:0x0:0::/hex:\nspace:x: 0:0::/space:"),
  ], ["/", "/"]);
});

Deno.test("homeOf() gives no text that C would cut", () => {
  assertEquals(homeOf(0, "root:x:0:0::/a\0b:/bin/sh"), "/");
});
