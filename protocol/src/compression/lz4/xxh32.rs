//! The checksum XXH32 with seed 0, of inputs as short as an LZ4 frame's header. Pure.

const PRIME_1: u32 = 0x9e37_79b1;
const PRIME_2: u32 = 0x85eb_ca77;
const PRIME_3: u32 = 0xc2b2_ae3d;
const PRIME_4: u32 = 0x27d4_eb2f;
const PRIME_5: u32 = 0x1656_67b1;

/// The checksum of fewer than 16 bytes. Longer inputs take another path in XXH32, which nothing here needs.
pub(super) fn xxh32(input: &[u8]) -> u32 {
    debug_assert!(input.len() < 16, "a frame header's descriptor has at most 14 bytes");
    let mut hash = PRIME_5.wrapping_add(input.len() as u32);
    let (words, bytes) = input.as_chunks();
    for word in words {
        hash = hash.wrapping_add(u32::from_le_bytes(*word).wrapping_mul(PRIME_3));
        hash = hash.rotate_left(17).wrapping_mul(PRIME_4);
    }
    for byte in bytes {
        hash = hash.wrapping_add(u32::from(*byte).wrapping_mul(PRIME_5));
        hash = hash.rotate_left(11).wrapping_mul(PRIME_1);
    }
    hash ^= hash >> 15;
    hash = hash.wrapping_mul(PRIME_2);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(PRIME_3);
    hash ^ hash >> 16
}
