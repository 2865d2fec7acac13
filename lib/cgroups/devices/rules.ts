/**
 * The devices that a container may use: combines the rules of `linux.resources.devices` with runc's own into one
 * filter. Pure.
 *
 * A filter has the form that the v1 controller uses: a default and exceptions to it. v1.ts turns the filter
 * into writes to devices.allow and devices.deny, and v2.ts into a BPF program, so both versions enforce the
 * same.
 *
 * @see Documentation/admin-guide/cgroup-v1/devices.rst
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { DeviceRule as SpecDeviceRule } from "../../specs/config.ts";
import { defaultDevices } from "../../specs/default_devices.ts";

/** A rule in config.json. */
export type { SpecDeviceRule };

/** Access bits, in the order of texts: BPF_DEVCG_ACC_* in include/uapi/linux/bpf.h. */
export const DeviceAccess = { r: 2, w: 4, m: 1 } as const;
/** Every access. */
export const ALL_ACCESS = DeviceAccess.r | DeviceAccess.w | DeviceAccess.m;
/** The letters of every access: `rwm`. */
export const ALL_LETTERS = Object.keys(DeviceAccess).join("");
/** Any major or minor number. */
export const ANY = -1;

/** The devices that a rule applies to. */
export interface DeviceRange {
  readonly type: "b" | "c";
  /** {@link ANY} matches every number. */
  readonly major: number;
  readonly minor: number;
}

/** A range with {@link DeviceAccess} bits, never 0. */
export interface DeviceException extends DeviceRange {
  readonly access: number;
}

/** A rule that changes a filter. Type `a` applies to every device and access. */
export type DeviceRule =
  | { readonly allow: boolean; readonly type: "a" }
  | { readonly allow: boolean } & DeviceException;

/** Allows or denies everything except the exceptions. Each range has one exception; exceptions are sorted. */
export interface DeviceFilter {
  readonly allowsByDefault: boolean;
  readonly exceptions: readonly DeviceException[];
}

const DENY_ALL: DeviceFilter = { allowsByDefault: false, exceptions: [] };

/**
 * Rules that every container gets in addition to its config, and that the config cannot remove: create any device node
 * (which does not allow using the device), and use the default device nodes, which have a `path`.
 *
 * Source: runc 1.5.1, libcontainer/specconv, AllowedDevices.
 */
export const alwaysAllowed: readonly (SpecDeviceRule & { readonly path?: string })[] = [
  { allow: true, type: "c", access: "m" },
  { allow: true, type: "b", access: "m" },
  ...defaultDevices.map(({ path, type, major, minor }) => ({
    allow: true,
    path,
    type,
    major,
    minor,
    access: ALL_LETTERS,
  })),
  { allow: true, type: "c", major: 136, access: ALL_LETTERS }, // /dev/pts/*
  { allow: true, type: "c", major: 5, minor: 2, access: ALL_LETTERS }, // /dev/ptmx
  { allow: true, type: "c", major: 10, minor: 200, access: ALL_LETTERS }, // /dev/net/tun
];

/**
 * The filter of a container with the rules `linux.resources.devices`.
 *
 * @throws {RuncError} `config-invalid` with the rule's field: the rule has no access, an unknown type or access, a
 * number that is not a u32, or it denies part of a wildcard.
 */
export function containerDeviceFilter(rules: readonly SpecDeviceRule[]): DeviceFilter {
  const known = filters.get(rules);
  if (known !== undefined) return known;
  const made = [...rules, ...alwaysAllowed].reduce((filter, rule, index) => {
    const field = index < rules.length ? `/linux/resources/devices/${index}` : "/linux/resources/devices";
    return applyRule(filter, parseRule(rule, index, field), field);
  }, DENY_ALL);
  filters.set(rules, made);
  return made;
}

/** What was made of the rules of a config, which does not change. */
const filters = new WeakMap<readonly SpecDeviceRule[], DeviceFilter>();

/** Whether the filter allows everything. */
export function allowsAll(filter: DeviceFilter): boolean {
  return filter.allowsByDefault && filter.exceptions.length === 0;
}

/** A rule in the controller's text format: `c 1:3 rwm`. */
export function formatRule(rule: DeviceRule): string {
  if (rule.type === "a") return `a *:* ${ALL_LETTERS}`;
  const access = [...ALL_LETTERS].filter((letter) => isAccess(letter) && rule.access & DeviceAccess[letter]).join("");
  return `${rule.type} ${formatNumber(rule.major)}:${formatNumber(rule.minor)} ${access}`;
}

/**
 * Parses `devices.list`. The list has no deny rules; a first entry `a` means that everything is allowed.
 *
 * @throws {RuncError} `cgroup-failed` for a line that the controller never writes.
 */
export function parseDevicesList(text: string): DeviceFilter {
  return text.split("\n").filter((line) => line !== "").reduce<DeviceFilter>((filter, line) => {
    const [, type, major = "", minor = "", access = ""] = /^([abc]) (\*|\d+):(\*|\d+) ([rwm]+)$/.exec(line) ?? [];
    if (type === "a") return { allowsByDefault: true, exceptions: [] };
    if (type !== "b" && type !== "c") {
      throw new RuncError("cgroup-failed", `malformed devices.list rule ${JSON.stringify(line)}`);
    }
    return addException(filter, {
      type,
      major: parseNumber(major),
      minor: parseNumber(minor),
      access: accessBits(access) ?? 0,
    });
  }, DENY_ALL);
}

/**
 * The shortest list of rules that turns `from` into `to`, in an order that never denies more than necessary in between.
 *
 * A filter that allows by default is reset first, because its deny rules cannot be read back.
 */
