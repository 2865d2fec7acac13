/**
 * `deno run --allow-read --allow-run tools/coverage.ts DIRECTORY`: checks how much of some rooms the unit tests have run.
 * The directory is that of `deno test --coverage=DIRECTORY`.
 *
 * @module
 */

import { giveUp, projectDir } from "./bundle.ts";
import { coverageOf, coverageProblems, measuredRooms, parseLcov } from "./coverage_rooms.ts";

function lcovOf(directory: string): string {
  const include = `/(${measuredRooms.join("|")})/`;
  const { success, stdout, stderr } = new Deno.Command(Deno.execPath(), {
    args: ["coverage", "--lcov", `--include=${include}`, directory],
    cwd: projectDir,
    stdin: "null",
  }).outputSync();
  if (!success) giveUp(`deno coverage ${directory}: ${new TextDecoder().decode(stderr).trim()}`);
  return new TextDecoder().decode(stdout);
}

function check(directory: string): void {
  const files = measuredRooms.flatMap((room) =>
    [...Deno.readDirSync(`${projectDir}/${room}`)].filter(({ isFile }) => isFile).map(({ name }) => `${room}/${name}`)
  );
  const rooms = coverageOf(measuredRooms, { covered: parseLcov(lcovOf(directory), projectDir), files });
  for (const { room, percent } of rooms) console.log(`${percent.toFixed(1)} %  ${room}`);
  const problems = coverageProblems(rooms);
  if (problems.length > 0) giveUp(problems.join("; "));
}

if (import.meta.main) {
  const [directory] = Deno.args;
  if (directory === undefined) giveUp("usage: deno run --allow-read --allow-run tools/coverage.ts DIRECTORY");
  check(directory);
}
