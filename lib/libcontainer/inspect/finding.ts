/**
 * What `inspect` finds: one line for each property, what the config asks for beside what the kernel shows. Pure.
 *
 * @module
 */

/** What a finding is about, in the order of the output. */
export const topics = [
  "namespaces",
  "ids",
  "capabilities",
  "security",
  "rlimits",
  "mounts",
  "paths",
  "devices",
  "cgroups",
  "limits",
] as const;

/** What a finding is about. */
export type Topic = (typeof topics)[number];

/**
 * - `same`: the kernel shows what the config asks for.
 * - `different`: it shows something else.
 * - `unset`: the config does not ask for anything.
 * - `unknown`: the kernel does not show what the config asks for, or the config cannot be read.
 */
export type Verdict = "same" | "different" | "unset" | "unknown";

/** A property of a container. */
export interface InspectFinding {
  /** What it is about. */
  readonly topic: Topic;
  /** `effective`, `/proc`, `memory.max`: unique in its topic, except for files of cgroups with several entries. */
  readonly name: string;
  /** JSON pointer into config.json. */
  readonly field?: string;
  /** What the config asks for. */
  readonly config?: string;
  /** What the kernel shows. */
  readonly kernel?: string;
  /** Whether both agree. */
  readonly verdict: Verdict;
  /** Why, or what else is known. */
  readonly note?: string;
}

/** A finding without its verdict. */
export type Comparison = Omit<InspectFinding, "verdict">;

/** The finding of two texts: `same` if they are equal. */
export function compare(comparison: Comparison): InspectFinding {
  const { config, kernel } = comparison;
  const verdict = config === undefined
    ? "unset"
    : kernel === undefined
    ? "unknown"
    : config === kernel
    ? "same"
    : "different";
  return { ...comparison, verdict };
}

/** The finding of two texts that mean the same, or not, whatever their wording. */
export function judge(comparison: Comparison, isSame: boolean): InspectFinding {
  const found = compare(comparison);
  if (found.verdict === "unset" || found.verdict === "unknown") return found;
  return { ...found, verdict: isSame ? "same" : "different" };
}

/** The finding of something that only config.json has, when that file cannot be read. */
export function withoutConfig(comparison: Comparison): InspectFinding {
  return { ...comparison, config: undefined, verdict: "unknown", note: "config.json cannot be read" };
}

/** Joins the notes that are given; undefined if none is. */
export function notes(...given: readonly (string | undefined | false)[]): string | undefined {
  const known = given.filter((note) => note !== undefined && note !== false && note !== "");
  return known.length === 0 ? undefined : known.join("; ");
}
