import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { RuncError } from "../../../../../lib/errors.ts";
import type { RootLayers } from "../../../../../lib/libcontainer/config/launch_request.ts";
import { rootLayerSteps } from "../../../../../lib/libcontainer/steps/root/layers.ts";
import { prepareRootSteps } from "../../../../../lib/libcontainer/steps/root/rootfs.ts";
import { callLines, labels } from "../../../plan_reader.ts";
import { config, request } from "../../fixed.ts";

const rootLayers: RootLayers = { directory: "/l", names: ["1", "2:x,\\"], maximumBytes: 1000, userXattrs: false };

Deno.test("a root of layers is mounted when the host cannot see it any more, and before it is taken as the root", () => {
  const steps = prepareRootSteps(config(), { ...request, rootfs: "/r", rootLayers });
  assertEquals(labels(steps).slice(1), [
    "mount a tmpfs for changes on /r",
    "mount 2 layers of /l on /r",
    "bind /r on itself and keep it open as the root",
  ]);
  assertEquals(callLines(steps.slice(1, 3)), [
    'mount("tmpfs", "/r", "tmpfs", MS_NOSUID|MS_NODEV, "mode=0755,size=1000")',
    'chdir("/r")',
    'mkdirat(AT_FDCWD, "upper", 0755)',
    'mkdirat(AT_FDCWD, "work", 0700)',
    'symlinkat("/l", AT_FDCWD, "layers")',
    'symlinkat("layers/1", AT_FDCWD, "0")',
    'symlinkat("layers/2:x,\\\\", AT_FDCWD, "1")',
    'mount("overlay", "/r", "overlay", MS_NOSUID|MS_NODEV, "lowerdir=1:0,upperdir=upper,workdir=work")',
  ]);
});

Deno.test("a root of layers needs a mount namespace of its own", () => {
  for (const mine of [[], [{ type: "mount" as const, path: "/proc/2/ns/mnt" }]]) {
    const shared = config((draft) => {
      draft.linux.namespaces = [...draft.linux.namespaces.filter(({ type }) => type !== "mount"), ...mine];
    });
    const error = assertThrows(() => prepareRootSteps(shared, { ...request, rootLayers }), RuncError);
    assertEquals(error.code, "config-invalid");
  }
});

Deno.test("marks of a user are read as such; as many layers as the kernel takes fit into a page of options", () => {
  const withLayers = (count: number) => {
    const names = Array.from({ length: count }, () => "0".repeat(64));
    return callLines(rootLayerSteps({ ...rootLayers, names, userXattrs: true }, "/r")).at(-1)!;
  };
  assertMatch(withLayers(2), /"lowerdir=1:0,upperdir=upper,workdir=work,userxattr"\)$/);
  assert(withLayers(500).length < 4096);
  const error = assertThrows(() => withLayers(501), RuncError);
  assertEquals([error.code, error.message.includes("501 layers")], ["unsupported", true]);
});
