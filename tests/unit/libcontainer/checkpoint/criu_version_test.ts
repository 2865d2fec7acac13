import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { requireAnswer, requireVersion, versionNumber } from "../../../../lib/libcontainer/checkpoint/criu_version.ts";

Deno.test("versionNumber() counts as go-criu does: a build from git is the next minor version", () => {
  const cases: readonly [Parameters<typeof versionNumber>[0], number][] = [
    [{ major_number: 4, minor_number: 2 }, 40_200],
    [{ major_number: 3, minor_number: 17, sublevel: 1 }, 31_701],
    [{ major_number: 3, minor_number: 17, sublevel: 1, gitid: "" }, 31_701],
    [{ major_number: 4, minor_number: 2, sublevel: 3, gitid: "v4.2-33-gabc" }, 40_300],
  ];
  for (const [version, number] of cases) assertEquals(versionNumber(version), number);
});

Deno.test("an old version is refused in runc's words, with the package", () => {
  requireVersion(30_000, 30_000);
  const error = assertThrows(() => requireVersion(21_200, 30_000), RuncError);
  assertEquals([error.code, error.message, error.hint], [
    "host-lacks",
    "CRIU version 21200 must be 30000 or higher",
    "install CRIU 3.15 or newer (Debian, Fedora: package criu)",
  ]);
});

Deno.test("a missing feature is named as runc does, with what is missing", () => {
  requireAnswer("mem_track", { mem_track: true, lazy_pages: false });
  requireAnswer("lazy_pages", {});
  const cases = [
    ["mem_track", "criu is missing features: [MemTrack]", "CONFIG_MEM_SOFT_DIRTY"],
    ["lazy_pages", "criu is missing features: [LazyPages]", "CONFIG_USERFAULTFD"],
  ] as const;
  for (const [feature, message, lack] of cases) {
    const error = assertThrows(() => requireAnswer(feature, { [feature]: false }), RuncError);
    assertEquals([error.code, error.message, error.hint?.includes(lack)], ["host-lacks", message, true]);
  }
});
