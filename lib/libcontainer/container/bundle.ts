/**
 * Reads, parses and validates a bundle's config.json. Runs in: parent.
 *
 * @module
 */

import { type CgroupLayout, readCgroupLayout } from "../../cgroups/layout.ts";
import { RuncError } from "../../errors.ts";
import type { Config } from "../../specs/config.ts";
import { ignoredText, parseConfig } from "../../specs/parse.ts";
import { resolve } from "../../std/path.ts";
import { readValidationFacts } from "../checks/read/validation_facts.ts";
import type { StartFlags } from "../config/launch_request.ts";
import { type ParsedMount, parseMounts } from "../config/mounts.ts";
import { configError, configWarnings, validate } from "../config/validate.ts";
import { type JoinedMaps, readJoinedMaps } from "../launch/joined_maps.ts";
import type { Runtime } from "../runtime.ts";

/** A validated config and its bundle. */
export interface Spec {
  /** The validated config. If it joins a user namespace, linux.uidMappings and gidMappings are that namespace's. */
  readonly config: Config;
  /** The mounts of the config, parsed. */
  readonly mounts: readonly ParsedMount[];
  /** The user namespace that it joins, if any, denies setgroups(2). */
  readonly deniesSetgroups: boolean;
  /** Absolute. */
  readonly bundle: string;
  /** Absolute, a directory, without symlinks. */
  readonly rootfs: string;
  /** The host's cgroups at the time of validation. */
  readonly layout: CgroupLayout;
}

/**
 * Reads and parses `<bundle>/config.json`. `onText`: receives its text.
 *
 * @throws {RuncError} `config-invalid`.
 */
export function readConfig(bundle: string, log: Runtime["log"], onText?: (text: string) => void): Config {
  let text: string;
  try {
    text = Deno.readTextFileSync(`${bundle}/config.json`);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) {
      throw new RuncError("config-invalid", "JSON specification file config.json not found", {
        cause,
        hint: `create one with: runc spec --bundle ${bundle}`,
      });
    }
    throw new RuncError("config-invalid", `cannot read ${bundle}/config.json: ${(cause as Error).message}`, { cause });
  }
  onText?.(text);
  return parseConfig(text, { onIgnored: (ignored) => log("debug", `config.json: ${ignoredText(ignored)}`) });
}

/** The config with the mappings of the user namespace that it joins. */
function withJoinedMaps(config: Config, joined: JoinedMaps | undefined): Config {
  if (joined === undefined) return config;
  const { uidMappings, gidMappings } = joined;
  return { ...config, linux: { ...config.linux, uidMappings, gidMappings } };
}

/**
 * Validates a config and its bundle for this host. `bundle`: absolute. `asRoot`: as if for root.
 *
 * @throws {RuncError} with every problem, `config-invalid` or `unsupported`.
 */
export function loadSpec(
  runtime: Runtime,
  config: Config,
  bundle: string,
  options: Pick<StartFlags, "noPivot"> & { asRoot?: boolean } = {},
): Spec {
  const rootfs = resolve(bundle, config.root?.path ?? "");
  const layout = readCgroupLayout(runtime.kernel);
  const facts = readValidationFacts(config, {
    kernel: runtime.kernel,
    layout,
    rootfs,
    rootlessCgroups: runtime.rootlessCgroups,
    systemdCgroup: runtime.systemdCgroup,
    noPivot: options.noPivot,
    asRoot: options.asRoot,
    readMaps: (path) => readJoinedMaps(runtime, path),
  });
  const mounts = parseMounts(config.mounts, { bundle, rootfs });
  const problems = validate(config, facts, mounts);
  if (problems.length > 0) throw configError(problems);
  for (const { message } of configWarnings(config)) runtime.log("warning", message);
  const { joinedUser } = facts;
  const joined = joinedUser === undefined || "error" in joinedUser ? undefined : joinedUser;
  return {
    config: withJoinedMaps(config, joined),
    mounts,
    deniesSetgroups: joined?.deniesSetgroups ?? false,
    bundle,
    rootfs,
    layout,
  };
}
