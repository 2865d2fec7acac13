/** The library's Sandbox for a user without root and without a cgroup. Run as root, which becomes that user. */

import { assertEquals, assertMatch } from "@std/assert";
import { join } from "@std/path";
import { projectDir } from "../../../tools/bundle.ts";
import { ociLayout } from "../../unit/sandbox/rootfs/image_maker.ts";
import { tar } from "../../unit/sandbox/rootfs/tar_writer.ts";
import { lacks } from "../interpreter_harness.ts";
import { base, busybox, writeFiles } from "./busybox_image.ts";

/** No account of this machine has it. */
const UID = "4000";

/** The files that tell who the user is, and which ids it has: mounted over the host's. */
const accounts: Readonly<Record<string, string>> = {
  passwd: `root:x:0:0::/root:/bin/sh\ntester:x:${UID}:${UID}::/tmp:/bin/sh\n`,
  group: `root:x:0:\ntester:x:${UID}:\n`,
};
const ranges: Readonly<Record<string, string>> = { subuid: "tester:300000:65536\n", subgid: "tester:300000:65536\n" };

const program = `import { Sandbox } from "./mod.ts";
const [directory, image, cache] = Deno.args;
const warnings = [];
const log = (level, text) => level === "debug" || warnings.push(text);
const refusal = (options) => Sandbox.create({ directory, ...options }).then((s) => s.close(), ({ code }) => code);
const sandbox = await Sandbox.create({ directory, log });
const script = "id -u; echo x > ~/f; echo y > /dev/stdout; cat ~/f; grep CapEff /proc/self/status";
const text = await sandbox.sh\`\${["sh"]} -c \${script}\`.text();
await sandbox.fs.writeTextFile("/tmp/a", "b");
const file = await sandbox.fs.readTextFile("/tmp/a");
const root = { image, cache };
const changing = await Sandbox.create({ directory, root, user: "root", readonly: false });
const changed = await changing.sh\`id -u; pwd; rm -r /etc; mkdir /d; echo z > /d/f; echo /etc* /d/*; cat /data\`.text();
await changing.close();
const names = await Sandbox.create({ directory, root }).then(
  async (s) => [await s.sh\`id; cat /data /proc/self/uid_map; echo x > /tmp/f; cat /tmp/f\`.text(), await s.close()][0],
  ({ message, hint }) => message + hint);
const child = await sandbox.spawn("sleep", { args: ["1000"] });
await sandbox.close();
const { signal } = await child.status;
const refused = [await refusal({ requireLimits: true }), await refusal({ user: { uid: 70000, gid: 1 } })];
console.log(JSON.stringify({ text, file, changed, names, signal, refused, unlimited: sandbox.unlimited, warnings }));
`;

function output(command: string, ...args: readonly string[]): string {
  const { success, stdout, stderr } = new Deno.Command(command, { args: [...args], stdin: "null" }).outputSync();
  const decoder = new TextDecoder();
  assertEquals([success, success ? "" : decoder.decode(stderr)], [true, ""]);
  return decoder.decode(stdout);
}

/** Deno, where the user can execute it. */
function denoFor(asUser: readonly string[], directory: string): string {
  const path = Deno.execPath();
  if (new Deno.Command("setpriv", { args: [...asUser, path, "--version"], stderr: "null" }).outputSync().success) {
    return path;
  }
  Deno.copyFileSync(path, join(directory, "deno"));
  return join(directory, "deno");
}

/** Runs the program as the user, with the host's files of accounts replaced. */
async function run(files: Readonly<Record<string, string>>): Promise<Record<string, unknown>> {
  const directory = Deno.makeTempDirSync({ prefix: "runc-sandbox-user-" });
  try {
    output("cp", "-R", join(projectDir, "mod.ts"), join(projectDir, "lib"), directory);
    Deno.writeTextFileSync(join(directory, "program.ts"), program);
    // As in many images, there is no entry for the layer's root; 150 layers do not fit into a page of options.
    const users = { name: "etc/passwd", content: "root:x:0:0::/:/bin/sh\napp:x:1000:1001::/:/bin/sh\n" };
    const layers = [tar(...base(), users), tar({ name: "data", content: "data" })];
    const more = Array.from({ length: 150 }, (_, index) => tar({ name: `f${index}` }));
    const config = { WorkingDir: "/made", User: "app" };
    writeFiles(join(directory, "image"), await ociLayout({ layers: [...layers, ...more, layers[1]!], config }));
    const names = Object.keys(files);
    for (const name of names) Deno.writeTextFileSync(join(directory, name), files[name]!);
    output("chown", "-R", `${UID}:${UID}`, directory);
    const asUser = ["--reuid", UID, "--regid", UID, "--clear-groups", "env", "-i", "PATH=/usr/bin:/bin"];
    const deno = denoFor(asUser, directory);
    const args = ["run", "-A", "--no-check", "--no-config", ...["program.ts", "home", "image", "layers"]];
    const places = args.map((arg, index) => index < 4 ? arg : join(directory, arg));
    const mounts = names.map((name) => `mount --bind ${directory}/${name} /etc/${name}\n`).join("");
    const unshare = ["--mount", "--propagation=private", "sh", "-ec", `${mounts}exec setpriv "$@"`, "sh"];
    return JSON.parse(output("unshare", ...unshare, ...asUser, `DENO_DIR=${directory}/deno`, deno, ...places));
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

const all = {
  file: "b",
  changed: "0\n/made\n/etc* /d/f\ndata",
  signal: "SIGKILL",
  refused: ["host-lacks", "host-lacks"],
  unlimited: ["memory", "pids"],
};
const cases: readonly (readonly [what: string, files: Readonly<Record<string, string>>, uid: string, names: RegExp])[] =
  [
    // The user of the image has no id then.
    ["one id", {}, "0", /^the user 1000:1001 of the sandbox has no id here.*user: "root"/],
    [
      "ranges of ids",
      { ...accounts, ...ranges },
      "65534",
      /^uid=1000\(app\) gid=1001\ndata +0 +4000 +1\n +1 +300000 +65536\nx\n$/,
    ],
  ];

for (const [what, files, uid, expected] of cases) {
  Deno.test({
    name: `without root, with ${what}: isolation, files, images, ends; limits that cannot be set are named, or an ` +
      "error (needs busybox-static, uidmap)",
    ignore: lacks(busybox) || lacks("/usr/bin/newuidmap"),
    fn: async () => {
      const { warnings, names, ...result } = await run(files) as { warnings: readonly string[]; names: string };
      assertEquals(result, { ...all, text: `${uid}\ny\nx\nCapEff:\t0000000000000000\n` });
      assertMatch(names, expected);
      assertEquals(warnings.length, 1);
      assertMatch(warnings[0]!, /no limit of memory, pids/);
    },
  });
}
