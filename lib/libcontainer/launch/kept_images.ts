/**
 * Images that were encoded for earlier launches, for later ones that differ from them in nothing but their id. Pure.
 *
 * Planning and encoding are half of what the creation of a container costs the parent. A program that creates many from
 * the same options, and calls them by ids of the same length, gets the same image each time, but for the id's
 * characters. The image is kept with their places.
 *
 * This needs an encoding without folding: then the places of texts depend only on their order and lengths, and no text
 * shares its memory with the end of another one.
 *
 * @module
 */

/** Long and random, so that it occurs nowhere by chance. */
const SHORTEST_ID = 32;
/** An image has some 20 KiB. */
const MOST_IMAGES = 64;

interface Kept {
  readonly image: Uint8Array<ArrayBuffer>;
  /** Where the id is written. */
  readonly places: readonly number[];
}

/** The images of launches with the same options. */
export class KeptImages {
  readonly #images = new Map<string, Kept>();

  /**
   * What an image is kept by: all that it depends on, `parts`, with the id left out. Undefined: this id is too short.
   *
   * What is not in `parts` has to be the same for all launches with these images.
   */
  static keyOf(id: string, parts: readonly unknown[]): string | undefined {
    if (id.length < SHORTEST_ID) return undefined;
    // JSON has no NUL.
    return `${id.length} ${JSON.stringify(parts, plain).replaceAll(id, "\0")}`;
  }

  /** The image for `id`; a copy. */
  get(key: string, id: string): Uint8Array<ArrayBuffer> | undefined {
    const kept = this.#images.get(key);
    if (kept === undefined) return undefined;
    const image = kept.image.slice();
    const name = new TextEncoder().encode(id);
    for (const place of kept.places) image.set(name, place);
    return image;
  }

  /** Keeps the image that was encoded for `id`. `same`: what all launches have in common, and the key does not have. */
  keep(key: string, id: string, image: Uint8Array<ArrayBuffer>, same?: unknown): void {
    // There it stands for itself, and not for the launch's own id.
    if (JSON.stringify(same, plain)?.includes(id)) return;
    // A map keeps the order.
    const [oldest] = this.#images.keys();
    if (this.#images.size >= MOST_IMAGES) this.#images.delete(oldest!);
    this.#images.set(key, { image: image.slice(), places: placesOf(image, new TextEncoder().encode(id)) });
  }
}

/** JSON has neither sets nor large integers. */
function plain(_name: string, value: unknown): unknown {
  if (typeof value === "bigint") return `${value}n`;
  return value instanceof Set ? [...value] : value;
}

/** Where the bytes of a name are, without overlaps. */
export function placesOf(image: Uint8Array, name: Uint8Array): readonly number[] {
  const places: number[] = [];
  for (let at = image.indexOf(name[0]!); at !== -1; at = image.indexOf(name[0]!, at + 1)) {
    if (!name.every((byte, index) => image[at + index] === byte)) continue;
    places.push(at);
    // As in the key: an id may begin again within itself.
    at += name.length - 1;
  }
  return places;
}

/** Images that a launch may use, and its part of their key. */
export interface KeptFor {
  readonly images: KeptImages;
  readonly id: string;
  /** All that the plan depends on, and that may differ between the launches with these images. */
  readonly parts: readonly unknown[];
  /** What else it depends on, and that is the same for all of them. */
  readonly same?: unknown;
}

/** What a launch depends on. */
interface Dependencies {
  readonly id: string;
  readonly request: object;
  readonly [more: string]: unknown;
}

/** What a launch has of the images in its options. The profile is the same in all of them, and `same`. */
export function keptFor(
  { images }: { readonly images?: KeptImages },
  { id, request, ...more }: Dependencies,
  same?: unknown,
): KeptFor | undefined {
  if (images === undefined) return undefined;
  return { images, id, parts: [{ ...request, seccomp: undefined }, more], same };
}
