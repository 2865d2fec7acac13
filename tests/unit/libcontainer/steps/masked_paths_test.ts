import { assert, assertEquals } from "@std/assert";
import { planCreate } from "../../../../lib/libcontainer/plans/create.ts";
import { maskedPathSteps, readonlyPathSteps } from "../../../../lib/libcontainer/steps/masked_paths.ts";
import { callLines, callsNamed, labels, lines, origins, stepOf, structArg, structHex } from "../../plan_reader.ts";
import { config, facts, request } from "../fixed.ts";

const masks = (...paths: readonly string[]) =>
  maskedPathSteps(config((draft) => draft.linux.maskedPaths = [...paths]), facts, true);
const readonlys = (...paths: readonly string[]) =>
  readonlyPathSteps(config((draft) => draft.linux.readonlyPaths = [...paths]), facts);

Deno.test("paths are masked in order, the same one once, however it is written", () => {
  assertEquals(masks(), []);
  const fields = origins(masks("/a", "/b", "/a/", "//b", "/c/../a", "/c")).filter(([label]) =>
    label.startsWith("mask ")
  );
  assertEquals(fields, [
    ["mask /a", "/linux/maskedPaths/0"],
    ["mask /b", "/linux/maskedPaths/1"],
    ["mask /c", "/linux/maskedPaths/5"],
  ]);
});

Deno.test("a file shows the container's /dev/null, a directory an empty read-only tmpfs", () => {
  const text = lines([stepOf(masks("/proc/keys"), "mask /proc/keys")]);
  const [file, rest] = [text.indexOf("if $is_file != 0:"), text.indexOf("else:")];
  assert(text.slice(file, rest).some((line) => line.includes("open_tree($null, ")));
  assert(text.slice(rest).some((line) => line.includes('move_mount($mask, "", $target, "", ')));
});

Deno.test("the tmpfs is read-only and has room for nothing; it has a label where mounts have one", () => {
  const made = (mountLabel?: string) =>
    callsNamed(
      [
        stepOf(
          maskedPathSteps(
            config((draft) => {
              draft.linux.maskedPaths = ["/a"];
              Object.assign(draft.linux, { mountLabel });
            }),
            facts,
            true,
          ),
          "make an empty read-only tmpfs, to mask directories with",
        ),
      ],
      "fsconfig",
    ).map(({ args }) => args.slice(1).map((arg) => typeof arg === "object" ? (arg as { text: string }).text : arg));
  const always = [[0, "ro", 0, 0], [1, "source", "tmpfs", 0], [1, "nr_blocks", "1", 0], [1, "nr_inodes", "1", 0]];
  assertEquals(made(), [...always, [6, 0, 0, 0]]);
  assertEquals(made("l:a:b:e1,e2"), [...always, [1, "context", "l:a:b:e1,e2", 0], [6, 0, 0, 0]]);
});

Deno.test("further directories get copies of the first one's tmpfs, by its descriptor and never by a name", () => {
  const step = stepOf(masks("/a"), "mask /a");
  const text = lines([step]).map((line) => line.trim());
  const known = text.indexOf("if $mask_is_used != 0:");
  assert(text[known + 1]!.startsWith("$copy = open_tree($mask, "), text.join("\n"));
  assertEquals(callsNamed([step], "openat").length, 1);
});

Deno.test("a path is opened once, without following where it leads later; a missing one is skipped", () => {
  for (const [steps, label] of [[masks("/a"), "mask /a"], [readonlys("/a"), "make /a read-only"]] as const) {
    const [open] = callsNamed([stepOf(steps, label)], "openat");
    assertEquals([open!.args[1], open!.endStepOn], [{ data: "text", text: "/a" }, ["ENOENT"]]);
  }
});

Deno.test("relative paths are below the root, also after a directory was entered to be masked", () => {
  const opened = callsNamed([stepOf(masks("/proc/acpi", "proc/kcore"), "mask proc/kcore")], "openat");
  assert(opened.every(({ args }) => JSON.stringify(args[1]).includes('"/proc/kcore"')), JSON.stringify(opened));
});

Deno.test("the working directory is the root again after the masks", () => {
  assert(callLines([masks("/a").at(-1)!]).includes('chdir("/")'));
});

Deno.test("the masking /dev/null is verified also where /dev is a bind mount", () => {
  const bound = config((draft) => {
    draft.mounts = [{ destination: "/dev", source: "/dev", options: ["bind"] }] as never;
  });
  const prepare = stepOf(
    planCreate(bound, facts, request).init,
    "open the container's /dev/null, to mask files with, and verify its device number",
  );
  assert(lines([prepare]).some((line) => line.includes("container's /dev/null is invalid")));
});

Deno.test("a read-only path is a copy of the tree that is read-only before it is placed", () => {
  const steps = readonlys("/proc/sys", "/proc/bus");
  assertEquals(labels(steps), ["make /proc/sys read-only", "make /proc/bus read-only"]);
  assertEquals(callLines(steps.slice(0, 1)).slice(1), [
    'open_tree($target, "", OPEN_TREE_CLONE|AT_EMPTY_PATH|AT_RECURSIVE|OPEN_TREE_CLOEXEC)',
    'mount_setattr($copy, "", AT_EMPTY_PATH, {attr_set: MOUNT_ATTR_RDONLY}, 32)',
    'move_mount($copy, "", $target, "", MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_EMPTY_PATH)',
    "close($copy)",
    "close($target)",
  ]);
  const [set] = callsNamed(steps, "mount_setattr");
  assertEquals(structHex(structArg(set!, 3)), ["01000000", ...Array(7).fill("00000000")].join(" "));
});
