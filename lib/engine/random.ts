/**
 * A private, seeded generator whose state can be saved, so that a resumed
 * training continues with the same draws.
 */
export interface Random {
  /** Uniform in [0, 1), with 32 random bits. */
  next(): number;
  /** State to be handed to {@linkcode restoreRandom}. */
  readonly state: readonly [number, number, number, number];
}

/**
 * A generator for one purpose of one run: streams of the same seed are
 * independent, so drawing more ranks changes no shuffle.
 */
export function seededRandom(seed: number, stream: string): Random {
  let hash = 0x811c9dc5;
  for (const char of `${seed}/${stream}`) {
    hash = Math.imul(hash ^ char.codePointAt(0)!, 0x01000193);
  }
  const mix = splitMix32(hash);
  const random = restoreRandom([mix(), mix(), mix(), 1]);
  for (let i = 0; i < 12; i++) random.next();
  return random;
}

/** Standard normal value (Box and Muller 1958). */
export function normal(random: Random): number {
  const radius = Math.sqrt(-2 * Math.log(1 - random.next()));
  return radius * Math.cos(2 * Math.PI * random.next());
}

/** Shuffles in place (Fisher and Yates). */
export function shuffle<T>(items: T[], random: Random): void {
  for (let i = items.length - 1; i > 0; i--) {
    const j = Math.floor(random.next() * (i + 1));
    [items[i], items[j]] = [items[j]!, items[i]!];
  }
}

/**
 * Continues a generator from its saved state: Doty-Humphrey's Small Fast
 * Counting generator with 32-bit words, as in PractRand.
 */
export function restoreRandom(words: Random["state"]): Random {
  let [a, b, c, counter] = words;
  return {
    next() {
      const sum = (((a + b) | 0) + counter) | 0;
      counter = (counter + 1) | 0;
      a = b ^ (b >>> 9);
      b = (c + (c << 3)) | 0;
      c = (((c << 21) | (c >>> 11)) + sum) | 0;
      return (sum >>> 0) / 2 ** 32;
    },
    get state(): Random["state"] {
      return [a, b, c, counter];
    },
  };
}

/**
 * SplitMix32, a 32-bit variant of SplitMix (Steele et al. 2014): draws 32-bit
 * integers.
 */
export function splitMix32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let t = state ^ (state >>> 16);
    t = Math.imul(t, 0x21f0aaad);
    t ^= t >>> 15;
    t = Math.imul(t, 0x735a2d97);
    return t ^ (t >>> 15);
  };
}
