/**
 * `runc update`.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { runWaits } from "../../ffi/waits.ts";
import { ContainerHandle } from "../../libcontainer/container/handle.ts";
import type { RdtSchemas } from "../../libcontainer/container/update_rdt.ts";
import type { Resources } from "../../specs/config.ts";
import { ignoredText, parseResources } from "../../specs/parse.ts";
import type { Command, Context } from "../context.ts";
import type { Invocation } from "../parse.ts";
import { makeRuntime } from "../runtime.ts";
import { withSystemErrors } from "../system_error.ts";

type Options = Invocation<"update">["options"];

/** Changes the limits of a container, by options or by a JSON file. */
export const run: Command<"update"> = (context, invocation) => {
  const { args: [id = ""] } = invocation;
  const runtime = makeRuntime(context);
  const container = ContainerHandle.load(runtime, id);
  const { resources, rdt } = resourcesFrom(context, invocation);
  runWaits(runtime, container.update(resources, rdt));
  return 0;
};

/** What the command line or its file asks for. */
export function resourcesFrom(
  context: Context,
  { options, given }: Pick<Invocation<"update">, "options" | "given">,
): { readonly resources: Resources; readonly rdt: RdtSchemas } {
  const { resources: file = "" } = options;
  const resources = file === "" ? resourcesOf(options, given) : parseResources(readInput(context, file), {
    file,
    onIgnored: (ignored) => context.log.debug(`${file}: ${ignoredText(ignored)}`),
  });
  const { kernel, kernelTCP } = resources.memory ?? {};
  if (kernel !== undefined || kernelTCP !== undefined) {
    context.log.warning("Kernel memory settings are ignored and will be removed");
  }
  return { resources, rdt: { l3CacheSchema: options["l3-cache-schema"], memBwSchema: options["mem-bw-schema"] } };
}

function readInput({ stdin }: Context, file: string): string {
  // /dev/stdin cannot be opened if it is a socket.
  return file === "-" ? stdin.readText() : withSystemErrors(`open ${file}`, () => Deno.readTextFileSync(file));
}

/**
 * Converts the options to `linux.resources`. An empty text means not given.
 *
 * @throws {RuncError} `usage` for a value that is not a number or size.
 */
export function resourcesOf(options: Options, given: ReadonlySet<string>): Resources {
  const read = <Value>(name: keyof Options, parse: (text: string) => Value): Value | undefined => {
    const text = options[name];
    if (typeof text !== "string" || text === "") return undefined;
    try {
      return parse(text);
    } catch (error) {
      throw error instanceof RuncError ? error.within(`invalid value for ${name}`) : error;
    }
  };
  return {
    memory: {
      limit: read("memory", parseSize),
      reservation: read("memory-reservation", parseSize),
      swap: read("memory-swap", parseSize),
      kernel: read("kernel-memory", parseSize),
      kernelTCP: read("kernel-memory-tcp", parseSize),
    },
    cpu: {
      shares: read("cpu-share", parseUint),
      quota: read("cpu-quota", parseInt64),
      burst: read("cpu-burst", parseUint),
      period: read("cpu-period", parseUint),
      realtimeRuntime: read("cpu-rt-runtime", parseInt64),
      realtimePeriod: read("cpu-rt-period", parseUint),
      cpus: options["cpuset-cpus"],
      mems: options["cpuset-mems"],
      idle: read("cpu-idle", parseInt64),
    },
    blockIO: { weight: options["blkio-weight"] || undefined },
    pids: { limit: given.has("pids-limit") ? options["pids-limit"] : undefined },
  };
}

/** Like Go's strconv.ParseUint. */
function parseUint(text: string): bigint {
  return parseDecimal("ParseUint", text, { pattern: /^\d+$/, maximum: 2n ** 64n - 1n });
}

/** Like Go's strconv.ParseInt. */
function parseInt64(text: string): bigint {
  return parseDecimal("ParseInt", text, { pattern: /^[+-]?\d+$/, maximum: 2n ** 63n - 1n });
}

function parseDecimal(
  name: string,
  text: string,
  { pattern, maximum }: { readonly pattern: RegExp; readonly maximum: bigint },
): bigint {
  const refuse = (why: string) => new RuncError("usage", `strconv.${name}: parsing ${JSON.stringify(text)}: ${why}`);
  if (!pattern.test(text)) throw refuse("invalid syntax");
  const value = BigInt(text.replace(/^\+/, ""));
  if (value > maximum || value < -maximum - 1n) throw refuse("value out of range");
  return value;
}

/**
 * Parses a size in units of 1024: `512`, `1.5g`, `10 MiB`. -1 means no limit.
 *
 * @see https://pkg.go.dev/github.com/docker/go-units#RAMInBytes
 */
export function parseSize(text: string): bigint {
  if (text === "-1") return -1n;
  const [, digits, unit = ""] = /^(\d+\.?\d*|\.\d+) ?(?:([kmgtp])i?b?|b)?$/i.exec(text) ?? [];
  if (digits === undefined) throw new RuncError("usage", `invalid size: '${text}'`);
  const shift = 10n * BigInt(" kmgtp".indexOf(unit.toLowerCase() || " "));
  // The minimum keeps a fraction with very many digits from becoming Infinity.
  const fraction = () => BigInt(Math.trunc(Math.min(Number(digits) * Number(1n << shift), 2 ** 64)));
  const size = /^\d+$/.test(digits) ? BigInt(digits) << shift : fraction();
  if (size >= 2n ** 63n) throw new RuncError("usage", `invalid size: '${text}': value out of range`);
  return size;
}
