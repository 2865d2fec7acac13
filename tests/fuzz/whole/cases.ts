/**
 * What is done in one whole run: files of a bundle, and command lines. Pure.
 *
 * @module
 */

import { commandNames, globalOptions, specOf } from "../../../lib/cli/table.ts";
import { defaultSpec } from "../../../lib/specs/default_spec.ts";
import { exactInteger } from "../../../lib/specs/json.ts";
import { configFields, processFields, resourcesFields } from "../../../lib/specs/schema.ts";
import { mutateJson } from "../mutate_json.ts";
import { mutateBytes, mutateText, numbers } from "../mutate_text.ts";
import { type Random, randomFor } from "../random.ts";
import { configs, everyConfig } from "../seeds/configs.ts";
import { confinedConfig, type Place } from "./confine.ts";

/** The name of the whole runs among targets. */
export const WHOLE = "whole";
/** The container. */
export const ID = "box";

/** One command of the runtime. */
export interface Step {
  /** The words after the program. */
  readonly words: readonly string[];
  /** It is part of the way to what is fuzzed, and has to succeed. */
  readonly must?: boolean;
}

/** A file of the state directory that is changed before a step. */
export interface StateChange {
  readonly before: number;
  readonly file: "state.json" | "resident" | "creating.json";
  /** Gives the new content. */
  readonly change: (content: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer>;
}

/** A whole run. */
export interface Case {
  readonly seed: number;
  readonly index: number;
  readonly kind: string;
  /** Files in the bundle's directory. */
  readonly files: Readonly<Record<string, string>>;
  readonly steps: readonly Step[];
  readonly stateChange?: StateChange;
}

type Made = Pick<Case, "files" | "steps" | "stateChange">;

/** A config whose process does this. */
function configOf(
  args: readonly string[],
  place: Place,
  change: (config: Record<string, unknown>) => void = () => {},
): string {
  const config = structuredClone(defaultSpec({ cgroup2: false })) as unknown as Record<string, Record<string, unknown>>;
  Object.assign(config.process!, { args, terminal: false });
  config.linux!.cgroupsPath = `${place.cgroups}/${ID}`;
  change(config);
  return JSON.stringify(config, exactInteger);
}

/** Configs that most hosts bear. */
const usual = Object.entries(configs).filter(([name]) => name !== "every field").map(([, config]) => config);

/** A changed config. Most have no terminal, which a caller without one cannot give, and ask for what there is. */
function changedConfig(random: Random, place: Place, args?: readonly string[]): string {
  const config = structuredClone(random.pick(random.chance(85) ? usual : everyConfig)) as {
    process: Record<string, unknown>;
    linux: Record<string, unknown> & { resources: Record<string, unknown> };
  };
  if (random.chance(95)) config.process.terminal = false;
  config.process.args = args ??
    random.pick([["true"], ["sh", "-c", "exit 3"], ["echo", "hello"], ["sh", "-c", "kill -9 $$"]]);
  if (random.chance(90)) {
    for (const name of ["intelRdt", "mountLabel", "netDevices"]) delete config.linux[name];
    for (const name of ["apparmorProfile", "selinuxLabel"]) delete config.process[name];
    for (const name of ["unified", "hugepageLimits", "rdma", "network"]) delete config.linux.resources[name];
  }
  return confinedConfig(mutateJson(config, random, configFields), place);
}

const sleeping = ["sleep", "1000"];

const start = (place: Place, change?: (config: Record<string, unknown>) => void): Made => ({
  files: { "config.json": configOf(sleeping, place, change) },
  steps: [{ words: ["run", "--detach", ID], must: true }],
});

const end: Step = { words: ["delete", "--force", ID] };

const optionWords = Object.entries(globalOptions).map(([name]) => name)
  .concat(commandNames().flatMap((name) => Object.keys(specOf(name).options)));
const values = [
  ID,
  "",
  "-",
  "--",
  "KILL",
  "9",
  "0",
  "64",
  "json",
  "table",
  "a=b",
  "./x",
  "cpu:/a",
  "/a",
  "512",
  "1.5g",
  "true",
  "sh",
  ...numbers,
];

/** Commands that wait for something, or show it until they are stopped. */
const waiting: readonly string[] = ["wait", "top", "events", "init", "monitor"];
/** Options that name a place for files, or make a process that stays. */
const options = optionWords.filter((name) =>
  !["root", "criu", "supervisor", "trace", "seccomp-audit", "supervise"].includes(name)
);

function oddWords(random: Random): readonly string[] {
  const command = random.pick(commandNames().filter((name) => !waiting.includes(name)));
  const words = Array.from({ length: random.below(5) }, () => {
    if (random.chance(55)) return random.pick(values);
    const option = `--${
      random.pick(
        random.chance(60)
          ? Object.keys(specOf(command).options).filter((name) => options.includes(name)).concat("help")
          : options,
      )
    }`;
    return random.chance(50) ? `${option}=${random.pick(values)}` : option;
  });
  // No argument can have a NUL.
  const odd = words.map((word) =>
    (random.chance(8) ? mutateText(word, random, values) : word).replaceAll("\0", "").slice(0, 2000)
  );
  return [command, ...odd.filter((word) => !waiting.includes(word))];
}

/** A change of a JSON file that may have any numbers. */
function changedText(text: string, random: Random): string {
  try {
    return mutateJson(JSON.parse(text), random);
  } catch {
    return text;
  }
}

const encode = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** The ways to run it, and how many of a hundred runs go each. */
const kinds: Readonly<Record<string, readonly [percent: number, make: (random: Random, place: Place) => Made]>> = {
  check: [10, (random, place) => ({
    files: { "config.json": changedConfig(random, place) },
    steps: [{ words: ["check", ...random.pick([[], ["--format", "json"], ["--strict"]])] }],
  })],
  plan: [10, (random, place) => ({
    files: { "config.json": changedConfig(random, place) },
    steps: [{
      words: [
        "plan",
        ...random.pick([[], ["--format", "json"]]),
        ...random.pick([[], ["create", ID], ["run", "--detach", ID]]),
      ],
    }],
  })],
  run: [30, (random, place) => ({
    files: { "config.json": changedConfig(random, place) },
    steps: [{ words: ["run", ...random.pick([[], [], ["--no-pivot"], ["--no-new-keyring"], ["--keep"]]), ID] }],
  })],
  create: [15, (random, place) => ({
    files: { "config.json": changedConfig(random, place, sleeping) },
    steps: [
      { words: ["create", ID] },
      { words: random.pick([["state", ID], ["list"], ["ps", ID], ["inspect", ID]]) },
      { words: ["start", ID] },
      {
        words: random.pick([["state", ID], ["pause", ID], ["exec", ID, "true"], ["events", "--stats", ID]]),
      },
      { words: ["kill", ID, "KILL"] },
      end,
    ],
  })],
  exec: [10, (random, place) => {
    const made = start(place);
    const { process } = JSON.parse(made.files["config.json"]!);
    const asked = { ...process, args: random.pick([["true"], ["sh", "-c", "exit 3"]]) };
    return {
      files: { ...made.files, "process.json": mutateJson(asked, random, processFields) },
      steps: [...made.steps, { words: ["exec", "--process", "process.json", ID] }, end],
    };
  }],
  update: [8, (random, place) => {
    const made = start(place);
    const resources = (random.pick(everyConfig) as { linux: { resources?: object } }).linux.resources ?? {};
    return {
      files: { ...made.files, "resources.json": mutateJson(resources, random, resourcesFields) },
      steps: [...made.steps, { words: ["update", "--resources", "resources.json", ID] }, { words: ["state", ID] }, end],
    };
  }],
  words: [9, (random, place) => {
    const isThere = random.chance(40);
    const made = isThere ? start(place) : { files: { "config.json": configOf(["true"], place) }, steps: [] };
    return {
      ...made,
      steps: [...made.steps, { words: oddWords(random) }, ...isThere ? [{ words: oddWords(random) }, end] : []],
    };
  }],
  state: [8, (random, place) => {
    const made = start(place);
    const file = random.pick(["state.json", "state.json", "resident"] as const);
    const change = (content: Uint8Array<ArrayBuffer>) =>
      file === "resident" ? mutateBytes(content, random) : encode(changedText(decode(content), random));
    const asked = random.pick([
      ["state", ID],
      ["list"],
      ["exec", ID, "true"],
      ["pause", ID],
      ["update", "--pids-limit", "50", ID],
      ["inspect", ID],
      ["ps", ID],
      ["start", ID],
    ]);
    return {
      ...made,
      steps: [...made.steps, { words: asked }, { words: ["state", ID] }, end],
      stateChange: { before: 1, file, change },
    };
  }],
};

/** The whole run with this number: the same every time. */
export function caseOf(seed: number, index: number, place: Place): Case {
  const random = randomFor(seed, WHOLE, index);
  let left = random.below(100);
  const [kind, [, make]] = Object.entries(kinds).find(([, [percent]]) => (left -= percent) < 0)!;
  return { seed, index, kind, ...make(random, place) };
}
