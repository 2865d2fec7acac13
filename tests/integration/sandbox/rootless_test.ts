/** Sandboxes of a user without root, on the host's own files, as config.json for the command line. Run as root. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "@std/path";
import { type HostEntry, readHostLayout } from "../../../lib/sandbox/config/host_layout.ts";
import { type RootlessFacts, sandboxConfig, type SandboxRequest } from "../../../lib/sandbox/config/sandbox_config.ts";
import { writeSkeleton } from "../../../lib/sandbox/config/skeleton.ts";
import { kernel, type Result } from "../harness.ts";
import { type User, userTest } from "../rootless_harness.ts";
import { output } from "../rootfs/workshop.ts";

/** The user of the harness, and the ranges that its /etc/subuid and /etc/subgid have. */
const one: RootlessFacts = { uid: 4000, gid: 4000 };
const range = { first: 300000, count: 65536 };
const many: RootlessFacts = { ...one, subuids: range, subgids: range };

/** What the user sees of the host's files: this machine's /etc may be root's alone. */
function layoutOfUser(): readonly HostEntry[] {
  const layout = readHostLayout();
  const ids = ["--reuid", `${one.uid}`, "--regid", `${one.gid}`, "--clear-groups"];
  const readable = ["sh", "-c", 'for path; do [ ! -r "$path" ] || echo "$path"; done', "sh"];
  const paths = output("setpriv", ...ids, ...readable, ...layout.map(({ path }) => path)).split("\n");
  return layout.filter(({ path }) => paths.includes(path));
}

function run(user: User, rootless: RootlessFacts, script: string): Result {
  const request: SandboxRequest = {
    options: {},
    facts: { arch: kernel.arch, controllers: new Set(), openFiles: 1024, rootless },
    root: { kind: "host", layout: layoutOfUser() },
    rootPath: "/",
    args: ["sh", "-c", script],
  };
  const { skeleton, unlimited } = sandboxConfig(request);
  assertEquals(unlimited, ["memory", "pids"]);
  const roots = join(user.directory, "roots");
  const rootPath = writeSkeleton(kernel, roots, skeleton);
  Deno.chmodSync(roots, 0o755);
  const { config } = sandboxConfig({ ...request, rootPath });
  return user.run((template) => {
    for (const key of Object.keys(template)) Reflect.deleteProperty(template, key);
    Object.assign(template, config);
  });
}

const script = `id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp:)' /proc/self/status | tr -d '\\t'
  tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '
  echo x > /tmp/f && echo x > ~/f && stat -c %u /tmp/f ~/f
  touch /usr/f /etc/f 2>&1 | grep -c 'Read-only'
  cat /etc/shadow 2>&1 | grep -o 'No such file'`;

for (const [what, rootless] of [["one id", one], ["ranges of ids", many]] as const) {
  userTest(`without root, with ${what}, a sandbox is as isolated as root's`, (user) => {
    const { code, stdout, stderr } = run(user, rootless, script);
    assertEquals({ code, stderr }, { code: 0, stderr: "" });
    const uid = rootless === one ? "0" : "65534";
    const lines = [uid, ...["CapBnd", "CapEff"].map((name) => `${name}:0000000000000000`), "NoNewPrivs:1", "Seccomp:2"];
    const [first, ...rest] = stdout.trim().split("\n");
    assertEquals([first, ...rest.slice(0, 4).sort()], lines);
    assertEquals(rest.slice(4), ["lo", uid, uid, "2", "No such file"]);
  });
}

userTest("without root, a sandbox's file of another owner is nobody's to change", (user) => {
  const { stdout, stderr } = run(user, one, "stat -c '%u %a' /usr /etc/passwd; chmod 777 /usr; chown 0 /usr/bin/env");
  assertMatch(stdout, /^65534 755\n/);
  assert(stderr.includes("Read-only file system") || stderr.includes("not permitted"), stderr);
});
