/**
 * The telling lines of CRIU's log. Pure.
 *
 * @module
 */

/** How many lines before an error are quoted. */
const BEFORE = 5;

/** What marks an error in CRIU's log. */
const MARK = "Error";

/** Failed attempts after which CRIU goes on: raising its own limit of open files, without CAP_SYS_RESOURCE. */
const HARMLESS = /rlimit: Can't setup RLIMIT_NOFILE/;

/** The first error in a log, in CRIU's words: the later ones follow from it. Undefined without an error. */
export function firstError(log: string): string | undefined {
  const line = log.split("\n").find((each) => each.includes(MARK) && !HARMLESS.test(each));
  // A line begins with the time since CRIU's start.
  return line?.replace(/^\(\d+\.\d+\)\s*/, "").trim();
}

/**
 * The lines with errors, each with the five lines before it and its number, as runc quotes them: `...` marks a gap.
 * Empty without an error. `path`: the log's.
 */
export function quoteErrors(path: string, log: string): readonly string[] {
  const lines = log.split("\n");
  const quoted: string[] = [];
  /** Number of the last line that is quoted. */
  let last = 0;
  lines.forEach((line, index) => {
    if (!line.includes(MARK)) return;
    const first = Math.max(index + 1 - BEFORE, 1);
    if (last === 0) quoted.push(`--- Quoting ${JSON.stringify(path)}`);
    else if (first > last + 1) quoted.push("...");
    for (let number = Math.max(first, last + 1); number <= index + 1; number++) {
      if (lines[number - 1] !== "") quoted.push(`${number}:${lines[number - 1]}`);
    }
    last = index + 1;
  });
  return quoted.length === 0 ? [] : [...quoted, "---"];
}
