/** `inspect`: what a container shows of itself fools neither the runtime nor the terminal. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { boxTest, until } from "../integration/harness.ts";

interface InspectFinding {
  readonly name: string;
  readonly kernel?: string;
  readonly verdict: string;
}

boxTest("inspect looks at a path inside the container's root only", (box) => {
  // Only the host has this file. In the container, the link to it leads nowhere.
  const secret = `${box.directory}/secret`;
  Deno.writeTextFileSync(secret, "");
  Deno.symlinkSync(secret, `${box.rootfs}/link`);
  Deno.writeTextFileSync(`${box.rootfs}/file`, "");
  Deno.symlinkSync("/file", `${box.rootfs}/inside`);
  box.startSleeping(({ linux }) => linux.maskedPaths.push("/link", secret, "/inside"));
  const { findings }: { findings: readonly InspectFinding[] } = JSON.parse(box.must(["inspect", "-f", "json", box.id]));
  const shown = ["/link", secret, "/inside"].map((path) => {
    const { kernel, verdict } = findings.find(({ name }) => name === path)!;
    return [kernel, verdict];
  });
  assertEquals(shown, [["does not exist", "same"], ["does not exist", "same"], ["masked", "same"]]);
  box.remove();
});

boxTest("CVE-2021-25743: the name of a mount is no command for the terminal", (box) => {
  box.write((config) => {
    for (const set of Object.values(config.process.capabilities!)) set.push("CAP_SYS_ADMIN");
    config.process.args = [
      "sh",
      "-c",
      `mount -t tmpfs none /tmp; D=/tmp/$(printf '\\033]0;owned\\007'); mkdir "$D"; mount -t tmpfs none "$D"; exec sleep 1000`,
    ];
  });
  box.must(["run", "--detach", box.id]);
  const { pid } = box.state();
  until("sleep", () => Deno.readTextFileSync(`/proc/${pid}/comm`) === "sleep\n");
  assertStringIncludes(Deno.readTextFileSync(`/proc/${pid}/mountinfo`), "/tmp/\x1b]0;owned\x07");
  const text = box.must(["inspect", box.id]);
  const codes = [...text].map((character) => character.charCodeAt(0));
  assertEquals(codes.filter((code) => code < 32 && code !== 10), []);
  assertStringIncludes(text, "/tmp/\\x1b]0;owned\\x07: tmpfs: rw");
  box.remove();
});
