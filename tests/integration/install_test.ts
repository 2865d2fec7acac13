/** `deno task install` and `uninstall`: what is installed works by itself, and goes as it came. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { existsSync } from "@std/fs";
import { boxTest, execute } from "./harness.ts";

const tool = new URL("../../tools/install.ts", import.meta.url).pathname;

/** Everything below a directory, sorted. */
function filesBelow(directory: string): string[] {
  return execute(["/usr/bin/find", directory, "-mindepth", "1"]).stdout.split("\n").filter((path) => path !== "")
    .sort();
}

boxTest(
  "what was installed runs containers without the directory that it came from; uninstalling leaves what was there",
  (box) => {
    const prefix = `${box.directory}/prefix`;
    const config = new URL("../../deno.json", import.meta.url).pathname;
    const call = (what: string) =>
      execute([Deno.execPath(), "run", "--allow-all", "--config", config, tool, what, "--prefix", prefix], {
        env: { DENO_DIR: Deno.env.get("DENO_DIR") ?? `${Deno.env.get("HOME")}/.cache/deno` },
      });
    Deno.mkdirSync(`${prefix}/share/man/man8`, { recursive: true });
    Deno.writeTextFileSync(`${prefix}/share/man/man8/other.8`, "");
    for (const round of ["first", "again"]) {
      const { code, stdout, stderr } = call("install");
      assertEquals(code, 0, `${round}: ${stderr}`);
      assertMatch(stdout, /bin\/runc: runc version/);
    }
    const project = new URL("../..", import.meta.url).pathname;
    const programs = ["runc", "runc.sh"].map((name) => `${prefix}/lib/runc/${name}`).filter((path) => existsSync(path));
    assertEquals(
      execute(["/bin/grep", "--files-with-matches", "--text", "--fixed-strings", project, ...programs]).stdout,
      "",
    );
    box.write();
    const [, ...args] = box.argv("run", box.id);
    // In a mount namespace in which the project's directory is covered.
    const cover = `mount -t tmpfs none ${new URL("../..", import.meta.url).pathname} && exec "$@"`;
    const runc = ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", cover, "sh", `${prefix}/bin/runc`];
    assertEquals(execute([...runc, ...args], { cwd: box.bundle }), { code: 0, stdout: "", stderr: "" });
    assert(filesBelow(prefix).some((path) => path.endsWith("/runc-run.8")));
    assertEquals(call("uninstall").code, 0);
    assertEquals(filesBelow(prefix).filter((path) => Deno.lstatSync(path).isFile), [
      `${prefix}/share/man/man8/other.8`,
    ]);
  },
);

boxTest("installing does not overwrite another runc", (box) => {
  Deno.mkdirSync(`${box.directory}/prefix/bin`, { recursive: true });
  Deno.writeTextFileSync(`${box.directory}/prefix/bin/runc`, "another");
  const { code, stderr } = execute([
    Deno.execPath(),
    "run",
    "--allow-all",
    tool,
    "install",
    "--prefix",
    `${box.directory}/prefix`,
  ]);
  assertEquals([code, /is there already/.test(stderr)], [1, true], stderr);
});
