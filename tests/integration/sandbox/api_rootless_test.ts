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

const program = `import { Sandbox } from "./mod.ts";
const warnings = [];
const log = (level, text) => level === "debug" || warnings.push(text);
const sandbox = await Sandbox.create({ directory: Deno.args[0], log });
const script = "id -u; echo x > ~/f; echo y > /dev/stdout; cat ~/f; grep CapEff /proc/self/status";
const text = await sandbox.sh\`\${["sh"]} -c \${script}\`.text();
await sandbox.fs.writeTextFile("/tmp/a", "b");
const file = await sandbox.fs.readTextFile("/tmp/a");
const image = await Sandbox.create({
  directory: Deno.args[0],
  root: { image: Deno.args[1], cache: Deno.args[2] },
  readonly: false,
});
const changed = await image.sh\`id -u; pwd; rm -r /etc; mkdir /d; echo z > /d/f; echo /etc* /d/*; cat /data\`.text();
await image.close();
const child = await sandbox.spawn("sleep", { args: ["1000"] });
await sandbox.close();
const { signal } = await child.status;
const refused = await Sandbox.create({ directory: Deno.args[0], requireLimits: true }).catch(({ code }) => code);
console.log(JSON.stringify({ text, file, changed, signal, refused, unlimited: sandbox.unlimited, warnings }));
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

const name =
  "without root: isolation, files, images, ends; limits that cannot be set are named, or an error (needs busybox-static)";
Deno.test(name, { ignore: lacks(busybox) }, async () => {
  const directory = Deno.makeTempDirSync({ prefix: "runc-sandbox-user-" });
  try {
    output("cp", "-R", join(projectDir, "mod.ts"), join(projectDir, "lib"), directory);
    Deno.writeTextFileSync(join(directory, "program.ts"), program);
    const layers = [tar(...base()), tar({ name: "data", content: "data" })];
    writeFiles(join(directory, "image"), await ociLayout({ layers, config: { WorkingDir: "/made" } }));
    output("chown", "-R", `${UID}:${UID}`, directory);
    const asUser = ["--reuid", UID, "--regid", UID, "--clear-groups", "env", "-i", "PATH=/usr/bin:/bin"];
    const deno = denoFor(asUser, directory);
    const args = [
      "run",
      "-A",
      "--no-check",
      "--no-config",
      join(directory, "program.ts"),
      ...["home", "image", "cache"].map((name) => join(directory, name)),
    ];
    const text = output("setpriv", ...asUser, `DENO_DIR=${directory}/cache`, deno, ...args);
    const { warnings, ...result } = JSON.parse(text);
    assertEquals(result, {
      text: "0\ny\nx\nCapEff:\t0000000000000000\n",
      file: "b",
      changed: "0\n/made\n/etc* /d/f\ndata",
      signal: "SIGKILL",
      refused: "host-lacks",
      unlimited: ["memory", "pids"],
    });
    assertEquals(warnings.length, 1);
    assertMatch(warnings[0], /no limit of memory, pids/);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});
