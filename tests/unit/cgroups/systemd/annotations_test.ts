import { assertEquals, assertThrows } from "@std/assert";
import { annotationProperties, parseVariant } from "../../../../lib/cgroups/systemd/annotations.ts";
import { RuncError } from "../../../../lib/errors.ts";
import type { BusValue } from "../../../../lib/ffi/libraries/dbus_value.ts";

Deno.test("parseVariant() reads values with and without their types", () => {
  const cases: readonly [text: string, signature: string, value: BusValue][] = [
    ["true", "b", true],
    ["boolean false", "b", false],
    ["5", "i", 5n],
    ["-5", "i", -5n],
    ["0x10", "i", 16n],
    ["010", "i", 8n],
    ["uint64 18446744073709551615", "t", 18446744073709551615n],
    ["@u 7", "u", 7n],
    ["byte 255", "y", 255n],
    ["1.5", "d", 1.5],
    ["double 2", "d", 2],
    ["'text'", "s", "text"],
    ['"it\'s"', "s", "it's"],
    ["'a\\'b\\n\\u00e9'", "s", "a'b\né"],
    ["objectpath '/a'", "o", "/a"],
    ["['a', 'b']", "as", ["a", "b"]],
    ["[uint32 1, 2]", "au", [1n, 2n]],
    ["@as []", "as", []],
    ["@aas [['a'], []]", "aas", [["a"], []]],
  ];
  for (const [text, signature, value] of cases) assertEquals(parseVariant(text), { signature, value }, text);
});

Deno.test("parseVariant() refuses what is no value", () => {
  const texts = ["", "[]", "text", "'open", "1 2", "[1, 'a']", "[1", "byte 256", "uint32 -1", "2147483648", "1.5.5"];
  const wrongTexts = ["'a\\u0000b'", "objectpath 'a'", "objectpath '/a/'", "signature '!'", "[objectpath '/', 'a']"];
  // A type is one type, and no deeper than D-Bus allows.
  const wrongTypes = ["@asaa []", "@asa{ss} []", `@${"a".repeat(300)}s []`, `${"[".repeat(40)}1${"]".repeat(40)}`];
  for (
    const text of [
      ...texts,
      ...wrongTexts,
      ...wrongTypes,
      "uint32 'a'",
      "uint32 1.5",
      "@as 'a'",
      "int32 uint32 5",
      "{'a': 1}",
      "<5>",
    ]
  ) {
    let error: unknown;
    try {
      parseVariant(text);
    } catch (thrown) {
      error = thrown;
    }
    assertEquals(error instanceof SyntaxError || error instanceof RangeError, true, text);
  }
});

Deno.test("annotationProperties() takes systemd's annotations alone, seconds as microseconds", () => {
  const annotations = {
    "org.example": "5",
    "org.systemd.property.CollectMode": "'inactive'",
    "org.systemd.property.TimeoutStopSec": "uint32 2",
    "org.systemd.property.RuntimeMaxSec": "1.5",
    "org.systemd.property.CPUSec": "true",
  };
  assertEquals(annotationProperties(annotations), [
    ["CollectMode", { signature: "s", value: "inactive" }],
    ["TimeoutStopUSec", { signature: "t", value: 2_000_000n }],
    ["RuntimeMaxUSec", { signature: "t", value: 1_500_000n }],
    ["CPUSec", { signature: "b", value: true }],
  ]);
});

Deno.test("annotationProperties() names the annotation that is wrong", () => {
  const cases: readonly [name: string, value: string, message: RegExp][] = [
    ["Ab", "5", /^annotation org\.systemd\.property\.Ab name incorrect: too short$/],
    ["A-Property", "5", /name incorrect: contains non-alphabetic character$/],
    ["Foo", "bar", /^annotation org\.systemd\.property\.Foo=bar value parse error: /],
    ["FooSec", "'5'", /value parse error: not a number$/],
    ["FooSec", "true", /value parse error: not a number$/],
    ["FooSec", "int32 -7", /=int32 -7 value parse error: -7 s is out of range: must be 0 to 2\^64 - 1 microseconds$/],
    ["FooSec", "uint64 18446744073709551615", /value parse error: 18446744073709551615 s is out of range: /],
    ["FooSec", "-0.5", /value parse error: -0.5 s is out of range: /],
    ["FooSec", "1e300", /value parse error: 1e\+300 s is out of range: /],
    ["FooSec", "1e999", /value parse error: Infinity is not a number of seconds$/],
    ["Foo", "uint32 -7", /value parse error: -7 does not fit D-Bus type uint32$/],
  ];
  for (const [name, value, message] of cases) {
    const key = `org.systemd.property.${name}`;
    const error = assertThrows(() => annotationProperties({ [key]: value }), RuncError);
    assertEquals([error.code, error.field, message.test(error.message)], [
      "config-invalid",
      `/annotations/${key}`,
      true,
    ]);
  }
});
