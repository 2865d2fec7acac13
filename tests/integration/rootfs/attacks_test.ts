/**
 * Archives that want to write, read, remove or change something outside of the directory that they are unpacked into. As
 * root. Each test asserts that the archive was unpacked, or refused by a certain error, and that nothing outside changed.
 */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { RuncError } from "../../../lib/errors.ts";
import { tar, type Written } from "../../unit/sandbox/rootfs/tar_writer.ts";
import { attribute, inWorkshop, listing, output, type Workshop } from "./workshop.ts";

const file = (name: string, more: Partial<Written> = {}): Written => ({ name, content: "attack", ...more });
const directory = (name: string, more: Partial<Written> = {}): Written => ({ name, type: "5", mode: 0o777, ...more });
const symlink = (name: string, linkName: string): Written => ({ name, type: "2", linkName });
const link = (name: string, linkName: string): Written => ({ name, type: "1", linkName });

/** Makes entries, given the absolute path of the victim directory, and the way to it from the unpacked layer. */
type Attack = (victim: string, upwards: string) => readonly Written[];

/** Unpacked: these files are below the layer then. Refused: the error matches. */
type Outcome = readonly string[] | RegExp;

const attacks: readonly [what: string, attack: Attack, outcome: Outcome][] = [
  ["a name with ..", (_, up) => [file(`${up}/new`)], /leads upwards/],
  ["a name with .. inside", (_, up) => [directory("a"), file(`a/../${up}/new`)], /leads upwards/],
  ["an absolute name", (victim) => [file(`${victim}/new`)], ["victim/new"]],
  ["a pax name with ..", (_, up) => [file("a", { pax: { path: `${up}/new` } })], /leads upwards/],
  [
    "a GNU name with ..",
    (_, up) => [{ name: "x", type: "L", format: "gnu", content: `${up}/new` }, file("a")],
    /leads upwards/,
  ],
  ["a NUL in a name", (victim) => [file("a", { pax: { path: `${victim}/new\0x` } })], /NUL/],

  ["a file through an absolute symlink", (victim) => [symlink("a", victim), file("a/new")], /is not a directory/],
  ["a file through a relative symlink", (_, up) => [symlink("a", up), file("a/new")], /is not a directory/],
  ["a file through a symlink to /", (victim) => [symlink("a", "/"), file(`a${victim}/new`)], ["victim/new"]],
  ["a file through many ..", (victim) => [symlink("a", "../".repeat(40)), file(`a${victim}/new`)], ["victim/new"]],
  ["a file through two symlinks", (_, up) => [
    directory("d"),
    symlink("d/a", ".."),
    symlink("b", `d/a/${up}`),
    file("b/new"),
  ], /is not a directory/],
  ["a file in place of a symlink", (victim) => [symlink("a", `${victim}/secret`), file("a")], ["a"]],
  ["a file in place of a dangling symlink", (victim) => [symlink("a", `${victim}/new`), file("a")], ["a"]],
  ["a directory in place of a symlink", (victim) => [symlink("a", victim), directory("a"), file("a/new")], [
    "a",
    "a/new",
  ]],
  [
    "a device through a symlink",
    (victim) => [symlink("a", victim), { name: "a/new", type: "3", major: 1, minor: 3 }],
    /is not a directory/,
  ],

  ["a hard link to an absolute name", (victim) => [link("a", `${victim}/secret`)], /cannot be made/],
  ["a hard link to a name with ..", (_, up) => [link("a", `${up}/secret`)], /leads upwards/],
  ["a hard link through a symlink", (victim) => [symlink("s", victim), link("a", "s/secret")], /cannot be made/],
  ["a hard link to a symlink", (victim) => [symlink("s", `${victim}/secret`), link("a", "s")], ["a", "s"]],
  ["a hard link to a symlink, then a file", (victim) => [
    symlink("s", `${victim}/secret`),
    link("a", "s"),
    file("a"),
  ], ["a", "s"]],
  ["a hard link through /proc", () => [symlink("s", "/proc/self/root"), link("a", "s/etc/passwd")], /cannot be made/],
  ["a symlink through a symlink", (victim) => [symlink("s", victim), symlink("s/new", "x")], /is not a directory/],

  ["the mode of a directory that becomes a symlink", (victim) => [directory("a"), symlink("a", victim)], ["a"]],
  [
    "the mode of a directory through a symlink",
    (victim) => [symlink("s", victim), directory("s/inner")],
    /is not a directory/,
  ],
  ["the mode of a directory whose parent becomes a symlink", (victim) => [
    directory("a"),
    directory("a/inner"),
    symlink("a", victim),
  ], ["a"]],

  ["a whiteout through a symlink", (victim) => [symlink("a", victim), file("a/.wh.secret")], /is not a directory/],
  ["a whiteout of ..", () => [directory("a"), file("a/.wh...")], /names no file/],
  [
    "an opaque directory through a symlink",
    (victim) => [symlink("a", victim), file("a/.wh..wh..opq")],
    /is not a directory/,
  ],
  ["a removed directory with a symlink in it", (victim) => [
    directory("a"),
    symlink("a/s", victim),
    directory("a/d"),
    symlink("a/d/s", "/"),
    file("a"),
  ], ["a"]],
  ["a removed file is a symlink", (victim) => [directory("a"), symlink("a/s", victim), file("a/s")], ["a", "a/s"]],

  ["a device 0:0", () => [{ name: "a", type: "3", major: 0, minor: 0 }], /device 0:0/],
  ["the root as a file", () => [file("./")], /root is not a directory/],
  ["the root as a symlink", (victim) => [symlink(".", victim)], /root is not a directory/],
  ["a file in place of the layer's file", () => [file("a"), file("a/b")], /is not a directory/],
];

