/**
 * tmpfs with the mode of the directory that it covers; with `tmpcopyup` also its content. Runs in: init, before
 * pivot_root.
 *
 * @module
 */

import { MountFlag } from "../../../ffi/constants.ts";
import { at, bytes, call, slot, store, when } from "../../../plan/build.ts";
import type { Bytes, CallOp, Op, Operand } from "../../../plan/op.ts";
import type { Arch } from "../../../ffi/syscalls.ts";
import { ensureDirectory } from "../root/in_root.ts";
import type { HostFacts } from "../../config/launch_request.ts";
import type { MountOptions } from "../../config/mount_options.ts";
import type { FileSystemMount, ParsedMount } from "../../config/mounts.ts";
import { loadStat, statBuffer } from "../stat.ts";
import { copyUpOps } from "./copy_up.ts";
import { remountAttributes } from "./attributes.ts";
import { mountHere, placeMount, source, target } from "./calls.ts";
import { mountHint, mountMeaning } from "./messages.ts";
import { placeOptions, refuseTarget } from "./place.ts";

const { MS_RDONLY } = MountFlag;

/** A tmpfs takes the mode of the directory that it covers, unless a mode is given or the directory is new. */
export function tmpfsOps(parsed: FileSystemMount, facts: HostFacts): readonly Op[] {
  const { mount, destination, options } = parsed;
  if (options.extensions.includes("tmpcopyup")) return copiedTmpfsOps(parsed, facts);
  // The tmpfs becomes read-only at the end: mount points and device nodes are made in it first.
  const how = { type: "tmpfs", source: mount.source ?? "tmpfs", flags: options.flags & ~MS_RDONLY, data: options.data };
  const place = ensureDirectory(destination, target, placeOptions(parsed, facts));
  if (hasMode(options)) return [...place, ...refuseTarget(parsed, facts), ...mountHere(parsed, how)];
  const existed = slot("existed");
  const set = (value: number): Op => ({ op: "add", left: value, right: 0, out: existed });
  const [open] = place as [CallOp];
  const [make] = open.onError!;
  return [
    set(1),
    { ...open, onError: [{ errnos: make!.errnos, ops: [...make!.ops, set(0)] }] },
    ...refuseTarget(parsed, facts),
    when(existed, "!=", 0, mountWithMode(parsed, how, facts.arch), mountHere(parsed, how)),
  ];
}

/** A tmpfs that starts with the content of the directory that it covers. */
function copiedTmpfsOps(parsed: FileSystemMount, facts: HostFacts): readonly Op[] {
  const { mount, index, destination, options } = parsed;
  const flags = options.flags & ~MS_RDONLY;
  const meaning = mountMeaning(parsed, flags, options.data);
  const { set } = remountAttributes(flags);
  const digits = bytes(new TextEncoder().encode("0000\0"), '"<that of the directory>"');
  const tmpfs = {
    index,
    source: mount.source ?? "tmpfs",
    flags,
    attributes: set,
    data: options.data,
    inheritMode: (use: (mode: Operand) => Op) =>
      hasMode(options) ? [] : [...modeDigitOps(digits, 0, facts.arch), use(digits)],
    meaning,
  };
  return [
    ...ensureDirectory(destination, target, placeOptions(parsed, facts)),
    ...refuseTarget(parsed, facts),
    ...copyUpOps(tmpfs, target, source),
    placeMount(target, { meaning }),
    call("close", [source]),
    call("close", [target]),
  ];
}

const hasMode = ({ data }: MountOptions) => data.split(",").some((option) => option.startsWith("mode="));

/** Mounts with `mode=` of the directory in `target`: four octal digits that are written when the plan runs. */
function mountWithMode(
  parsed: ParsedMount,
  how: { type: string; source: string; flags: number; data: string },
  arch: Arch,
): readonly Op[] {
  const text = `mode=0000${how.data === "" ? "" : `,${how.data}`}`;
  const data = bytes(
    new TextEncoder().encode(`${text}\0`),
    JSON.stringify(text.replace("0000", "<that of the directory>")),
  );
  return [
    ...modeDigitOps(data, "mode=".length, arch),
    call("fchdir", [target]),
    call("mount", [how.source, ".", how.type, how.flags, data], {
      meaning: mountMeaning(parsed, how.flags, text),
      hint: mountHint(how.type, how.data),
    }),
    call("close", [target]),
  ];
}

/** Writes the mode of the directory in `target` as four octal digits to `text` at `offset`. */
function modeDigitOps(text: Bytes, offset: number, arch: Arch): readonly Op[] {
  const mode = slot("mode");
  const digit = slot("digit");
  return [
    call("fstat", [target, statBuffer]),
    loadStat("mode", mode, arch),
    ...[9, 6, 3, 0].flatMap((shift, index): readonly Op[] => [
      { op: "shr", left: mode, right: shift, out: digit },
      { op: "and", left: digit, right: 7, out: digit },
      { op: "add", left: digit, right: "0".charCodeAt(0), out: digit },
      store(at(text, offset + index), 1, digit),
    ]),
  ];
}
