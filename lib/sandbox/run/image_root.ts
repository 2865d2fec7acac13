/**
 * The root of a sandbox from an image on disk: its layers, unpacked, and what its config says about processes.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { withFileErrors } from "../../ffi/file_error.ts";
import { isWritable } from "../../ffi/files.ts";
import type { Kernel } from "../../ffi/kernel.ts";
import type { Arch } from "../../ffi/syscalls.ts";
import type { RootLayers } from "../../libcontainer/config/launch_request.ts";
import { userHome } from "../config/facts.ts";
import type { RootRequest } from "../config/sandbox_config.ts";
import { invalidImage, type Layer } from "../rootfs/image/image.ts";
import { imageProcess } from "../rootfs/image/image_process.ts";
import { openImage } from "../rootfs/image/open_image.ts";
import { LayerCache } from "../rootfs/layer_cache.ts";
import { readInLayers, visibleLayers } from "../rootfs/overlay.ts";
import type { ImageRoot } from "./options.ts";

/** An image whose layers are there. */
export interface PreparedImage {
  readonly root: RootRequest;
  readonly layers: Omit<RootLayers, "maximumBytes">;
  /** Its entry point and command. */
  readonly command: readonly string[];
}

/** Larger files of users are no image's. */
const ACCOUNTS_LIMIT = 1024 * 1024;

/** As many layers are unpacked at the same time: enough for what decompresses on other threads. */
const AT_ONCE = 4;

/** As Go names it, and images. */
const architectures: Readonly<Record<Arch, string>> = { x86_64: "amd64", aarch64: "arm64" };

/** One for each directory, as long as the program lives: sandboxes that need the same layer wait for one of them. */
const caches = new Map<string, LayerCache>();

/**
 * Finds the image and unpacks the layers that are not in the cache yet.
 *
 * @throws {RuncError} `usage` for a wrong option; `image-invalid`, `unsupported`.
 */
export async function prepareImage(kernel: Kernel, wanted: ImageRoot, signal?: AbortSignal): Promise<PreparedImage> {
  try {
    return await prepare(kernel, wanted, signal);
  } catch (error) {
    throw error instanceof RuncError ? error.within(`root.image ${wanted.image}`) : error;
  }
}

async function prepare(kernel: Kernel, wanted: ImageRoot, signal: AbortSignal | undefined): Promise<PreparedImage> {
  const { image: path, name, cache = defaultCache(kernel) } = wanted;
  const isRootless = Deno.uid() !== 0;
  const image = await openImage(path, { reference: name, architecture: architectures[kernel.arch] });
  if (image.layers.length === 0) throw invalidImage("it has no layers, and so no files");
  const unpacked = await unpackAll(cacheIn(kernel, cache), image.layers, signal);
  const visible = visibleLayers(kernel, unpacked, isRootless);
  const accounts = (file: string) =>
    new TextDecoder().decode(readInLayers(kernel, visible, `etc/${file}`, ACCOUNTS_LIMIT));
  const { args = [], user, env, cwd } = imageProcess(image.config, {
    passwd: accounts("passwd"),
    group: accounts("group"),
  });
  const at = visible[0]!.lastIndexOf("/");
  return {
    root: { kind: "directory", user, env, cwd },
    layers: {
      directory: visible[0]!.slice(0, at),
      names: visible.map((layer) => layer.slice(at + 1)),
      userXattrs: isRootless,
    },
    command: args,
  };
}

/** Unpacks some at a time: each has files open. If one fails, the work on the others ends. */
async function unpackAll(
  cache: LayerCache,
  layers: readonly Layer[],
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const failure = new AbortController();
  const either = signal === undefined ? failure.signal : AbortSignal.any([signal, failure.signal]);
  const paths: string[] = [];
  const rest = layers.entries();
  const work = async () => {
    for (const [index, layer] of rest) paths[index] = await cache.unpacked(layer, either);
  };
  const works = Array.from({ length: AT_ONCE }, work);
  try {
    await Promise.all(works);
    return paths;
  } catch (error) {
    failure.abort(error);
    await Promise.allSettled(works);
    throw error;
  }
}

function cacheIn(kernel: Kernel, directory: string): LayerCache {
  let cache = caches.get(directory);
  if (cache === undefined) {
    caches.set(directory, cache = new LayerCache(kernel, { directory, rootless: Deno.uid() !== 0 }));
  }
  return cache;
}

/** On disk, and there after a restart of the host. */
function defaultCache(kernel: Kernel): string {
  const uid = Deno.uid();
  if (uid === 0) return "/var/lib/runc-sandbox";
  const home = userHome(withFileErrors(() => Deno.readTextFileSync("/etc/passwd")), uid ?? 0);
  return home !== "" && isWritable(kernel, home) ? `${home}/.cache/runc-sandbox` : `/var/tmp/runc-sandbox-${uid}`;
}
