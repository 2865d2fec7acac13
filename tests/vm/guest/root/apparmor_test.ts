/**
 * AppArmor profiles in force. Runs in the virtual machine, as root.
 *
 * The profiles have no rules: enforced, such a one allows nothing; in complain mode everything, and shows by its name. So they are written
 * here as the kernel takes them, without a compiler.
 *
 * @see security/apparmor/policy_unpack.c
 */

import { assertEquals, assertMatch } from "@std/assert";
import { afterShell, boxTest, comparing, type Result } from "../../../integration/harness.ts";

const Code = { u32: 2, name: 4, string: 5, struct: 7, structEnd: 8 } as const;

const bytes16 = (value: number) => [value & 0xff, value >> 8];
const text = (code: number, value: string) => [
  code,
  ...bytes16(value.length + 1),
  ...new TextEncoder().encode(value),
  0,
];
const u32 = (value: number) => [Code.u32, ...bytes16(value & 0xffff), ...bytes16(value >>> 16)];
const ABI_VERSION = 5;
const modes = { enforce: 0, complain: 1 } as const;
/** `attach_disconnected`: files that are in no directory have a path, too. The container's init is such a file, a memfd. */
const PATH_CONNECT_PATH = 4;

/** A profile without rules, by name. */
function profile(name: string, mode: keyof typeof modes): Uint8Array {
  return Uint8Array.from([
    ...[...text(Code.name, "version"), ...u32(ABI_VERSION)],
    ...[...text(Code.name, "profile"), Code.struct, ...text(Code.string, name)],
    // Flags, mode, audit.
    ...[...text(Code.name, "flags"), Code.struct, ...u32(0), ...u32(modes[mode]), ...u32(0), Code.structEnd],
    ...[...text(Code.name, "path_flags"), ...u32(PATH_CONNECT_PATH)],
    // Capabilities: allowed, audited, denied without a word, and one that is not used.
    ...[...u32(0), ...u32(0), ...u32(0), ...u32(0)],
    Code.structEnd,
  ]);
}

const lenient = "runc-test-lenient", strict = "runc-test-strict", outer = "runc-test-outer";

function load(): void {
  const profiles = [profile(lenient, "complain"), profile(outer, "complain"), profile(strict, "enforce")];
  for (const one of profiles) Deno.writeFileSync("/sys/kernel/security/apparmor/.replace", one, { create: false });
}

/** What the program's profile is: with the shell's of its own below, which complain mode makes. */
const current = new RegExp(`^${lenient}(//\\S+)? \\(complain\\)\n$`);
const readCurrent = ["cat", "/proc/self/attr/current"];

/** That it could not even read, nor write to what it inherited. */
function assertIsConfined({ code, stdout }: Result): void {
  assertEquals([code === 0, stdout], [false, ""]);
}

comparing("the program runs under the profile that config.json names", (box) => {
  load();
  box.write((config) => {
    config.process.args = [...readCurrent];
    config.process.apparmorProfile = lenient;
  });
  assertMatch(box.must(["run", box.id]), current);
  assertIsConfined(box.run((config) => {
    config.process.args = [...readCurrent];
    config.process.apparmorProfile = strict;
  }));
});

boxTest("a process of exec runs under the container's profile, or its own", (box) => {
  load();
  box.startSleeping((config) => config.process.apparmorProfile = lenient);
  assertMatch(box.must(["exec", box.id, ...readCurrent]), current);
  box.remove();
  box.startSleeping();
  assertEquals(box.must(["exec", box.id, ...readCurrent]), "unconfined\n");
  assertMatch(box.must(["exec", "--apparmor", lenient, box.id, ...readCurrent]), current);
  assertIsConfined(box.runc(["exec", "--apparmor", strict, box.id, ...readCurrent]));
  box.remove();
});

/** For a runtime that is itself confined. */
const confined = { prefix: afterShell(`echo exec ${outer} > /proc/self/attr/apparmor/exec`) };

comparing(
  "a confined runtime's own profile stays beside the container's where no_new_privs forbids to leave it",
  (box) => {
    load();
    const label = (noNewPrivileges: boolean) => {
      box.write((config) => {
        config.process.args = [...readCurrent];
        config.process.apparmorProfile = lenient;
        config.process.noNewPrivileges = noNewPrivileges;
      });
      const printed = box.must(["run", box.id], confined);
      return [lenient, outer].map((name) => printed.includes(name));
    };
    assertEquals(label(true), [true, true]);
    assertEquals(label(false), [true, false]);
  },
);

boxTest("as does that of a confined exec", (box) => {
  load();
  box.startSleeping((config) => config.process.noNewPrivileges = true);
  const printed = box.must(["exec", "--apparmor", lenient, "--no-new-privs", box.id, ...readCurrent], confined);
  assertEquals([lenient, outer].map((name) => printed.includes(name)), [true, true], printed);
  box.remove();
});
