/**
 * Changes of JSON texts: of the tree, so that most of a text stays what it was, and sometimes of the text.
 *
 * A tree may have what no value has: a key twice, a number that no program can hold, broken escapes.
 *
 * @module
 */

import type { FieldRules, RequiredRule, Rule } from "../../lib/specs/schema.ts";
import { extremes } from "../unit/libcontainer/extremes.ts";
import { mutateText, numbers } from "./mutate_text.ts";
import type { Random } from "./random.ts";
import { everyWord, mapKeys, wordsFor } from "./words.ts";

/** A value. A `text` is JSON, or nearly. */
type Tree = { readonly text: string } | Branch;

/** A list or an object. */
interface Branch {
  readonly kind: "list" | "object";
  readonly parts: Part[];
}

/** An item of a list, or an entry of an object: its key is JSON, too. */
interface Part {
  key: string;
  value: Tree;
}

/** A part, and what the schema says about it. */
interface Place {
  readonly branch: Branch;
  readonly index: number;
  /** The last name on the way. */
  readonly name: string;
  readonly rule?: Rule;
}

const isBranch = (tree: Tree): tree is Branch => "parts" in tree;

function treeOf(value: unknown): Tree {
  if (typeof value === "bigint") return { text: String(value) };
  if (typeof value !== "object" || value === null) return { text: JSON.stringify(value) ?? "null" };
  if (Array.isArray(value)) return { kind: "list", parts: value.map((item) => ({ key: "", value: treeOf(item) })) };
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  return { kind: "object", parts: entries.map(([key, item]) => ({ key: JSON.stringify(key), value: treeOf(item) })) };
}

function textOf(tree: Tree): string {
  if (!isBranch(tree)) return tree.text;
  const parts = tree.parts.map(({ key, value }) => tree.kind === "list" ? textOf(value) : `${key}:${textOf(value)}`);
  return tree.kind === "list" ? `[${parts.join(",")}]` : `{${parts.join(",")}}`;
}

const ruleOf = (rule: Rule | RequiredRule | undefined): Rule | undefined =>
  typeof rule === "object" && "required" in rule ? rule.required : rule;

function nameOf(key: string, otherwise: string): string {
  try {
    return String(JSON.parse(key));
  } catch {
    return otherwise;
  }
}

/** What the schema says about a part called `name` of what `rule` is about. */
function ruleBelow(rule: Rule | undefined, kind: Branch["kind"], name: string): Rule | undefined {
  if (typeof rule !== "object") return undefined;
  if (kind === "list") return "list" in rule ? rule.list : undefined;
  if ("map" in rule) return rule.map;
  return "fields" in rule && Object.hasOwn(rule.fields, name) ? ruleOf(rule.fields[name]) : undefined;
}

/** All parts of a tree. */
function placesIn(tree: Tree, rule: Rule | undefined, name: string, found: Place[] = []): readonly Place[] {
  if (!isBranch(tree)) return found;
  tree.parts.forEach(({ key, value }, index) => {
    const own = tree.kind === "list" ? name : nameOf(key, name);
    const below = ruleBelow(rule, tree.kind, own);
    found.push({ branch: tree, index, name: own, rule: below });
    placesIn(value, below, own, found);
  });
  return found;
}

/** A value of the type that the schema has, not always a valid one. */
function valueOf(rule: Rule | undefined, name: string, random: Random): Tree {
  if (rule === undefined) return { text: random.pick(extremes) };
  if (rule === "string") {
    return { text: JSON.stringify(random.chance(85) ? random.pick(wordsFor(name)) : random.pick(everyWord)) };
  }
  if (rule === "boolean") return { text: random.pick(["true", "false"]) };
  if (rule === "foreign") return { text: "{}" };
  if (typeof rule === "string") {
    return { text: random.chance(60) ? String(random.below(70_000)) : random.pick(numbers) };
  }
  if ("list" in rule) {
    return { kind: "list", parts: some(random, () => ({ key: "", value: valueOf(rule.list, name, random) })) };
  }
  if ("map" in rule) {
    return {
      kind: "object",
      parts: some(
        random,
        () => ({ key: JSON.stringify(random.pick(mapKeys)), value: valueOf(rule.map, name, random) }),
      ),
    };
  }
  const chosen = Object.entries(rule.fields).filter(([, field]) =>
    typeof field === "object" && "required" in field || random.chance(30)
  );
  return {
    kind: "object",
    parts: chosen.map(([key, field]) => ({ key: JSON.stringify(key), value: valueOf(ruleOf(field), key, random) })),
  };
}

const some = <Item>(random: Random, make: () => Item): Item[] => Array.from({ length: random.below(4) }, make);

