//! The codecs against themselves, other programs, and hostile input. Pure.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const CODECS: [Compression; 4] = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// 150,000 bytes that compress well, with repetitions at a distance of 600.
fn pattern() -> Vec<u8> {
    let mut state = 1u32;
    let block: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345) & 0x7fff_ffff;
        (state >> 16) as u8
    })
    .take(600)
    .collect();
    block.repeat(250)
}

fn compress(codec: Compression, input: &[u8]) -> Bytes {
    Compressor::new(codec, None).compress(&[Bytes::copy_from_slice(input)]).unwrap()
}

#[test]
fn names_and_numbers_are_kafkas() {
    let expected = [("none", 0), ("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4)];
    for (codec, (name, id)) in Compression::ALL.into_iter().zip(expected) {
        assert_eq!((codec.name(), codec.id()), (name, id));
        assert_eq!((Compression::from_name(name), Compression::from_id(id)), (Some(codec), Some(codec)));
    }
    assert_eq!((Compression::from_name("LZ4"), Compression::from_id(5), Compression::from_id(-1)), (None, None, None));
}

#[test]
fn every_codec_gives_back_what_it_got_in_pieces_and_again() {
    let input = pattern();
    for codec in Compression::ALL {
        let mut compressor = Compressor::new(codec, None);
        // Sizes around the blocks of Snappy and LZ4, in one piece and in several, all with the same compressor.
        for length in [0, 1, 13, 599, 65_535, 65_536, 65_537, 131_072, 150_000] {
            let input = Bytes::copy_from_slice(&input[..length]);
            for cut in [0, length / 3, length] {
                let pieces = [input.slice(..cut), input.slice(cut..)];
                let compressed = compressor.compress(&pieces).unwrap();
                let back = decompress(codec, &compressed, length).unwrap();
                assert!(back == input, "{codec}: {length} bytes");
                assert!(codec == Compression::None || length < 600 || compressed.len() < length, "{codec}: {length}");
            }
        }
    }
}

#[test]
fn levels_out_of_range_become_the_nearest() {
    for codec in CODECS {
        for level in [i32::MIN, -1, 0, 1, 9, 22, i32::MAX] {
            let compressed = Compressor::new(codec, Some(level)).compress(&[Bytes::from(pattern())]).unwrap();
            assert!(decompress(codec, &compressed, 150_000).unwrap() == pattern(), "{codec} level {level}");
        }
    }
}

#[test]
fn frames_of_other_programs_are_read() {
    let frames: [(&str, Compression, &[u8]); 4] = [
        ("linked blocks", Compression::Lz4, include_bytes!("../../tests/golden/codecs/linked-blocks.lz4")),
        ("checksums", Compression::Lz4, include_bytes!("../../tests/golden/codecs/checksums.lz4")),
        ("a large block", Compression::Lz4, include_bytes!("../../tests/golden/codecs/large-block.lz4")),
        ("a large window", Compression::Zstd, include_bytes!("../../tests/golden/codecs/large-window.zst")),
    ];
    for (name, codec, frame) in frames {
        assert!(decompress(codec, frame, 150_000).unwrap() == pattern(), "{name}");
        assert!(decompress(codec, frame, 149_999).unwrap_err().is_too_large(), "{name}");
        let doubled = decompress(codec, &frame.repeat(2), 300_000).unwrap();
        assert!(doubled == pattern().repeat(2), "two frames with {name}");
        for end in 1..frame.len() {
            assert!(decompress(codec, &frame[..end], 150_000).is_err(), "{name}, cut at {end}");
        }
    }
}

#[test]
fn an_lz4_header_checksum_is_verified() {
    let mut frame = compress(Compression::Lz4, b"text").to_vec();
    frame[6] ^= 1;
    let error = decompress(Compression::Lz4, &frame, 100).unwrap_err();
    assert_eq!(error.to_string(), "lz4: the frame header's checksum is wrong");
}

#[test]
fn lz4_passes_over_a_skippable_frame() {
    let mut input = vec![0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    input.extend_from_slice(&compress(Compression::Lz4, b"text"));
    assert_eq!(decompress(Compression::Lz4, &input, 100).unwrap(), "text");
}

#[test]
fn snappy_is_read_with_and_without_framing() {
    let raw = snap::raw::Encoder::new().compress_vec(&pattern()).unwrap();
    assert!(decompress(Compression::Snappy, &raw, 150_000).unwrap() == pattern());
    let framed = compress(Compression::Snappy, &pattern());
    assert_eq!(framed[..16], *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
    assert!(decompress(Compression::Snappy, &framed, 150_000).unwrap() == pattern());
}

#[test]
fn several_gzip_members_are_one_content() {
    let mut members = compress(Compression::Gzip, b"one ").to_vec();
    members.extend_from_slice(&compress(Compression::Gzip, b"two"));
    assert_eq!(decompress(Compression::Gzip, &members, 100).unwrap(), "one two");
    let corrupt = members.len() - 6; // in the CRC of the second member
    members[corrupt] ^= 1;
    assert!(decompress(Compression::Gzip, &members, 100).is_err());
}

/// 64 MiB of zeros, compressed to very little.
#[test]
fn a_bomb_is_stopped_at_the_limit() {
    let zeros = vec![0; 64 << 20];
    for codec in CODECS {
        let bomb = compress(codec, &zeros);
        for limit in [0, 1, 1000, 1 << 20] {
            let error = decompress(codec, &bomb, limit).unwrap_err();
            assert!(error.is_too_large(), "{codec}: {error}");
        }
        let error = decompress(codec, &bomb, 7).unwrap_err();
        assert_eq!(error.to_string(), format!("{codec}: more than the limit of 7 bytes"));
    }
}

#[test]
fn a_declared_size_reserves_nothing() {
    // A raw Snappy block that says it has 4 GiB, and the same inside the framing.
    let block = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, b'x'];
    let error = decompress(Compression::Snappy, &block, usize::MAX).unwrap_err();
    assert_eq!(error.to_string(), "snappy: 7 bytes cannot become 4294967295");
    let framed = [b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x07", &block[..]].concat();
    assert_eq!(decompress(Compression::Snappy, &framed, usize::MAX).unwrap_err(), error);
    // A Snappy block that is longer than what follows, also by 4 GiB.
    let framed = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\xff\xff\xff\xffabc";
    assert!(decompress(Compression::Snappy, framed, usize::MAX).is_err());
    // A zstd frame that declares 2^62 bytes of content, in a single segment, with an empty last block.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x01, 0, 0];
    let error = decompress(Compression::Zstd, &frame, usize::MAX).unwrap_err();
    assert!(!error.is_too_large(), "{error}");
    // An LZ4 block of up to 4 MiB from 4 bytes: 255 times that is what it may become.
    let block = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73, 4, 0, 0, 0, 0x1f, b'x', 1, 0, 0, 0, 0, 0];
    assert!(decompress(Compression::Lz4, &block, usize::MAX).is_err());
}

#[test]
fn what_is_not_compressed_is_bounded_too() {
    assert_eq!(decompress(Compression::None, b"text", 4).unwrap(), "text");
    assert!(decompress(Compression::None, b"text", 3).unwrap_err().is_too_large());
}

proptest! {
    #[test]
    fn any_bytes_survive(input in prop::collection::vec(any::<u8>(), 0..2000), zeros in 0..100_000usize, cut in 0..2000usize) {
        let bytes = [input, vec![0; zeros]].concat();
        let bytes = Bytes::from(bytes);
        let cut = cut.min(bytes.len());
        for codec in Compression::ALL {
            let compressed = Compressor::new(codec, None).compress(&[bytes.slice(..cut), bytes.slice(cut..)]).unwrap();
            prop_assert!(decompress(codec, &compressed, bytes.len()).unwrap() == bytes);
        }
    }

    /// Whatever the input is, the output is an error or within the limit.
    #[test]
    fn garbage_is_an_error_or_small(garbage in prop::collection::vec(any::<u8>(), 0..300), limit in 0..5000usize) {
        for (codec, start) in [
            (Compression::Gzip, &b"\x1f\x8b\x08\0\0\0\0\0\0\x03"[..]),
            (Compression::Snappy, b""),
            (Compression::Snappy, b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x20"),
            (Compression::Lz4, b"\x04\x22\x4d\x18\x60\x40\x82\x20\0\0\0"),
            (Compression::Lz4, b"\x04\x22\x4d\x18\x40\x40\xc0\x20\0\0\0"),
            (Compression::Zstd, b"\x28\xb5\x2f\xfd"),
        ] {
            for input in [garbage.clone(), [start, &garbage].concat()] {
                if let Ok(output) = decompress(codec, &input, limit) {
                    prop_assert!(output.len() <= limit);
                }
            }
        }
    }
}
