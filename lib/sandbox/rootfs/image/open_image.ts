/**
 * Finds out which kind of image a path is, and reads its documents.
 *
 * @module
 */

import { readDockerArchive } from "./docker_archive.ts";
import { type ImageFiles, openImageFiles } from "./files.ts";
import { type Image, invalidImage } from "./image.ts";
import { type ImageChoice, readOciLayout } from "./oci_layout.ts";

/**
 * The image at `path`: an OCI image layout, as a directory or as an archive, or an archive of `docker save` or `podman
 * save`.
 *
 * @throws {RuncError} `image-invalid` if it is none of these or damaged; `syscall-failed` if it cannot be read.
 */
export async function openImage(path: string, choice: ImageChoice): Promise<Image> {
  return await readImage(await openImageFiles(path), path, choice);
}

/** The image in `files`. `path`: their name in messages. @throws {RuncError} as {@link openImage}. */
export async function readImage(files: ImageFiles, path: string, choice: ImageChoice): Promise<Image> {
  if (await files.has("index.json") && await files.has("oci-layout")) return await readOciLayout(files, choice);
  if (await files.has("manifest.json")) return await readDockerArchive(files, choice);
  throw invalidImage(`${path} has neither oci-layout and index.json nor manifest.json`);
}
