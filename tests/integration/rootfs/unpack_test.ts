/** Layers are unpacked as GNU tar does it, and overlayfs shows them as an image means them. As root. */

import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { readInLayers, visibleLayers } from "../../../lib/sandbox/rootfs/overlay.ts";
import { tar, utf8, type Written } from "../../unit/sandbox/rootfs/tar_writer.ts";
import { attribute, inWorkshop, kernel, listing, output, setAttribute } from "./workshop.ts";

/** A file capability: cap_net_raw=ep. Revision 2, effective; include/uapi/linux/capability.h */
const capability = Uint8Array.of(1, 0, 0, 2, 0, 0x20, 0, 0, ...new Array(12).fill(0));

/** Files of all kinds, with owners, modes, times and attributes. */
function makeTree(path: string): void {
  const script = `
    mkdir -p d/e/f g "$(printf 'not-utf8-\\377')" && cd d
    truncate -s 5M sparse; for at in 0 70 200 1000; do echo data | dd of=sparse bs=4096 seek=$at conv=notrunc status=none; done
    for at in 0 1 2 3 4 5 6 7 8 9; do echo many | dd of=holes bs=4096 seek=$((at * 20)) conv=notrunc status=none; done
    head -c 300000 /dev/urandom > large; : > empty; echo text > "$(printf 'b\\nl')"
    mkdir -p "$(printf 'l%.0s' $(seq 120))/$(printf 'm%.0s' $(seq 120))"
    echo long > "$(printf 'l%.0s' $(seq 120))/$(printf 'm%.0s' $(seq 120))/$(printf 'n%.0s' $(seq 200))"
    ln large hard; ln -s /etc/passwd absolute; ln -s ../../.. upwards; ln -s "$(printf 't%.0s' $(seq 200))" far
    ln -P far hardlink-to-symlink
    mknod char c 1 3; mknod block b 259 70000; mkfifo fifo
    cp /bin/true setuid; chown 4294967294:3000000 setuid; chmod 6755 setuid; chmod 000 e/f; chmod 1777 ../g
    chown -h 5:6 absolute; chown 7:8 e char; touch -d @1000000000.123456789 large empty e fifo; touch -hd @5 far
    cp /bin/true capable
  `;
  output("sh", "-ec", `cd "$1"; ${script}`, "sh", path);
  setAttribute(join(path, "d/capable"), "security.capability", capability);
  setAttribute(join(path, "d/large"), "user.name", utf8("value"));
  setAttribute(join(path, "d/e"), "user.directory", utf8("yes"));
}

const formats: readonly (readonly string[])[] = [
  ["--format=pax"],
  // Other formats have no fractions of seconds, no attributes, and ustar no long names or large ids.
  ["--format=gnu"],
  ["--format=gnu", "--sparse"],
  ["--format=pax", "--sparse", "--sparse-version=1.0"],
  ["--format=pax", "--sparse", "--sparse-version=0.1"],
  ["--format=pax", "--pax-option=delete=atime,delete=ctime", "--sort=name"],
];

for (const format of formats) {
  Deno.test(`a layer is unpacked as GNU tar unpacks it: ${format.join(" ")}`, async () => {
    await inWorkshop(async (workshop) => {
      const [tree, theirs, archive] = ["tree", "theirs", "layer.tar"].map((name) => join(workshop.path, name));
      Deno.mkdirSync(tree!);
      Deno.mkdirSync(theirs!);
      makeTree(tree!);
      const xattrs = format[0] === "--format=pax" ? ["--xattrs", "--xattrs-include=*"] : [];
      output("tar", "-C", tree!, ...format, ...xattrs, "-cf", archive!, ".");
      const ours = await workshop.unpack(Deno.readFileSync(archive!));
      output("tar", "-C", theirs!, ...xattrs, "--numeric-owner", "-xpf", archive!);
      assertEquals(listing(ours), listing(theirs!));
      assert(listing(ours).length > 20);
      output("diff", "-r", "--no-dereference", theirs!, ours, "--exclude=fifo", "--exclude=char", "--exclude=block");
      assertEquals(output("stat", "-c", "%t:%T", join(ours, "d/block")), "103:11170\n");
      if (xattrs.length === 0) return;
      for (const name of ["security.capability", "user.name"]) {
        const file = name === "user.name" ? "d/large" : "d/capable";
        assertEquals(attribute(join(ours, file), name), attribute(join(tree!, file), name), name);
      }
      assertEquals(attribute(join(ours, "d/e"), "user.directory"), "yes");
    });
  });
}

const d = (name: string, more: Partial<Written> = {}): Written => ({ name, type: "5", mode: 0o755, ...more });
const f = (name: string, content = name): Written => ({ name, content });

