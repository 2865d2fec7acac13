/** A small image for tests. */

import { dirname, join } from "@std/path";
import type { MadeFiles } from "../../unit/sandbox/rootfs/image_maker.ts";
import type { Written } from "../../unit/sandbox/rootfs/tar_writer.ts";

export const busybox = "/usr/bin/busybox";

/** An entry for a directory. */
export const directory = (name: string, more: Partial<Written> = {}): Written => ({
  name,
  type: "5",
  mode: 0o755,
  ...more,
});

const programs = [
  "sh",
  "cat",
  "chmod",
  "echo",
  "grep",
  "head",
  "id",
  "ls",
  "mkdir",
  "pwd",
  "rm",
  "setsid",
  "sleep",
  "tee",
  "touch",
  "wc",
];

/** A layer with busybox. */
export const base = (): readonly Written[] => [
  ...["bin", "dev", "etc", "proc", "run", "sys", "tmp"].map((name) => directory(name)),
  { name: "bin/busybox", content: Deno.readFileSync(busybox), mode: 0o755 },
  ...programs.map((name): Written => ({ name: `bin/${name}`, type: "2", linkName: "busybox" })),
  { name: "etc/passwd", content: "root:x:0:0::/:/bin/sh\n" },
  { name: "etc/removed", content: "old" },
];

/** Writes the files of an image layout below a directory. */
export function writeFiles(path: string, files: MadeFiles): void {
  for (const [name, content] of files) {
    Deno.mkdirSync(dirname(join(path, name)), { recursive: true });
    Deno.writeFileSync(join(path, name), content);
  }
}