/** A copy, so that a change of one does not change the other. */
const copied = (tree: Tree): Tree =>
  isBranch(tree) ? { ...tree, parts: tree.parts.map(({ key, value }) => ({ key, value: copied(value) })) } : tree;

const oddKeys: readonly string[] = [
  ...[
    '"__proto__"',
    '"constructor"',
    '"toString"',
    '"hasOwnProperty"',
    '""',
    '"\\u0000"',
    '"\\ud800"',
    '"a.b"',
    '"/"',
    '"~1"',
    "1",
    '"length"',
  ],
];

interface Change {
  readonly places: readonly Place[];
  readonly place: Place;
  readonly random: Random;
}

const partAt = ({ branch, index }: Place): Part | undefined => branch.parts[index];

/** The value at a place becomes another one. */
const put = (place: Place, value: Tree) => {
  const part = partAt(place);
  if (part !== undefined) part.value = value;
};

function addField({ places, random }: Change): void {
  const objects = places.filter((place) =>
    typeof place.rule === "object" && "fields" in place.rule && partAt(place) !== undefined
  );
  if (objects.length === 0) return;
  const { branch, index, rule } = random.pick(objects);
  const value = branch.parts[index]!.value;
  if (!isBranch(value)) return;
  const [name, field] = random.pick(Object.entries((rule as { fields: FieldRules }).fields));
  value.parts.push({ key: JSON.stringify(name), value: valueOf(ruleOf(field), name, random) });
}

const changes: readonly ((change: Change) => void)[] = [
  ({ place }) => void place.branch.parts.splice(place.index, 1),
  ({ place }) => {
    const part = partAt(place);
    if (part !== undefined) place.branch.parts.splice(place.index, 0, { key: part.key, value: copied(part.value) });
  },
  ({ place, random }) => put(place, { text: random.pick(extremes) }),
  ({ place, random }) => put(place, valueOf(place.rule, place.name, random)),
  ({ place, random }) => put(place, valueOf(place.rule, place.name, random)),
  addField,
  addField,
  ({ place, places, random }) => {
    const other = partAt(random.pick(places));
    if (other !== undefined) put(place, copied(other.value));
  },
  ({ place, places, random }) => {
    const one = partAt(place), other = partAt(random.pick(places));
    if (one === undefined || other === undefined) return;
    const value = copied(one.value);
    one.value = copied(other.value);
    other.value = value;
  },
  ({ place, random }) => {
    const part = partAt(place);
    if (part === undefined || part.key === "") return;
    part.key = random.chance(50)
      ? random.pick(oddKeys)
      : random.chance(50)
      ? part.key.toUpperCase()
      : JSON.stringify(random.pick(mapKeys));
  },
  ({ place, random }) => {
    const part = partAt(place);
    if (part !== undefined) {
      part.value = { kind: random.pick(["list", "object"] as const), parts: [{ key: '"a"', value: part.value }] };
    }
  },
  ({ place, random }) => {
    const part = partAt(place);
    if (part !== undefined && isBranch(part.value) && part.value.parts.length > 0) {
      part.value = random.pick(part.value.parts).value;
    }
  },
  ({ place, random }) => {
    const part = partAt(place);
    if (part === undefined || isBranch(part.value)) return;
    const value = nameOf(part.value.text, "");
    part.value = {
      text: part.value.text.startsWith('"')
        ? JSON.stringify(mutateText(value, random, everyWord))
        : random.pick(numbers),
    };
  },
  ({ place, random }) => {
    const part = partAt(place);
    if (part === undefined || !isBranch(part.value) || part.value.parts.length === 0) return;
    const { parts } = part.value;
    const count = random.chance(95) ? 3 : 300;
    for (let number = 0; number < count; number++) parts.push({ ...random.pick(parts) });
  },
];

/** More would be a text that nobody has. */
const LONGEST = 1_000_000;

/** A changed JSON text of `value`. `schema`: what it is meant to be. */
export function mutateJson(value: unknown, random: Random, schema?: FieldRules): string {
  const rule: Rule | undefined = schema === undefined ? undefined : { fields: schema };
  // Below a list, so that the whole is a part, too.
  const root: Branch = { kind: "list", parts: [{ key: "", value: treeOf(value) }] };
  for (let count = random.few(8); count > 0; count--) {
    const places = placesIn(root, rule === undefined ? undefined : { list: rule }, "");
    if (places.length === 0) break;
    random.pick(changes)({ places, place: random.pick(places), random });
  }
  const text = root.parts.map((part) => textOf(part.value)).join(" ").slice(0, LONGEST);
  return random.chance(4) ? mutateText(text, random, everyWord) : text;
}