/** Layers, the lowest first, and the files that the image then has, with their content. */
const merged: readonly [
  what: string,
  layers: readonly (readonly Written[])[],
  files: Readonly<Record<string, string>>,
][] = [
  ["a whiteout removes a file", [[f("a"), f("b")], [f(".wh.a")]], { b: "b" }],
  ["a whiteout removes a directory", [[d("d"), f("d/a"), f("b")], [f(".wh.d")]], { b: "b" }],
  ["a whiteout in a directory", [[d("d"), f("d/a"), f("d/b")], [d("d"), f("d/.wh.a")]], { "d/b": "d/b" }],
  ["a whiteout without an entry of its directory", [[d("d"), f("d/a"), f("d/b")], [f("d/.wh.a")]], { "d/b": "d/b" }],
  ["a whiteout of nothing", [[f("a")], [f(".wh.b"), f("c/.wh.d")]], { a: "a" }],
  ["an opaque directory", [[d("d"), f("d/a"), f("b")], [d("d"), f("d/.wh..wh..opq"), f("d/c")]], {
    b: "b",
    "d/c": "d/c",
  }],
  ["opaque after its files", [[d("d"), f("d/a")], [d("d"), f("d/c"), f("d/.wh..wh..opq")]], { "d/c": "d/c" }],
  ["an opaque root", [[f("a")], [f(".wh..wh..opq"), f("b")], [f("c")]], { b: "b", c: "c" }],
  ["a removed and new directory", [[d("d"), f("d/a")], [f(".wh.d"), d("d"), f("d/b")]], { "d/b": "d/b" }],
  ["a new directory, then its whiteout", [[d("d"), f("d/a")], [d("d"), f("d/b"), f(".wh.d")]], { "d/b": "d/b" }],
  ["a new file in a removed directory", [[d("d"), f("d/a")], [f(".wh.d"), f("d/b")]], { "d/b": "d/b" }],
  ["a removed file comes back", [[f("a", "1")], [f(".wh.a")], [f("a", "3")]], { a: "3" }],
  ["a removed and new file", [[f("a", "1")], [f(".wh.a"), f("a", "2")]], { a: "2" }],
  ["a file in place of a directory", [[d("d"), f("d/a")], [f("d", "file")]], { d: "file" }],
  ["a directory in place of a file", [[f("d")], [d("d"), f("d/a")]], { "d/a": "d/a" }],
  ["an entry twice", [[f("a", "1"), f("a", "2"), d("b"), f("b/c"), f("b", "now a file")]], { a: "2", b: "now a file" }],
  ["files of aufs", [[f("a"), f(".wh..wh.aufs"), d(".wh..wh.plnk"), f(".wh..wh.plnk/1.2")]], { a: "a" }],
  ["a file through the layer's own symlink", [[
    d("usr/lib"),
    { name: "lib", type: "2", linkName: "usr/lib" },
    f("lib/a"),
  ]], {
    "usr/lib/a": "lib/a",
  }],
  ["an absolute symlink starts at the root", [[d("x"), { name: "l", type: "2", linkName: "/x" }, f("l/a")]], {
    "x/a": "l/a",
  }],
  ["a hard link to a whole path", [[f("a", "1"), { name: "b", type: "1", linkName: "/a" }]], { a: "1", b: "1" }],
];

for (const [what, layers, files] of merged) {
  Deno.test(`overlayfs shows the image: ${what}`, async () => {
    await inWorkshop(async (workshop) => {
      const paths: string[] = [];
      for (const entries of layers) paths.push(await workshop.unpack(tar(...entries)));
      const before = paths.map((path) => listing(path));
      const [place, upper, work] = ["merged", "upper", "work"].map((name) => join(workshop.path, name));
      for (const directory of [place!, upper!, work!]) Deno.mkdirSync(directory);
      const visible = visibleLayers(kernel, paths, false);
      const options = `lowerdir=${visible.toReversed().join(":")},upperdir=${upper},workdir=${work}`;
      const show =
        'mount -t overlay overlay -o "$1" "$2" && cd "$2" && find . -type f -printf "%P=" -exec cat {} ";" -printf "\\n"';
      const lines = output("unshare", "--mount", "sh", "-ec", show, "sh", options, place!).trim().split("\n");
      assertEquals(Object.fromEntries(lines.map((line) => line.split("="))), files);
      // What readInLayers() finds is the same.
      for (const [name, content] of Object.entries(files)) {
        assertEquals(new TextDecoder().decode(readInLayers(kernel, visible, name, 100)), content, name);
      }
      assertEquals(paths.map((path) => listing(path)), before);
    });
  });
}

Deno.test("readInLayers() neither opens a device nor reads more than asked", async () => {
  await inWorkshop(async (workshop) => {
    const lower = await workshop.unpack(
      tar(f("etc/passwd", "lower"), f("etc/group", "lower"), f("etc/hosts", "lower")),
    );
    const upper = await workshop.unpack(tar(f("etc/.wh.group"), { name: "etc/hosts", type: "3", major: 1, minor: 5 }));
    const read = (path: string) => {
      const bytes = readInLayers(kernel, [lower, upper], path, 3);
      return bytes && new TextDecoder().decode(bytes);
    };
    assertEquals([read("etc/passwd"), read("etc/group"), read("none/x")], ["low", undefined, undefined]);
    assertEquals(read("etc/hosts"), undefined);
  });
});
