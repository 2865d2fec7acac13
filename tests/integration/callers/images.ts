/** Images as files. */

import { basename } from "@std/path";
import type { Workshop } from "./workshop.ts";

/** The root file system of `layer`, an archive of the workshop's, as an image `NAME:latest` that `docker save` could have written; returns its path. */
export function imageArchive(
  workshop: Workshop,
  { layer, name, command }: { readonly layer: string; readonly name: string; readonly command: readonly string[] },
): string {
  const digest = workshop.must(["/usr/bin/sha256sum", layer]).split(" ")[0];
  const config = {
    architecture: Deno.build.arch === "aarch64" ? "arm64" : "amd64",
    os: "linux",
    config: { Env: ["PATH=/bin"], Cmd: command },
    rootfs: { type: "layers", diff_ids: [`sha256:${digest}`] },
  };
  const manifest = [{ Config: "config.json", RepoTags: [`${name}:latest`], Layers: [basename(layer)] }];
  workshop.write("config.json", JSON.stringify(config));
  workshop.write("manifest.json", JSON.stringify(manifest));
  const archive = `${workshop.directory}/${name}.tar`;
  const parts = ["manifest.json", "config.json", basename(layer)];
  workshop.must(["/usr/bin/tar", "--create", "--file", archive, "--directory", workshop.directory, ...parts]);
  return archive;
}