/** What an attack wants to change: a file, a directory, and something to remove. */
function makeVictim(workshop: Workshop): string {
  const victim = join(workshop.path, "victim");
  output(
    "sh",
    "-ec",
    'mkdir -p "$1/inner"; echo secret > "$1/secret"; chmod 700 "$1" "$1/inner"; chmod 600 "$1/secret"',
    "sh",
    victim,
  );
  return victim;
}

for (const [what, attack, outcome] of attacks) {
  Deno.test(`an archive does not get out: ${what}`, async () => {
    await inWorkshop(async (workshop) => {
      const victim = makeVictim(workshop);
      const before = [...listing(victim), output("stat", "-c", "%a %U %Z %n", victim)];
      // From DIRECTORY/root/partial/HEX
      const entries = attack(victim, "../../../../victim");
      const unpacked = workshop.unpack(tar(file("first"), ...entries));
      if (outcome instanceof RegExp) {
        const error = await assertRejects(() => unpacked, RuncError);
        assertMatch(error.message, outcome);
        assertEquals(workshop.kept(), [], "what was refused is removed");
      } else {
        const layer = await unpacked;
        const names = listing(layer).map((line) => line.split(" ")[6]!);
        // Where the absolute path of the victim was made inside of the layer.
        const inside = outcome.map((name) => name.startsWith("victim/") ? victim.slice(1) + name.slice(6) : name);
        for (const name of [...inside, "first"]) {
          assert(names.includes(name), `${name} is not among ${names.join(", ")}`);
        }
        const linked = output("find", layer, "-samefile", join(victim, "secret"));
        assertEquals(linked, "", "a name in the layer is the victim's file");
      }
      const after = [...listing(victim), output("stat", "-c", "%a %U %Z %n", victim)];
      assertEquals(after, before, "the victim is not as it was");
      assertEquals(Deno.readTextFileSync(join(victim, "secret")), "secret\n");
    });
  });
}

Deno.test("an archive sets no attribute that overlayfs or a security module reads", async () => {
  await inWorkshop(async (workshop) => {
    const names = [
      "trusted.overlay.redirect",
      "trusted.overlay.opaque",
      "trusted.overlay.metacopy",
      "user.overlay.opaque",
      "user.overlay.redirect",
      "security.selinux",
      "security.ima",
      "trusted.other",
    ];
    const pax = Object.fromEntries([...names, "user.allowed"].map((name) => [`SCHILY.xattr.${name}`, "y"]));
    const layer = await workshop.unpack(tar(directory("d", { pax }), file("f", { pax })));
    for (const path of ["d", "f"]) {
      assertEquals(names.filter((name) => attribute(join(layer, path), name) !== undefined), [], path);
      assertEquals(attribute(join(layer, path), "user.allowed"), "y");
    }
  });
});

Deno.test("an archive cannot fill the disk", async () => {
  await inWorkshop(async (workshop) => {
    const large = tar(file("a", { content: "x".repeat(100_000) }), file("b", { content: "x".repeat(100_000) }));
    const bytes = await assertRejects(() => workshop.unpack(large, { maximumBytes: 150_000 }), RuncError);
    assertMatch(bytes.message, /more than 150000 bytes/);
    const entries = await assertRejects(() => workshop.unpack(large, { maximumEntries: 1 }), RuncError);
    assertMatch(entries.message, /more than 1 entries/);
    assertEquals(workshop.kept(), []);
    await workshop.unpack(large, { maximumBytes: 200_000, maximumEntries: 2 });
    // A sparse file of 900 terabytes, in a few blocks.
    const pax = { "GNU.sparse.map": "0,1", "GNU.sparse.size": "900000000000000" };
    const sparse = await assertRejects(() => workshop.unpack(tar({ name: "a", content: "x", pax })), RuncError);
    assertMatch(sparse.message, /more than \d+ bytes/);
  });
});
