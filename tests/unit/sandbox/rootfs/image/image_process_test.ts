import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../../lib/errors.ts";
import type { ImageConfig } from "../../../../../lib/sandbox/rootfs/image/image.ts";
import { imageProcess, resolveUser } from "../../../../../lib/sandbox/rootfs/image/image_process.ts";

const files = {
  passwd: "# comment\nroot:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\nbroken\n",
  group: "root:x:0:\nstaff:x:50:app,root\napp:x:1001:app\naudio:x:29:app\n",
};

const none: ImageConfig = { user: "", env: [], entrypoint: [], command: [], workingDirectory: "", stopSignal: "" };

const users: readonly [text: string, user: unknown][] = [
  ["", { uid: 0, gid: 0, additionalGids: [50] }],
  ["app", { uid: 1000, gid: 1001, additionalGids: [50, 29] }],
  ["1000", { uid: 1000, gid: 1001, additionalGids: [50, 29] }],
  ["app:staff", { uid: 1000, gid: 50 }],
  ["app:7", { uid: 1000, gid: 7 }],
  ["app:", { uid: 1000, gid: 1001, additionalGids: [50, 29] }],
  ["1234", { uid: 1234, gid: 0 }],
  ["1234:5678", { uid: 1234, gid: 5678 }],
  [":staff", { uid: 0, gid: 50 }],
];

Deno.test("resolveUser() knows names and numbers", () => {
  for (const [text, user] of users) assertEquals<unknown>(resolveUser(text, files), user, text);
  assertEquals(resolveUser("", { passwd: "", group: "" }), { uid: 0, gid: 0 });
});

Deno.test("resolveUser() refuses names that the image does not have, and numbers that are no ids", () => {
  for (const text of ["nobody", "app:nobody", "broken", "-1", "4294967295", "99999999999", "app:x:y"]) {
    const error = assertThrows(() => resolveUser(text, files), RuncError);
    assertEquals(error.code, "image-invalid", text);
  }
});

Deno.test("imageProcess() puts together the image's defaults", () => {
  const config = { ...none, entrypoint: ["/e", "-x"], command: ["c"], workingDirectory: "w", env: ["PATH=/x", "A=b"] };
  assertEquals(imageProcess(config, { passwd: "", group: "" }), {
    args: ["/e", "-x", "c"],
    env: ["PATH=/x", "A=b"],
    cwd: "/w",
    user: { uid: 0, gid: 0 },
  });
  const { args, env, cwd } = imageProcess(none, files);
  assertEquals([args, cwd], [[], "/"]);
  assertEquals(env, ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
});
