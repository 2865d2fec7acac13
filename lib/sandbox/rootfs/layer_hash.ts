/**
 * SHA-256 of a layer, as a stream: the one of Node, ten times as fast as that of sha256.ts. To load it takes some 40 ms,
 * which is much for little data, and nothing for a layer.
 *
 * @module
 */

/** What is used of node:crypto. Its own types are a package. */
interface NodeModules {
  getBuiltinModule(name: "node:crypto"): { createHash(algorithm: "sha256"): LayerHash };
}

/** A digest that is being computed. */
export interface LayerHash {
  /** Adds bytes. */
  update(bytes: Uint8Array): void;
  /** The digest of all that was added. Nothing can be added afterwards. */
  digest(encoding: "hex"): string;
}

/** Begins a digest. */
export function layerHash(): LayerHash {
  const { process } = globalThis as unknown as { process: NodeModules };
  return process.getBuiltinModule("node:crypto").createHash("sha256");
}
