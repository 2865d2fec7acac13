/**
 * Values at and beyond the edges of what a config may have.
 *
 * @module
 */

const deep = (levels: number) => "[".repeat(levels) + "]".repeat(levels);
const long = "x".repeat(10_000);
/** JSON texts. */
export const extremes: readonly string[] = [
  ...["-1", "0", "1", "2147483647", "2147483648", "-2147483648", "-2147483649", "4294967295", "4294967296"],
  ...["9007199254740991", "9007199254740992", "9223372036854775807", "9223372036854775808", "-9223372036854775809"],
  ...["18446744073709551615", "18446744073709551616", "1e19", "1e400", "-1e400", "1.5", "-0", "9".repeat(5000)],
  ...[
    '""',
    '"a"',
    '"/"',
    '" "',
    '"\\u0000"',
    '"a\\u0000b"',
    '"\\ud800"',
    '"\\n"',
    '"-1"',
    '"0-4294967296"',
    '"1-"',
    '"\\u00e9"',
  ],
  ...[
    '"99999999999999999999"',
    '"0-99999999"',
    '"size=1"',
    '"bind"',
    '"remount"',
    '"rw"',
    '"../../x"',
    '"MPOL_BIND"',
    '"SCHED_FIFO"',
    // What every JavaScript object has.
    '"constructor"',
    '"__proto__"',
  ],
  ...["null", "true", "false", "{}", "[]", '{"a":1}', '[""]', "[null]", '{"":""}', '{"__proto__":null}'],
  ...[JSON.stringify(long), JSON.stringify(`/${"a/".repeat(5_000)}`), JSON.stringify(`A=${long}`), deep(5_000)],
];
