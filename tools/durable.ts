/**
 * Files that are there as a whole or not at all, also after a crash of the host: an empty program would be run as a script without a command, and
 * succeed.
 *
 * @module
 */

/** Writes a file of that mode beside its place, and puts it there once the disk has it. What was there stays where that fails. */
export function writeWhole(path: string, mode: number, write: (write: (bytes: Uint8Array) => void) => void): void {
  const unfinished = `${path}.new`;
  try {
    using file = Deno.openSync(unfinished, { write: true, create: true, truncate: true });
    write((bytes) => writeFully(file, bytes));
    Deno.chmodSync(unfinished, mode);
    file.syncSync();
  } catch (error) {
    Deno.removeSync(unfinished);
    throw error;
  }
  Deno.renameSync(unfinished, path);
}

/** Writes all of it, however little the kernel takes at a time. */
export function writeFully(file: Deno.FsFile, bytes: Uint8Array): void {
  for (let rest = bytes; rest.length > 0;) rest = rest.subarray(file.writeSync(rest));
}

/** As {@link writeWhole}, of a text. */
export function writeWholeText(path: string, mode: number, text: string): void {
  writeWhole(path, mode, (write) => write(new TextEncoder().encode(text)));
}

/** Waits until the disk has every file of a directory and the directories in it, and their names. */
export function settleAll(directory: string): void {
  for (const { name, isDirectory, isFile } of Deno.readDirSync(directory)) {
    const path = `${directory}/${name}`;
    if (isDirectory) settleAll(path);
    else if (isFile) settle(path);
  }
  settle(directory);
}

function settle(path: string): void {
  using file = Deno.openSync(path);
  file.syncSync();
}
