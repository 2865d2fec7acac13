/**
 * The shapes of options. Pure.
 *
 * A program without types may give anything. An option that is misspelt would otherwise be ignored, and a limit that was
 * meant would be missing. Numbers, sizes and names are checked where they are used.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { badOption, pathText } from "../config/units.ts";
import type { SandboxOptions } from "./options.ts";
import type { SandboxPoolOptions } from "./pool.ts";

/** Whether a value has the shape, and what the shape is. */
interface Shape {
  isFitting(value: unknown): boolean;
  readonly wanted: string;
}

type Shapes = Readonly<Record<string, Shape>>;

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isText = (value: unknown): value is string => typeof value === "string";
const isList = (value: unknown, fits: (item: unknown) => boolean) => Array.isArray(value) && value.every(fits);
const isPath = (value: unknown) => isText(value) && value.startsWith("/") && !value.includes("\0");
const pathOf = (value: unknown) => value instanceof URL && value.protocol === "file:" ? pathText(value) : value;
/** A duck: signals of other realms are as good. */
const isSignal = (value: unknown) => isObject(value) && "aborted" in value && "throwIfAborted" in value;

const any: Shape = { isFitting: () => true, wanted: "" };
const size: Shape = {
  isFitting: (value) => isText(value) || typeof value === "number",
  wanted: 'a size, such as "256MiB" or a number of bytes',
};
const duration: Shape = {
  isFitting: size.isFitting,
  wanted: 'a duration, such as "30s" or a number of milliseconds',
};
const number: Shape = { isFitting: (value) => typeof value === "number", wanted: "a number" };
const truth: Shape = { isFitting: (value) => typeof value === "boolean", wanted: "true or false" };
const signal: Shape = { isFitting: isSignal, wanted: "an AbortSignal" };
const absolute: Shape = { isFitting: isPath, wanted: "an absolute path" };
const texts: Shape = { isFitting: (value) => isList(value, isText), wanted: "an array of texts" };
const env: Shape = {
  isFitting: (value) => isObject(value) && Object.values(value).every(isText),
  wanted: "an object with a text for each variable",
};

/** At most HOST_NAME_MAX, limits.h. */
const hostname: Shape = {
  isFitting: (value) => isText(value) && /^\w([\w.-]{0,62}\w)?$/.test(value),
  wanted: "a host name: 1 to 64 letters, digits, dots, hyphens and underscores",
};

const isUser = (value: unknown) => {
  if (!isObject(value)) return value === "root";
  const { additionalGids = [] } = value;
  return [value.uid, value.gid].every(number.isFitting) && isList(additionalGids, number.isFitting);
};

/** Of `Sandbox.create`. */
const sandboxShapes: Shapes = {
  memory: size,
  cpus: number,
  pids: number,
  disk: size,
  network: { isFitting: isText, wanted: '"none" or "host"' },
  user: { isFitting: isUser, wanted: 'a user with a uid and a gid, or "root"' },
  capabilities: { isFitting: texts.isFitting, wanted: "an array of names of capabilities" },
  seccomp: {
    isFitting: (value) => value === false || isObject(value) && isText(value.defaultAction),
    wanted: "a profile with a defaultAction, or false",
  },
  readonly: truth,
  mounts: { isFitting: (value) => isList(value, isObject), wanted: "an array of objects with source and target" },
  env,
  cwd: { isFitting: isPath, wanted: "an absolute path in the sandbox" },
  hostname,
  root: {
    isFitting: (value) =>
      value === "host" || isObject(value) && (value.directory === undefined) !== (value.image === undefined),
    wanted: '"host", or an object with the absolute path of a directory or an image',
  },
  timeout: duration,
  maxOutput: size,
  requireLimits: truth,
  signal,
  directory: absolute,
  log: { isFitting: (value) => typeof value === "function", wanted: "a function" },
};

const mountShapes: Shapes = { source: absolute, target: absolute, readonly: truth };
const userShapes: Shapes = { uid: number, gid: number, additionalGids: any };
const rootShapes: Shapes = {
  directory: absolute,
  image: absolute,
  name: { isFitting: isText, wanted: "the name of an image" },
  cache: absolute,
};

/** Of `spawn`. */
const spawnShapes: Shapes = {
  args: texts,
  stdin: any,
  stdout: any,
  stderr: any,
  env,
  clearEnv: truth,
  cwd: { isFitting: (value) => isPath(pathOf(value)), wanted: "an absolute path in the sandbox" },
  signal,
  timeout: duration,
};

/**
 * The options of an object, each read once and checked. `within`: the option that the object is the value of.
 *
 * A getter's value, and one of a prototype, is an option, too.
 */
function read(options: unknown, shapes: Shapes, within = ""): Record<string, unknown> {
  if (!isObject(options)) throw badOption(within === "" ? "options" : within, options, "an object");
  const whole = (name: string) => within === "" ? name : `${within}.${name}`;
  for (const name of Object.keys(options)) {
    if (Object.hasOwn(shapes, name) || options[name] === undefined) continue;
    throw new RuncError("usage", `${whole(name)}: there is no such option`, {
      hint: `there are: ${Object.keys(shapes).join(", ")}`,
    });
  }
  const own: Record<string, unknown> = {};
  for (const [name, shape] of Object.entries(shapes)) {
    const value = options[name];
    if (value === undefined) continue;
    if (!shape.isFitting(value)) throw badOption(whole(name), value, shape.wanted);
    own[name] = Array.isArray(value) ? [...value] : value;
  }
  return own;
}

function readMount(mount: unknown, name: string): Record<string, unknown> {
  const own = read(mount, mountShapes, name);
  for (const key of ["source", "target"]) {
    if (own[key] === undefined) throw badOption(name, mount, `complete: no ${key}`);
  }
  return own;
}

/** A profile is data: what cannot be copied is none. */
function readProfile(profile: unknown): unknown {
  try {
    return structuredClone(profile);
  } catch {
    throw badOption("seccomp", profile, "a profile without functions");
  }
}

/** Copies of what the caller may change later. */
const copies: Readonly<Record<string, (value: unknown) => unknown>> = {
  mounts: (value) => (value as readonly unknown[]).map((mount, index) => readMount(mount, `mounts[${index}]`)),
  user: (value) => isObject(value) ? read(value, userShapes, "user") : value,
  root: (value) => isObject(value) ? read(value, rootShapes, "root") : value,
  env: (value) => ({ ...value as object }),
  seccomp: (value) => value === false ? false : readProfile(value),
};

function copied(options: Record<string, unknown>): Record<string, unknown> {
  for (const [name, copy] of Object.entries(copies)) {
    if (options[name] !== undefined) options[name] = copy(options[name]);
  }
  return options;
}

/**
 * The options of `Sandbox.create`: a copy of their own. Sandboxes with equal options share what is made from them, so
 * what a caller changes later must not reach it. @throws {RuncError} `usage`, which names the option.
 */
export function checkSandboxOptions(options: unknown): SandboxOptions {
  return copied(read(options, sandboxShapes));
}

/** The options of `Sandbox.pool`. The pool checks its sizes. @see checkSandboxOptions */
export function checkPoolOptions(options: unknown): SandboxPoolOptions {
  return copied(read(options, { ...sandboxShapes, size: any, max: any })) as unknown as SandboxPoolOptions;
}

/** The options of `spawn`. @throws {RuncError} `usage`, which names the option. */
export function checkSpawnOptions(program: unknown, options: unknown): void {
  if (!isText(pathOf(program)) || program === "") {
    throw badOption("program", program, "a path or the name of a program");
  }
  read(options, spawnShapes);
}