export function transition(from: DeviceFilter, to: DeviceFilter): readonly DeviceRule[] {
  const startOver = from.allowsByDefault || to.allowsByDefault;
  const old = startOver ? [] : from.exceptions;
  return [
    ...(startOver ? [{ type: "a", allow: to.allowsByDefault } as const] : []),
    ...minus(old, to.exceptions).map((dropped) => ({ ...dropped, allow: to.allowsByDefault })),
    ...minus(to.exceptions, old).map((gained) => ({ ...gained, allow: !to.allowsByDefault })),
  ];
}

/** Whether both filters allow the same devices. */
export function sameFilter(a: DeviceFilter, b: DeviceFilter): boolean {
  return a.allowsByDefault === b.allowsByDefault && minus(a.exceptions, b.exceptions).length === 0 &&
    minus(b.exceptions, a.exceptions).length === 0;
}

function parseRule(rule: SpecDeviceRule, index: number, field: string): DeviceRule {
  const { allow, type = "a", major = ANY, minor = ANY } = rule;
  if ((rule.access ?? "") === "") {
    throw invalid(`device access at ${index} field cannot be empty`, `${field}/access`);
  }
  const access = accessBits(rule.access ?? "");
  if (access === undefined) throw invalid(`invalid device access ${JSON.stringify(rule.access)}`, `${field}/access`);
  if (type === "a") return { allow, type };
  if (type !== "b" && type !== "c") {
    throw invalid(`invalid cgroup device type ${JSON.stringify(type)}`, `${field}/type`);
  }
  for (const [name, number] of Object.entries({ major, minor })) {
    if (!isDeviceNumber(number)) throw invalid(`invalid device ${name} number ${number}`, `${field}/${name}`);
  }
  return { allow, type, major, minor, access };
}

function applyRule(filter: DeviceFilter, rule: DeviceRule, field: string): DeviceFilter {
  if (rule.type === "a") return { allowsByDefault: rule.allow, exceptions: [] };
  const { allow, ...range } = rule;
  return allow === filter.allowsByDefault ? dropException(filter, range, field) : addException(filter, range);
}

function addException(filter: DeviceFilter, added: DeviceException): DeviceFilter {
  const known = filter.exceptions.find((exception) => sameRange(exception, added));
  return withException(filter, { ...added, access: added.access | (known?.access ?? 0) });
}

/**
 * The v1 controller silently ignores a rule that denies part of a wildcard, and a wildcard covers too many numbers to
 * split it. An error is better than a rule that has no effect.
 */
function dropException(filter: DeviceFilter, dropped: DeviceException, field: string): DeviceFilter {
  for (const exception of filter.exceptions) {
    if (sameRange(exception, dropped) || (exception.access & dropped.access) === 0) continue;
    if (isWildcardOver(exception, dropped)) {
      const [hole, wildcard] = [dropped, exception].map((part) => formatRule({ allow: true, ...part }));
      throw invalid(
        `requested rule [${hole}] not supported by devices cgroupv1 (cannot punch hole in existing wildcard rule [${wildcard}])`,
        field,
      );
    }
  }
  const known = filter.exceptions.find((exception) => sameRange(exception, dropped));
  return withException(filter, { ...dropped, access: (known?.access ?? 0) & ~dropped.access });
}

/** Replaces the exception for its range, or removes it if no access is left. */
function withException(filter: DeviceFilter, exception: DeviceException): DeviceFilter {
  const others = filter.exceptions.filter((other) => !sameRange(other, exception));
  return { ...filter, exceptions: exception.access === 0 ? others : [...others, exception].toSorted(byNumber) };
}

/** The access in `a` that is not in `b`, per range. */
function minus(a: readonly DeviceException[], b: readonly DeviceException[]): readonly DeviceException[] {
  return a.map((exception) => ({
    ...exception,
    access: exception.access & ~(b.find((other) => sameRange(other, exception))?.access ?? 0),
  })).filter(({ access }) => access !== 0);
}

function isWildcardOver(wildcard: DeviceRange, range: DeviceRange): boolean {
  return wildcard.type === range.type && (wildcard.major === ANY || wildcard.minor === ANY) &&
    (wildcard.major === ANY || wildcard.major === range.major) &&
    (wildcard.minor === ANY || wildcard.minor === range.minor);
}

function sameRange(a: DeviceRange, b: DeviceRange): boolean {
  return a.type === b.type && a.major === b.major && a.minor === b.minor;
}

function byNumber(a: DeviceRange, b: DeviceRange): number {
  // localeCompare would load collation data on its first call, which takes 10 ms.
  return a.major - b.major || a.minor - b.minor || Number(a.type > b.type) - Number(a.type < b.type);
}

/** Ignores letters other than `rwm`, as runc does. Returns undefined if none of the three is present. */
export function accessBits(letters: string): number | undefined {
  let bits = 0;
  for (const letter of letters) if (isAccess(letter)) bits |= DeviceAccess[letter];
  return bits === 0 ? undefined : bits;
}

/** The letters that are no access. */
export function unknownAccessLetters(letters: string): string {
  return [...letters].filter((letter) => !isAccess(letter)).join("");
}

function isAccess(letter: string): letter is keyof typeof DeviceAccess {
  return Object.hasOwn(DeviceAccess, letter);
}

function isDeviceNumber(number: number): boolean {
  return number === ANY || (Number.isInteger(number) && number >= 0 && number <= 0xffff_ffff);
}

function formatNumber(number: number): string {
  return number === ANY ? "*" : String(number);
}

function parseNumber(text: string): number {
  return text === "*" ? ANY : Number(text);
}

function invalid(message: string, field: string): RuncError {
  return new RuncError("config-invalid", message, { field });
}
