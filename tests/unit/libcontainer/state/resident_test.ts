import { assertEquals } from "@std/assert";
import stateOfRunc from "../../../fixtures/runc_1_1_5_state.json" with { type: "json" };
import {
  encodeResident,
  IDENTITY_WORD,
  identityOffsets,
  RESIDENT_LIMIT,
  RESIDENT_MAGIC,
  residentOffsets,
  residentTexts,
  Trait,
} from "../../../../lib/libcontainer/state/resident.ts";
import { parseRuncState, type RuncState } from "../../../../lib/libcontainer/state/runc_state.ts";
import { describeState, formatState } from "../../../../lib/libcontainer/state/state_text.ts";

const identity = identityOffsets.map((_, index) => BigInt(index) << 40n | 7n);

/** The state of a container that Debian's runc has made, with changes. */
function stateWith(config: object = {}, rest: object = {}): RuncState {
  const base = stateOfRunc as unknown as { config: object };
  return parseRuncState(JSON.stringify({ ...base, ...rest, config: { ...base.config, Hooks: {}, ...config } }));
}

/** The file in words, as the front takes it apart. */
function decode(file: Uint8Array<ArrayBuffer>): Record<string, unknown> {
  const view = new DataView(file.buffer);
  const text = (from: number, length: number) => new TextDecoder().decode(file.subarray(from, from + length));
  const texts = residentTexts.map((name, index) => {
    const entry = residentOffsets.texts + 8 * index;
    const [offset, length] = [view.getUint32(entry, true), view.getUint32(entry + 4, true)];
    assertEquals(file[offset + length], 0, `${name} ends with a NUL`);
    return [name, text(offset, length)];
  });
  return {
    magic: text(0, 8),
    length: view.getUint32(residentOffsets.length, true),
    traits: view.getUint32(residentOffsets.traits, true),
    identity: identity.map((_, index) => view.getBigUint64(residentOffsets.identity + IDENTITY_WORD * index, true)),
    pid: view.getUint32(residentOffsets.pid, true),
    ...Object.fromEntries(texts),
  };
}

Deno.test("the file has the facts of the state, and the output of state for every status", () => {
  const state = stateWith();
  const file = encodeResident(state, identity)!;
  const { init_process_pid: pid, init_process_start: start, cgroup_paths: paths } = stateOfRunc;
  assertEquals(decode(file), {
    magic: RESIDENT_MAGIC,
    length: file.length,
    traits: 0,
    identity,
    pid,
    processFile: `/proc/${pid}/stat`,
    startTime: String(start),
    ...Object.fromEntries(
      (["created", "running", "paused", "stopped"] as const).map((
        status,
      ) => [status, formatState(describeState(state, status))]),
    ),
    freezerCgroup: paths.freezer,
    freezerFile: `${paths.freezer}/freezer.state`,
    selfFreezingFile: `${paths.freezer}/freezer.self_freezing`,
    mainCgroup: paths.devices,
    cgroups: [...new Set(Object.values(paths))].map((path) => `${path}\0`).join(""),
  });
});

const freezerTexts = (paths: object) => {
  const { freezerFile, selfFreezingFile, mainCgroup } = decode(
    encodeResident(stateWith({}, { cgroup_paths: paths }), identity)!,
  );
  return [freezerFile, selfFreezingFile, mainCgroup];
};

Deno.test("where the freezer is depends on the cgroup's version", () => {
  assertEquals(freezerTexts({ "": "/c/box" }), ["/c/box/cgroup.freeze", "", "/c/box"]);
  assertEquals(freezerTexts({ "": "/u/box", devices: "/d/box" }), ["", "", "/d/box"]);
  assertEquals(freezerTexts({ memory: "/m/box" }), ["", "", "/m/box"]);
  assertEquals(freezerTexts({}), ["", "", ""]);
});

Deno.test("what changes the acts of a command is a trait", () => {
  const hook = { path: "/bin/true", args: null, env: null, dir: "", timeout: null };
  const traits = (config: object) => decode(encodeResident(stateWith(config), identity)!).traits;
  assertEquals(traits({ Hooks: { poststart: [hook] } }), Trait.poststartHooks);
  assertEquals(traits({ Hooks: { poststop: [hook], createRuntime: [hook] } }), Trait.poststopHooks);
  assertEquals(traits({ namespaces: [{ type: "NEWNS", path: "" }] }), Trait.sharedPids);
});

Deno.test("there is no file for a container that the front cannot serve, or that needs a large one", () => {
  const cgroups = (change: object) => ({ cgroups: { ...stateOfRunc.config.cgroups, ...change } });
  const states: readonly RuncState[] = [
    stateWith(cgroups({ Systemd: true })),
    stateWith({ rootless_cgroups: true }),
    stateWith({}, { init_process_pid: 0 }),
    stateWith({}, { intel_rdt_path: "/sys/fs/resctrl/box" }),
    stateWith({}, { cgroup_paths: { memory: "m" } }),
    stateWith({}, { cgroup_paths: { memory: "/m\0/n" } }),
    stateWith({ labels: ["bundle=/b", `a=${"x".repeat(RESIDENT_LIMIT / 4)}`] }),
  ];
  for (const state of states) assertEquals(encodeResident(state, identity), undefined);
});
