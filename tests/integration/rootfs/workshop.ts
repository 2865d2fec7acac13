/** A directory for tests of images: a cache, and beside it files that no archive may change. */

import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { alloc, cString, Kernel } from "../../../lib/ffi/kernel.ts";
import { streamSource } from "../../../lib/sandbox/rootfs/byte_reader.ts";
import type { Layer } from "../../../lib/sandbox/rootfs/image/image.ts";
import { LayerCache, type LayerCacheOptions } from "../../../lib/sandbox/rootfs/layer_cache.ts";
import { digestOf } from "../../unit/sandbox/rootfs/tar_writer.ts";

export const kernel = new Kernel();

/** A layer whose blob is in memory. */
export async function layerOf(archive: Uint8Array<ArrayBuffer>, given: Partial<Layer> = {}): Promise<Layer> {
  const open = () => Promise.resolve(streamSource(new Blob([archive]).stream()));
  return { diffId: await digestOf(archive), open, ...given };
}

/** A program's output. @throws if it fails. */
export function output(program: string, ...args: readonly string[]): string {
  const { success, stdout, stderr } = new Deno.Command(program, { args: [...args], env: { LC_ALL: "C", TZ: "UTC" } })
    .outputSync();
  const decoder = new TextDecoder();
  if (!success) throw new Error(`${program} ${args.join(" ")}: ${decoder.decode(stderr)}`);
  return decoder.decode(stdout);
}

/** The value of an extended attribute; undefined if it is not set. */
export function attribute(path: string, name: string): string | undefined {
  const value = alloc(1024);
  const length = kernel.call("lgetxattr", cString(path), cString(name), value, value.length);
  return length < 0 ? undefined : new TextDecoder().decode(value.subarray(0, length));
}

/** Sets an extended attribute. */
export function setAttribute(path: string, name: string, value: Uint8Array<ArrayBuffer>): void {
  kernel.must(`lsetxattr(${path})`, "lsetxattr", cString(path), cString(name), value, value.length, 0);
}

/** Everything below a directory: type, mode, links, owner, size, time, name, target. The name is as stored. */
export function listing(directory: string): readonly string[] {
  const format = "%y %m %n %U:%G %s %T@ %P -> %l\\n";
  return output("find", directory, "-mindepth", "1", "-printf", format).split("\n").filter((line) => line !== "")
    .sort();
}

/** Removed with everything in it at the end of the test. */
export class Workshop implements Disposable {
  readonly path = Deno.makeTempDirSync({ prefix: "runc-rootfs-" });
  readonly cachePath = join(this.path, "cache");

  cache(options: Partial<LayerCacheOptions> = {}): LayerCache {
    return new LayerCache(kernel, { directory: this.cachePath, rootless: false, ...options });
  }

  /** Unpacks an archive. Returns the directory. */
  async unpack(archive: Uint8Array<ArrayBuffer>, options: Partial<LayerCacheOptions> = {}): Promise<string> {
    return await this.cache(options).unpacked(await layerOf(archive));
  }

  /** Names of files in the cache, apart from those of `locks`: none where nothing was kept. */
  kept(): readonly string[] {
    return ["sha256", "partial"].flatMap((name) => [...Deno.readDirSync(join(this.cachePath, "root", name))])
      .map(({ name }) => name);
  }

  [Symbol.dispose](): void {
    // Directories may have any mode.
    output("chmod", "-R", "u+rwX", this.path);
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** The descriptors of this process: the same before and after a test that leaves none open. */
export function descriptors(): number {
  return [...Deno.readDirSync("/proc/self/fd")].length;
}

/** Runs `test` in a workshop, and checks that no descriptor stays open. */
export async function inWorkshop(test: (workshop: Workshop) => Promise<void>): Promise<void> {
  const before = descriptors();
  {
    using workshop = new Workshop();
    await test(workshop);
  }
  assertEquals(descriptors(), before, "descriptors");
}
