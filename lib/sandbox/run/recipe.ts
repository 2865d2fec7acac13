/**
 * What sandboxes with the same options have in common: config, root, seccomp filter.
 *
 * A program that makes many sandboxes makes them from the same options. What the host says is read again each second.
 *
 * @module
 */

import { inContext } from "../../errors.ts";
import { withFileErrors } from "../../ffi/file_error.ts";
import { isThere } from "../../ffi/files.ts";
import { loadSpec, type Spec } from "../../libcontainer/container/bundle.ts";
import type { RootLayers } from "../../libcontainer/config/launch_request.ts";
import { KeptImages } from "../../libcontainer/launch/kept_images.ts";
import type { Runtime } from "../../libcontainer/runtime.ts";
import type { SeccompFilter } from "../../libcontainer/seccomp/filter.ts";
import { compileSeccomp } from "../../libcontainer/seccomp/seccomp.ts";
import type { Config, Process } from "../../specs/config.ts";
import { exactText } from "../../specs/json.ts";
import { readSandboxFacts } from "../config/facts.ts";
import { readHostLayout, readSources } from "../config/host_layout.ts";
import { defaults } from "../config/options.ts";
import {
  type RootRequest,
  type SandboxConfig,
  sandboxConfig,
  type SandboxFacts,
  type SandboxRequest,
} from "../config/sandbox_config.ts";
import { writeSkeleton } from "../config/skeleton.ts";
import { badOption, parseSize } from "../config/units.ts";
import type { Home } from "./home.ts";
import { prepareImage } from "./image_root.ts";
import type { SandboxOptions } from "./options.ts";

/** How a sandbox is made. */
export interface Recipe {
  /** Of one sandbox: see {@link specFor}. */
  readonly spec: Spec;
  /** What other processes are made from. */
  readonly process: Process;
  readonly seccomp: SeccompFilter | undefined;
  readonly rootLayers?: RootLayers;
  readonly unlimited: SandboxConfig["unlimited"];
  /** What an image starts by default; empty without an image. */
  readonly command: readonly string[];
  /** Images of its sandboxes, and of processes in them. */
  readonly images: KeptImages;
}

/** Where the program of process 1 is in the sandbox. */
const FIRST_PROCESS = "/dev/sandbox-init";

/** How long a recipe is used. */
const LIFETIME_MS = 1000;
/** A program has few sets of options. */
const MOST_RECIPES = 16;

/** A recipe, and when it was made. */
interface Kept {
  readonly recipe: Recipe;
  readonly madeMs: number;
}

const recipes = new WeakMap<Home, Map<string, Kept>>();

/** The recipe for `options`: one of the last second, or a new one. @throws {RuncError} */
export async function recipeFor(home: Home, runtime: Runtime, options: SandboxOptions): Promise<Recipe> {
  // An image may change, or its cache.
  if (typeof options.root === "object" && "image" in options.root) return await makeRecipe(home, runtime, options);
  let own = recipes.get(home);
  if (own === undefined) recipes.set(home, own = new Map());
  const key = keyOf(options);
  const kept = own.get(key);
  if (kept !== undefined && performance.now() - kept.madeMs < LIFETIME_MS && isWhole(home, kept.recipe)) {
    return kept.recipe;
  }
  const recipe = await makeRecipe(home, runtime, options, kept?.recipe);
  if (own.size >= MOST_RECIPES) own.clear();
  own.set(key, { recipe, madeMs: performance.now() });
  return recipe;
}

/** What of the options a recipe depends on, and the sources of mounts. @throws {RuncError} if a source is missing. */
function keyOf({ signal: _signal, log: _log, timeout: _timeout, maxOutput: _output, ...options }: SandboxOptions) {
  return exactText([options, ...readSources(options.mounts)]);
}

/** Whether its root is still there. */
const isWhole = ({ kernel }: Home, { spec }: Recipe) => isThere(kernel, spec.rootfs);

/** `before`: an earlier recipe. Its images are used again, if they are for the same config. */
async function makeRecipe(home: Home, runtime: Runtime, options: SandboxOptions, before?: Recipe): Promise<Recipe> {
  const { config, ...planned } = await plan(home, options);
  const spec = loadSpec(runtime, config, home.program);
  const seccomp = compileSeccomp(runtime, spec.config);
  const isSame = before !== undefined && exactText(before.spec) === exactText(spec);
  return { ...planned, spec, seccomp, images: isSame ? before.images : new KeptImages() };
}

/** The spec of the sandbox `id`. */
export function specFor({ spec }: Recipe, id: string): Spec {
  const { config } = spec;
  // Without root, the cgroups are below the caller's own.
  if (Deno.uid() !== 0) return spec;
  return { ...spec, config: { ...config, linux: { ...config.linux, cgroupsPath: `/runc-${id}` } } };
}

/** A config, and what its container has beside it. */
type Planned = Pick<Recipe, "process" | "rootLayers" | "unlimited" | "command"> & { readonly config: Config };

async function plan(home: Home, options: SandboxOptions): Promise<Planned> {
  const { kernel, directory } = home;
  const { root = "host" } = options;
  const facts = readSandboxFacts(kernel, options.mounts);
  const make = (more: Pick<SandboxRequest, "root" | "rootPath">) => made({ options, facts, ...more });
  const planned = (
    { config, unlimited }: SandboxConfig,
    more: { rootLayers?: RootLayers; command?: readonly string[] },
  ) => ({
    config: withFirstProcess(config, more.rootLayers, home),
    process: config.process!,
    unlimited,
    command: [],
    ...more,
  });
  if (root === "host") {
    const host: RootRequest = { kind: "host", layout: readHostLayout() };
    const { skeleton } = make({ root: host, rootPath: "/" });
    return planned(make({ root: host, rootPath: writeSkeleton(kernel, `${directory}/roots`, skeleton) }), {});
  }
  if (typeof root === "object" && "image" in root && typeof root.image === "string") {
    const image = await prepareImage(kernel, root, options.signal);
    const maximumBytes = parseSize("disk", options.disk ?? defaults.disk);
    const config = make({ root: image.root, rootPath: home.imagePlace });
    return planned(config, { rootLayers: { ...image.layers, maximumBytes }, command: image.command });
  }
  if (typeof root === "object" && "directory" in root && `${root.directory}`.startsWith("/")) {
    inContext("root.directory", () => withFileErrors(() => Deno.statSync(root.directory)));
    return planned(make({ root: { kind: "directory" }, rootPath: root.directory }), {});
  }
  throw badOption("root", root, '"host", or an object with the absolute path of a directory or an image');
}

function made(request: Omit<SandboxRequest, "args"> & { readonly facts: SandboxFacts }): SandboxConfig {
  return sandboxConfig({ ...request, args: [FIRST_PROCESS] });
}

/** The container's own process is ours; its program's place is under /dev, which each sandbox has for itself. */
function withFirstProcess(config: Config, rootLayers: RootLayers | undefined, { firstProcess }: Home): Config {
  // An image need not have its working directory. It is made in the layer for changes.
  const cwd = rootLayers === undefined ? "/" : config.process!.cwd;
  return {
    ...config,
    process: { ...config.process!, cwd, env: [] },
    mounts: [...config.mounts ?? [], {
      destination: FIRST_PROCESS,
      type: "none",
      source: firstProcess,
      // /run may be mounted without exec, and root can allow it here.
      options: ["bind", "private", "ro", "nosuid", "nodev", ...(Deno.uid() === 0 ? ["exec"] : [])],
    }],
  };
}
