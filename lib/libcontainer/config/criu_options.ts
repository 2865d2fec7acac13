/**
 * The options of checkpoint and restore.
 *
 * @module
 */

/** The options of both. */
export interface CriuOptions {
  /** The directory of the image files. */
  readonly imagePath: string;
  /** The directory of CRIU's log and its other files; absent: `imagePath`. */
  readonly workPath?: string;
  /** Established TCP connections may be saved, and are restored. */
  readonly tcpEstablished?: boolean;
  /** Unix sockets may have their other end outside of the container. */
  readonly externalUnixSockets?: boolean;
  /** The session and its terminal may belong to a process outside of the container. */
  readonly shellJob?: boolean;
  /** File locks may be held, and are taken again. */
  readonly fileLocks?: boolean;
  /** `soft`, `full`, `strict` or `ignore`; absent or empty: CRIU's default. */
  readonly manageCgroupsMode?: string;
  /** Memory that several images have is kept once. */
  readonly autoDedup?: boolean;
  /** Memory is sent only when the restored processes use it. */
  readonly lazyPages?: boolean;
}

/** The options of a checkpoint. */
export interface CheckpointOptions extends CriuOptions {
  /** The directory of the previous images, relative to `imagePath`: only what has changed since is saved. */
  readonly parentPath?: string;
  /** The container goes on afterwards. */
  readonly leaveRunning?: boolean;
  /** Connections that are not established yet are left out. */
  readonly tcpSkipInFlight?: boolean;
  /** Open files without a name get one while they are saved. */
  readonly linkRemap?: boolean;
  /** Only the memory is saved, and the container goes on. */
  readonly preDump?: boolean;
  /** The page server that gets the memory. */
  readonly pageServer?: { readonly address: string; readonly port: number };
  /** With `lazyPages`: gets a NUL byte when the memory can be fetched, and is then closed. */
  readonly statusFd?: number;
}

/** The options of a restore. */
export interface CriuRestoreOptions extends CriuOptions {
  /** The security profile of the restored processes, as `TYPE:NAME`; absent: as saved. */
  readonly lsmProfile?: string;
  /** The SELinux context of the restored mounts; absent: as saved. */
  readonly lsmMountContext?: string;
}
