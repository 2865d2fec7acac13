/** An image is the same for another container, but for the places of its id. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { keptFor, KeptImages } from "../../../../lib/libcontainer/launch/kept_images.ts";
import { planCreate } from "../../../../lib/libcontainer/plans/create.ts";
import { planExec } from "../../../../lib/libcontainer/plans/exec.ts";
import { encode } from "../../../../lib/plan/native/encode.ts";
import type { Plan } from "../../../../lib/plan/op.ts";
import { descriptorsOf } from "../../plan_reader.ts";
import { config, facts, request } from "../fixed.ts";

/** The first one ends with a text that plans have for itself, too: `0` is written to files of cgroups. */
const one = "sandbox-00000000-1111-2222-3333-444444444440";
const other = "sandbox-aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeee5";

const cgroupOf = (id: string) => ({
  taskFiles: ["cpu", "memory"].map((name) => ({ path: `/sys/fs/cgroup/${name}/runc-${id}/tasks` })),
  cloneInto: `/sys/fs/cgroup/unified/runc-${id}`,
});

function creation(id: string): Plan {
  const cgroupMounts = facts.cgroupMounts.map((mount) => ({ ...mount, source: `/sys/fs/cgroup/${mount.name}/${id}` }));
  return planCreate(config(), { ...facts, cgroupMounts }, { ...request, id, cgroup: cgroupOf(id) });
}

function exec(id: string): Plan {
  return planExec(config().process!, facts, {
    id,
    namespaces: ["mount", "pid"],
    cgroup: cgroupOf(id),
    noNewKeyring: false,
    inheritedFds: 0,
    listenFds: 0,
    pidfdSocket: false,
    hasCpuset: false,
  });
}

for (const [name, planOf] of Object.entries({ creation, exec })) {
  for (const arch of ["x86_64", "aarch64"] as const) {
    Deno.test(`a kept ${arch} image of the ${name} is what would be encoded for the other id`, () => {
      const encoded = (id: string) => {
        const plan = planOf(id);
        return encode(plan, { arch, fds: descriptorsOf(plan), fold: false }).image;
      };
      const images = new KeptImages();
      images.keep("key", one, encoded(one));
      assertEquals(images.get("key", other), encoded(other));
      assertEquals(images.get("key", one), encoded(one));
      assertNotEquals(encoded(one), encoded(other));
    });
  }
}

Deno.test("an image that was given out is the caller's own", () => {
  const images = new KeptImages();
  const image = new TextEncoder().encode(`path/${one}/tasks`);
  images.keep("key", one, image);
  image.fill(0);
  images.get("key", one)!.fill(0);
  assertEquals(new TextDecoder().decode(images.get("key", other)), `path/${other}/tasks`);
});

Deno.test("the key is the same for two ids, and differs with all else", () => {
  const parts = (
    id: string,
    more: object = {},
  ) => [{ path: `/cgroup/${id}`, refused: new Set(["a"]), big: 1n, ...more }];
  const key = KeptImages.keyOf(one, parts(one));
  assertEquals(KeptImages.keyOf(other, parts(other)), key);
  for (const more of [{ refused: new Set(["b"]) }, { big: 2n }, { path: `/other/${one}` }]) {
    assertNotEquals(KeptImages.keyOf(one, parts(one, more)), key);
  }
  const longer = `${one}0`;
  assertNotEquals(KeptImages.keyOf(longer, parts(longer)), key);
});

Deno.test("a short id may be a part of other texts, so its image is not kept", () => {
  assertEquals(KeptImages.keyOf("box", []), undefined);
});

Deno.test("an id that begins again within itself is replaced where the key has it", () => {
  const [first, second] = ["a".repeat(32), "b".repeat(32)];
  assertEquals(KeptImages.keyOf(first, [`${first}a`]), KeptImages.keyOf(second, [`${second}a`]));
  const images = new KeptImages();
  images.keep("key", first, new TextEncoder().encode(`${first}a ${first}`));
  assertEquals(new TextDecoder().decode(images.get("key", second)), `${second}a ${second}`);
});

Deno.test("a config that has the id for itself, as in the source of a mount, gives no image for other ids", () => {
  const images = new KeptImages();
  const image = new TextEncoder().encode(`/data/${one}`);
  images.keep("key", one, image, { mounts: [{ source: `/data/${one}` }], limit: 1n });
  assertEquals(images.get("key", other), undefined);
  images.keep("key", one, image, { mounts: [{ source: `/data/${other}` }], limit: 1n });
  assert(images.get("key", other) !== undefined);
});

Deno.test("of many images the last ones are kept", () => {
  const images = new KeptImages();
  for (let number = 0; number < 100; number++) images.keep(`${number}`, one, new Uint8Array(1));
  assertEquals(images.get("0", one), undefined);
  assert(images.get("99", one) !== undefined);
});

Deno.test("a launch without images plans as ever; with them, its key has all but the profile", () => {
  assertEquals(keptFor({}, { id: one, request: {} }), undefined);
  const images = new KeptImages();
  const kept = keptFor({ images }, { id: one, request: { seccomp: "large", umask: 1 }, facts: 2 });
  assertEquals(kept, { images, id: one, parts: [{ seccomp: undefined, umask: 1 }, { facts: 2 }], same: undefined });
});
